"""Scene cuts: where a picture changes far more than around it; fades: where it turns into another.

The measure is the mean change of luma and both chromas between neighbouring small pictures, and a
cut is a change that stands out from its neighbourhood, so that fast motion and camera moves, which
change many frames in a row, are none (the adaptive content detector of PySceneDetect). In a fade or a
dissolve most of the picture is half-way what the mean of the two around it is, while in motion a place shows
the one or the other. Works in one pass over a video.
"""

from array import array
from collections import deque
from collections.abc import Sequence

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

_SMALL_WIDTH_PX = 64
_REACH = 6
"""Frames on each side among which neighbours are looked for."""
_NUM_NEIGHBOURS = 2
"""Largest changes on each side that a change is compared with: in slow motion every third frame moves."""
MIN_RATIO = 3.0
"""How many times the mean change of its neighbours a cut is."""
MIN_CHANGE = 12.0
"""Smallest change of a cut, in levels of 255, summed over luma and both chromas."""

_HALF_FADE_S = 0.2
"""Half of the time over which a fade is looked for."""
MIN_FADE, MAX_REST = 16.0, 0.18
"""Smallest change over that time, measured as that of a cut, and the largest share of its own change by which
the middle one of the changed places may differ half-way from the mean of both. In fast motion that is a half,
in slow pans a quarter."""
_CHANGED_LEVELS = 4


class SceneCutFinder:
    """Collects the changes between the frames of one video, then names its cuts and its fades."""

    def __init__(self, fps: float) -> None:
        self._reformatter = VideoReformatter()
        self._half = max(1, round(fps * _HALF_FADE_S))
        self._recent = deque[np.ndarray](maxlen=2 * self._half + 1)
        self.changes = array("f")
        self._fades = list[list[int]]()

    def add(self, frame: av.VideoFrame) -> None:
        """Take the next frame, of any YUV format, all of one."""
        small = self._shrunk(frame)
        self.changes.append(_change(small, self._recent[-1]) if self._recent else 0.0)
        self._remember(small)

    def repeat(self, times: int) -> None:
        """Take the last frame this many times more."""
        for _ in range(times):
            self.changes.append(0.0)
            self._remember(self._recent[-1])

    def cuts(self) -> list[int]:
        """Index of the first frame of each new scene, without the first."""
        return scene_cuts(self.changes)

    def fades(self) -> list[tuple[int, int]]:
        """First frame and end (exclusive) of each fade or dissolve."""
        return [(first, end) for first, end in self._fades]

    def _remember(self, small: np.ndarray) -> None:
        recent = self._recent
        recent.append(small)
        if len(recent) <= 2 * self._half:
            return
        change = _change(recent[-1], recent[0])
        if change < MIN_FADE:
            return
        if _is_half_way(recent[0], recent[self._half], recent[-1]):
            first, end = len(self.changes) - 2 * self._half, len(self.changes)
            if self._fades and first <= self._fades[-1][1]:
                self._fades[-1][1] = end
            else:
                self._fades.append([first, end])

    def _shrunk(self, frame: av.VideoFrame) -> np.ndarray:
        small = self._reformatter.reformat(
            frame,
            width=min(frame.width, _SMALL_WIDTH_PX),
            height=max(1, round(frame.height * min(1.0, _SMALL_WIDTH_PX / frame.width))),
            format="yuv444p",
            interpolation=int(Interpolation.AREA | Interpolation.BITEXACT),
            threads=1,
        )
        return np.asarray(small.to_ndarray(), dtype=np.int16)


def _change(one: np.ndarray, other: np.ndarray) -> float:
    """Mean change of a pixel, summed over luma and both chromas."""
    return float(np.abs(one - other).sum(dtype=np.int32)) / one[0].size


def _is_half_way(first: np.ndarray, between: np.ndarray, last: np.ndarray) -> bool:
    """Whether the middle one of the changed places differs from the mean by few enough of its change."""
    changes, off = np.abs(last - first), np.abs(2 * between - first - last)
    changed = changes >= _CHANGED_LEVELS
    num_near = np.count_nonzero((off <= 2 * MAX_REST * changes) & changed)
    excess = 2 * num_near - np.count_nonzero(changed)
    if excess:
        return bool(excess > 0)
    return bool(np.median(off[changed] / (2 * changes[changed])) <= MAX_REST)  # between the middle two


def scene_cuts(changes: Sequence[float]) -> list[int]:
    """Indices whose change stands out; ``changes[k]`` is from frame k - 1 to k, the first is 0."""
    values = np.asarray(changes, dtype=np.float64)
    cuts = []
    for k in np.flatnonzero(values >= MIN_CHANGE):
        sides = values[max(1, k - _REACH) : k], values[k + 1 : k + 1 + _REACH]
        near = np.concatenate([np.sort(side)[-_NUM_NEIGHBOURS:] for side in sides])
        if not near.size or values[k] >= MIN_RATIO * near.mean():
            cuts.append(int(k))
    return cuts

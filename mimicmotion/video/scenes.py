"""Scene cuts: where a picture changes far more than around it.

The measure is the mean change of luma and both chromas between neighbouring small pictures, and a
cut is a change that stands out from its neighbourhood, so that fast motion and camera moves, which
change many frames in a row, are none (the adaptive content detector of PySceneDetect). Works in one
pass over a video.
"""

from array import array
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


class SceneCutFinder:
    """Collects the changes between the frames of one video, then names its cuts."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._last: np.ndarray | None = None
        self.changes = array("f")

    def add(self, frame: av.VideoFrame) -> None:
        """Take the next frame, of any YUV format, all of one."""
        small = self._shrunk(frame)
        change = 0.0 if self._last is None else float(np.abs(small - self._last).mean(axis=(1, 2)).sum())
        self.changes.append(change)
        self._last = small

    def repeat(self, times: int) -> None:
        """Take the last frame this many times more."""
        self.changes.extend([0.0] * times)

    def cuts(self) -> list[int]:
        """Index of the first frame of each new scene, without the first."""
        return scene_cuts(self.changes)

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

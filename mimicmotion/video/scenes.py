"""Scene cuts: where a picture changes far more than around it.

The measure is the mean change of hue, saturation and value between neighbouring small pictures, and a
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
MIN_CHANGE = 8.0
"""Smallest change of a cut, in levels of 255, averaged over hue, saturation and value."""


class SceneCutFinder:
    """Collects the changes between the frames of one video, then names its cuts."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._last: np.ndarray | None = None
        self.changes = array("f")

    def add(self, picture: np.ndarray) -> None:
        """Take the next frame, uint8 (h, w, 3) RGB."""
        small = hue_saturation_value(self._shrunk(picture))
        self.changes.append(0.0 if self._last is None else change(self._last, small))
        self._last = small

    def repeat(self, times: int) -> None:
        """Take the last frame this many times more."""
        self.changes.extend([0.0] * times)

    def cuts(self) -> list[int]:
        """Index of the first frame of each new scene, without the first."""
        return scene_cuts(self.changes)

    def _shrunk(self, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        small = self._reformatter.reformat(
            frame,
            width=min(width, _SMALL_WIDTH_PX),
            height=max(1, round(height * min(1.0, _SMALL_WIDTH_PX / width))),
            interpolation=int(Interpolation.AREA | Interpolation.BITEXACT),
            threads=1,
        )
        return np.asarray(small.to_ndarray())


def hue_saturation_value(picture: np.ndarray) -> np.ndarray:
    """Hue, saturation and value, float32 (h, w, 3), each in 0 to 255, of a uint8 RGB picture."""
    rgb = picture.astype(np.float32)
    value = rgb.max(axis=-1)
    spread = value - rgb.min(axis=-1)
    safe = np.maximum(spread, 1e-6)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    sector = np.where(
        value == red,
        ((green - blue) / safe) % 6,
        np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    saturation = np.where(value > 0, spread / np.maximum(value, 1e-6), 0) * 255
    return np.stack([sector * (255 / 6), saturation, value], axis=-1)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """Mean change of two pictures from ``hue_saturation_value``.

    Hue runs in a circle, and counts as much as there is colour: in greys it is noise.
    """
    difference = np.abs(after - before)
    hue = np.minimum(difference[..., 0], 255 - difference[..., 0])
    colourful = np.minimum(before[..., 1], after[..., 1]) / 255
    return float((hue * colourful + difference[..., 1] + difference[..., 2]).mean() / 3)


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

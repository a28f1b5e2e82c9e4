"""How a video of any size becomes pictures of a trained size: cover, then cut around the centre.

Frames go through ``Framing.frames``; a pose track stays in register with them by
``animation.framing.framed_track``, which moves keypoints and boxes by the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from mimicmotion.errors import InputError


@dataclass(frozen=True)
class Framing:
    """A resize followed by a cut.

    Attributes:
        source: (width, height) of the video, in pixels.
        scaled: (width, height) after the resize; covers ``target``.
        offset: (left, top) of the cut in the scaled picture.
        target: (width, height) of the result.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    offset: tuple[int, int]
    target: tuple[int, int]

    def frames(self, frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n height width 3"]:
        """Return the frames at the target size.

        Raises:
            InputError: the frames do not have the source size.
        """
        height, width = frames.shape[1:3]
        if (width, height) != self.source:
            raise InputError(f"frames of {width}x{height} pixels, expected {self.source[0]}x{self.source[1]}")
        if self.scaled != self.source:
            shrinks = self.scaled[0] < width
            how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
            frames = np.stack([cv2.resize(frame, self.scaled, interpolation=how) for frame in frames])
        left, top = self.offset
        return np.ascontiguousarray(frames[:, top : top + self.target[1], left : left + self.target[0]])


def framing(source: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Framing:
    """Return how a video of the ``source`` size becomes the one of ``sizes`` nearest to its aspect.

    Args:
        source: (width, height) in pixels.
        sizes: the trained (width, height) sizes; on a tie the first wins.

    Raises:
        InputError: there is no size.
    """
    if not sizes:
        raise InputError("no training size given: name at least one [width, height]")
    aspect = np.log(source[0] / source[1])
    target = min(sizes, key=lambda size: abs(np.log(size[0] / size[1]) - aspect))
    scale = max(target[0] / source[0], target[1] / source[1])
    width, height = (max(round(side * scale), least) for side, least in zip(source, target, strict=True))
    offset = ((width - target[0]) // 2, (height - target[1]) // 2)
    return Framing(source, (width, height), offset, target)

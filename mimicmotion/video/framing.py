"""How a video of any size becomes pictures of a trained size: cover it and cut, or fit inside and pad.

Frames go through ``Framing.frames``; a pose track stays in register with them by
``pose.framing.framed_track``, which moves keypoints and boxes by the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mimicmotion.errors import InputError
from mimicmotion.video.size import Size


@dataclass(frozen=True)
class Framing:
    """A resize followed by a cut, or by padding that repeats the edge.

    Attributes:
        source: size of the video.
        scaled: size after the resize.
        offset: (left, top) of the result in the scaled picture; negative where it is padded.
        target: size of the result.
    """

    source: Size
    scaled: Size
    offset: tuple[int, int]
    target: Size

    @property
    def cut_share(self) -> float:
        """Share of the video's area that is cut off."""
        seen = [min(scaled, target) / scaled for scaled, target in zip(self.scaled, self.target, strict=True)]
        return 1 - seen[0] * seen[1]

    @property
    def unpadded(self) -> "Framing":
        """The same without its padding."""
        left, top = (max(0, side) for side in self.offset)
        width, height = (min(pair) for pair in zip(self.scaled, self.target, strict=True))
        return Framing(self.source, self.scaled, (left, top), Size(width, height))

    def without_padding(self, frames: UInt8[np.ndarray, "n height width 3"]) -> UInt8[np.ndarray, "n h w 3"]:
        """Return what is left of frames of the target size when their padding is taken off."""
        left, top = (max(0, -side) for side in self.offset)
        width, height = self.unpadded.target
        return frames[:, top : top + height, left : left + width]

    def boxes(self, boxes: Float[np.ndarray, "*k 4"]) -> Float[np.ndarray, "*k 4"]:
        """Return xyxy boxes of the video in pixels of the result; they may reach out of it."""
        return boxes * np.tile(np.array(self.scaled) / self.source, 2) - np.tile(self.offset, 2)

    def frames(self, frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n height width 3"]:
        """Return the frames at the target size.

        Raises:
            InputError: the frames do not have the source size.
        """
        size = Size.of(frames[0])
        if size != self.source:
            raise InputError(f"frames of {size} pixels, expected {self.source}")
        if self.scaled != self.source:
            shrinks = self.scaled.width_px < size.width_px
            how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
            frames = np.stack([cv2.resize(frame, self.scaled, interpolation=how) for frame in frames])
        fit = self.unpadded
        left, top = fit.offset
        frames = frames[:, top : top + fit.target.height_px, left : left + fit.target.width_px]
        if fit.target != self.target:
            before = [max(0, -side) for side in self.offset]
            after = [
                whole - part - pad for whole, part, pad in zip(self.target, fit.target, before, strict=True)
            ]
            across, down = zip(before, after, strict=True)
            frames = np.pad(frames, ((0, 0), down, across, (0, 0)), mode="edge")
        return np.ascontiguousarray(frames)


def framing(source: Size, sizes: Sequence[Size], centre: tuple[float, float] | None = None) -> Framing:
    """Return how a video of the ``source`` size becomes the one of ``sizes`` nearest to its aspect.

    Args:
        source: size of the video.
        sizes: the trained sizes; on a tie the first wins.
        centre: point of the source that the cut is laid around, as far as the edges allow; else its middle.

    Raises:
        InputError: there is no size.
    """
    target = _nearest(source, sizes)
    scale = max(target[0] / source[0], target[1] / source[1])
    width, height = (max(round(side * scale), least) for side, least in zip(source, target, strict=True))
    spare = (width - target[0], height - target[1])
    if centre is None:
        return Framing(source, Size(width, height), (spare[0] // 2, spare[1] // 2), target)
    wanted = [round(point * scale - side / 2) for point, side in zip(centre, target, strict=True)]
    left, top = (min(max(0, place), most) for place, most in zip(wanted, spare, strict=True))
    return Framing(source, Size(width, height), (left, top), target)


def whole_framing(source: Size, sizes: Sequence[Size]) -> Framing:
    """Return how the whole picture fits into the one of ``sizes`` nearest to its aspect: nothing is cut off.

    Args and errors are those of ``framing``.
    """
    target = _nearest(source, sizes)
    scale = min(target[0] / source[0], target[1] / source[1])
    width, height = (
        max(1, min(round(side * scale), most)) for side, most in zip(source, target, strict=True)
    )
    offset = (-((target[0] - width) // 2), -((target[1] - height) // 2))
    return Framing(source, Size(width, height), offset, target)


def _nearest(source: Size, sizes: Sequence[Size]) -> Size:
    if not sizes:
        raise InputError("no training size given: name at least one [width, height]")
    aspect = np.log(source[0] / source[1])
    return min(sizes, key=lambda size: abs(np.log(size[0] / size[1]) - aspect))

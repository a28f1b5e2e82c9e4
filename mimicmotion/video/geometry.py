"""Upright pictures with square pixels: orientation, pixel aspect, and the size of the result."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from mimicmotion.video.size import Size

_EXTREME_ASPECT = 8
"""A pixel more stretched than this is a broken header, not a pixel."""


@dataclass(frozen=True)
class Orientation:
    """How the stored picture becomes the shown one: transpose first, then flips.

    Attributes:
        transpose: rows and columns change places.
        flip_x: mirrored left to right.
        flip_y: mirrored top to bottom.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation_deg(self) -> int:
        """Clockwise turn that shows the picture upright, before a mirror left to right: 0, 90, 180 or 270.

        It is 90 or 270 exactly where width and height change places.
        """
        return 90 * self.transpose + 180 * self.flip_y

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """The shown picture of a stored one; (h, w, ...) becomes (w, h, ...) where it is transposed."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        rows = slice(None, None, -1 if self.flip_y else 1)
        columns = slice(None, None, -1 if self.flip_x else 1)
        return np.ascontiguousarray(picture[rows, columns])


def orientation_of(frame: Any) -> Orientation:
    """Orientation in the display matrix of a decoded frame, snapped to right angles.

    The matrix maps the stored (x, y) to (a x + c y, b x + d y), y pointing down (ISO 14496-12, tkhd).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(data), dtype=np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def upright_size(facts: Mapping[str, Any]) -> Size:
    """Size of the upright source in its own pixels, by the facts of its video, see ``VideoFacts``."""
    width, height = facts["source_width_px"], facts["source_height_px"]
    return Size(height, width) if facts["rotation_deg"] % 180 else Size(width, height)


def pixel_aspect(stream: Any) -> Fraction:
    """Width of a stored pixel over its height; 1 where the file says nothing or nonsense."""
    for aspect in (stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio):
        if aspect and Fraction(1, _EXTREME_ASPECT) <= aspect <= _EXTREME_ASPECT:
            return Fraction(aspect)
    return Fraction(1)


def stored_target_size(stored: Size, aspect: Fraction, short_side_px: int | None) -> Size:
    """Size in whole pixels for square pixels and a short side of at most ``short_side_px``.

    The stored orientation is kept. A stretched side grows, so that no detail is lost; apart from that
    nothing is enlarged. A scaled picture gets even sides; one that keeps its size may have odd ones.
    """
    width = stored.width_px * max(aspect, Fraction(1))
    height = stored.height_px / min(aspect, Fraction(1))
    short = min(width, height)
    scale = Fraction(1) if short_side_px is None else min(Fraction(1), Fraction(short_side_px) / short)
    if scale == aspect == 1:
        return stored
    return Size(*(max(2, 2 * math.ceil(side * scale / 2 - Fraction(1, 2))) for side in (width, height)))


def even(picture: np.ndarray) -> np.ndarray:
    """The picture without its last row or column where their number is odd: cut, not blurred."""
    height, width = picture.shape[:2]
    return picture[: height - height % 2, : width - width % 2]

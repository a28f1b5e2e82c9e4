"""A picture's width and height, in one order everywhere."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Size(NamedTuple):
    """Width and height of a picture, in pixels; as text ``576x1024``."""

    width_px: int
    height_px: int

    @classmethod
    def of(cls, picture: "np.ndarray") -> "Size":
        """Size of a picture (h, w, ...)."""
        height, width = picture.shape[:2]
        return cls(width, height)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, the order of an array."""
        return self.height_px, self.width_px

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}"

"""Picture files: read as arrays, written as PNG."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture uint8 (h, w, 3) RGB as PNG.

    Not with OpenCV: once decord is loaded, its old zlib serves OpenCV's PNG code too, which then fails.
    """
    Image.fromarray(picture).save(path, format="PNG")


def read_picture(path: Path) -> np.ndarray:
    """The picture in a file, uint8 (h, w, 3) RGB."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))

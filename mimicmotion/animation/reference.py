"""The reference picture from any image file."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mimicmotion.errors import InputError


def read_reference(path: Path) -> np.ndarray:
    """The picture upright as its EXIF says, uint8 (h, w, 3) RGB; transparent parts become white.

    Any mode is taken: grey, palette, alpha, CMYK, 16 bit.

    Raises:
        InputError: the file is missing, no picture, or too large to be opened safely.
    """
    if path.is_dir():
        raise InputError(f"the reference {path} is a folder; name one picture file in it")
    if not path.is_file():
        raise InputError(f"no reference picture at {path}")
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            upright.load()
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} has too many pixels to be opened safely; use a smaller copy, results are smaller anyway"
        ) from error
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a picture: {error}") from error
    if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
        return _from_deep_grey(np.asarray(upright, dtype=np.float64))
    if upright.has_transparency_data:
        with_alpha = upright.convert("RGBA")
        background = Image.new("RGBA", with_alpha.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(background, with_alpha)
    return np.array(upright.convert("RGB"))


def _from_deep_grey(values: np.ndarray) -> np.ndarray:
    """Grey with more than 8 bits, scaled by the smallest usual range that holds it."""
    highest = float(values.max(initial=0))
    peak = next((peak for peak in (1.0, 255.0, 65535.0) if highest <= peak), highest)
    grey = np.clip(values / peak * 255, 0, 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)

"""Picture files: anybody's read as upright sRGB arrays, ours written as PNG."""

import io
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageCms, ImageOps

from mimicmotion.errors import InputError

PICTURE_SUFFIXES: Final = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_FORMATS: Final = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may find a file to be, whatever its name says: for PostScript it would start Ghostscript."""
_NOT_READ: Final = (
    (4, (b"ftyphe", b"ftypmif1", b"ftypmsf1"), "HEIC"),
    (4, (b"ftypavi",), "damaged AVIF"),
    (4, (b"ftypcrx",), "raw (CR3)"),
    (4, (b"ftyp",), "video"),
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL"),
    (0, (b"%PDF",), "PDF"),
    (0, (b"%!PS", b"\xc5\xd0\xd3\xc6"), "PostScript"),
    (0, (b"<svg", b"<?xml"), "SVG"),
)
"""Where a form's first bytes lie, what they are, and its name; the first that fits holds."""
_ADOBE_RGB: Final = "R03"
_SRGB_GAMMA: Final = 1 / 2.2
_WORKING_MODES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Colour space of an ICC profile -> mode in which it is applied."""


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture uint8 (h, w, 3) RGB as PNG.

    Not with OpenCV: once decord is loaded, its old zlib serves OpenCV's PNG code too, which then fails.
    """
    Image.fromarray(picture).save(path, format="PNG")


def read_picture(path: Path) -> np.ndarray:
    """The picture in a file as it is meant to look, uint8 (h, w, 3) in sRGB; of an animation, the first.

    Its orientation is applied, its colours are converted by its ICC profile or gamma, and transparent parts
    become white. Any mode is taken: grey, palette, alpha, CMYK, 16 bit.

    Raises:
        InputError: the file is missing, no picture, of a form or with colours that are not read, or too large
            to be opened safely.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; name one picture file in it")
    if not path.is_file():
        raise InputError(f"no picture at {path}")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            upright = ImageOps.exif_transpose(image)
            upright.load()
        return _on_white(_in_srgb(upright))
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} has too many pixels to be opened safely; use a smaller copy, results are smaller anyway"
        ) from error
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise InputError(f"{path} cannot be read as a picture: {_why(path, error)}") from error


def _why(path: Path, error: Exception) -> str:
    try:
        with path.open("rb") as file:
            first = file.read(32)
    except OSError:
        first = b""
    form = next((name for at, starts, name in _NOT_READ if first[at:].startswith(starts)), None)
    if form is None:
        return f"{error} (read are {', '.join(PICTURE_SUFFIXES)})"
    return f"it is {form} whatever its name says, which is not read; save it as PNG or JPEG"


def _in_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB, of mode RGB or RGBA."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _from_deep_grey(image)
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if profile:
        image = _by_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    elif image.getexif().get_ifd(0xA005).get(1) == _ADOBE_RGB:
        raise ValueError("it is in Adobe RGB but lacks the profile; convert it to sRGB")
    elif gamma and "srgb" not in image.info and abs(gamma / _SRGB_GAMMA - 1) > 0.02:
        table = [round(255 * (level / 255) ** (_SRGB_GAMMA / gamma)) for level in range(256)]
        image = image.convert("RGB").point(table * 3)
    image = image.convert("RGB")
    if alpha is not None:
        image.putalpha(alpha)
    return image


def _by_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    space = profile.profile.xcolor_space.strip()
    mode = _WORKING_MODES.get(space)
    # A grey picture may have a profile for RGB, but colours cannot be read by one for another space.
    own = image.mode if image.mode in ("CMYK", "LAB") else "RGB"
    if mode != own and not (mode == "L" and image.mode in ("1", "L", "LA")):
        raise ValueError(f"its colour profile is for {space}, the picture is {image.mode}; save it as sRGB")
    converted = ImageCms.profileToProfile(
        image.convert(mode), profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None
    return converted


def _on_white(image: Image.Image) -> np.ndarray:
    if image.mode == "RGBA":
        background = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(background, image).convert("RGB")
    return np.array(image)


_BRIGHT = 2.0
"""Highest number of a picture of floats that is thought to have white at 1."""


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Grey with more than 8 bits, scaled by the smallest usual range that holds it."""
    values = np.asarray(image, dtype=np.float64)
    values = np.where(np.isfinite(values), values, 0)
    highest = float(values.max(initial=0))
    if image.mode == "F" and highest <= _BRIGHT:  # resizing leaves a little more than white
        highest = min(highest, 1.0)
    peak = next((peak for peak in (1.0, 255.0, 65535.0) if highest <= peak), highest)
    grey = Image.fromarray(np.clip(values / peak * 255, 0, 255).round().astype(np.uint8))
    grey.info = image.info
    return grey

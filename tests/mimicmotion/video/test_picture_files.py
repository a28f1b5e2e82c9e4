"""Any picture becomes upright RGB."""

import io
import os
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from mimicmotion.errors import InputError
from mimicmotion.video.picture_files import read_picture


def picture(height=6, width=4):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_rgb_comes_back_as_it_is(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png") == picture()).all()


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    assert (read_picture(tmp_path / "a.png") == np.rot90(picture(), -1)).all()


def test_grey_with_alpha_lies_on_white(tmp_path):
    grey = np.full((5, 3, 2), 100, np.uint8)
    grey[0, :, 1], grey[1:, :, 1] = 0, 255
    Image.fromarray(grey).save(tmp_path / "a.png")
    result = read_picture(tmp_path / "a.png")
    assert result.shape == (5, 3, 3)
    assert (result[0] == 255).all()
    assert (result[1:] == 100).all()


def test_palette_with_transparency_and_16_bit_grey(tmp_path):
    palette = Image.fromarray(picture()).convert("P")
    palette.save(tmp_path / "p.png", transparency=0)
    assert read_picture(tmp_path / "p.png").shape == (6, 4, 3)
    deep = np.array([[0, 65535], [32768, 257]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_picture(tmp_path / "deep.png")[..., 0].tolist() == [[0, 255], [128, 1]]


@pytest.mark.parametrize(("brightest", "shown"), [(1.0, 128), (1.02, 128), (np.nan, 128), (255.0, 0)])
def test_grey_of_floats_has_its_white_at_one(tmp_path, brightest, shown):
    values = np.full((8, 8), 0.5, np.float32)
    values[0, 0] = brightest
    Image.fromarray(values).save(tmp_path / "a.tiff")
    assert abs(int(read_picture(tmp_path / "a.tiff")[4, 4, 0]) - shown) <= 1


def test_cmyk_and_the_first_picture_of_an_animation(tmp_path):
    flat = np.full((16, 16, 3), (200, 80, 40), np.uint8)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_picture(tmp_path / "a.jpg").astype(int) - flat).max() < 8
    frames = [Image.new("P", (4, 4), index) for index in (0, 1)]
    for frame in frames:
        frame.putpalette([250, 0, 0, 0, 250, 0])
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=80)
    assert (read_picture(tmp_path / "a.gif") == (250, 0, 0)).all()


def test_what_is_no_picture_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no picture at"):
        read_picture(tmp_path / "absent.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_picture(tmp_path / "text.jpg")
    with pytest.raises(InputError, match="is a folder; name one picture"):
        read_picture(tmp_path)
    Image.fromarray(picture()).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=r"too many pixels.*use a smaller copy"):
        read_picture(tmp_path / "large.png")


def adobe_like() -> bytes:
    """An ICC profile that is sRGB's with red and green exchanged: a wrong colour is then plain to see."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, green = tags[b"rXYZ"] + 4, tags[b"gXYZ"] + 4
    profile[red : red + 8], profile[green : green + 8] = (
        profile[green : green + 8],
        profile[red : red + 8],
    )
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_those_of_the_icc_profile(tmp_path, mode):
    flat = Image.new("RGB", (5, 3), (200, 80, 40))
    if mode == "RGBA":
        flat.putalpha(255)
        flat.putpixel((0, 0), (200, 80, 40, 0))
    (flat.quantize(4) if mode == "P" else flat).save(tmp_path / "a.png", icc_profile=adobe_like())
    result = read_picture(tmp_path / "a.png").astype(int)
    assert np.abs(result[1:] - (80, 200, 40)).max() <= 1
    assert (result[0, 0] == 255).all() == (mode == "RGBA")


def test_grey_and_deep_grey_with_a_profile_for_rgb(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("L", (4, 4), 90).save(tmp_path / "a.png", icc_profile=srgb)
    assert np.abs(read_picture(tmp_path / "a.png").astype(int) - 90).max() <= 1
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / "b.png", icc_profile=srgb)
    assert (read_picture(tmp_path / "b.png") == 255).all()


def test_colours_that_cannot_be_known_are_refused(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "broken.png", icc_profile=b"no profile")
    with pytest.raises(InputError, match="profile"):
        read_picture(tmp_path / "broken.png")
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    Image.fromarray(picture()).save(tmp_path / "camera.jpg", exif=exif)
    with pytest.raises(InputError, match="Adobe RGB"):
        read_picture(tmp_path / "camera.jpg")


def test_linear_light_is_shown_as_its_gamma_says(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (128, 128, 128)).save(file, format="PNG")
    chunk = b"gAMA" + (100_000).to_bytes(4)
    whole = file.getvalue()
    (tmp_path / "a.png").write_bytes(
        whole[:33] + (4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + whole[33:]
    )
    assert np.abs(read_picture(tmp_path / "a.png").astype(int) - 186).max() <= 1


@pytest.mark.parametrize(
    ("first", "form"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "video"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
    ],
)
def test_a_form_that_is_not_read_is_named_by_its_first_bytes(tmp_path, first, form):
    (tmp_path / "a.jpg").write_bytes(first + bytes(64))
    with pytest.raises(InputError, match=f"it is {form}.*save it as PNG or JPEG"):
        read_picture(tmp_path / "a.jpg")


def test_postscript_starts_no_ghostscript(tmp_path, monkeypatch):
    """Pillow would hand a file of any name to it, by its content."""
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\necho 10.0; touch {tmp_path}/ran\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    lines = ["%!PS-Adobe-3.0 EPSF-3.0", "%%BoundingBox: 0 0 9 9", "%%EndComments", "showpage", "%%EOF", ""]
    (tmp_path / "a.jpg").write_text("\n".join(lines))
    with pytest.raises(InputError, match="PostScript"):
        read_picture(tmp_path / "a.jpg")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", ["PNG", "MPO", "PPM", "TIFF"])
def test_content_of_another_form_than_the_name_says_is_read(tmp_path, form):
    Image.fromarray(picture(40, 40)).save(tmp_path / "a.jpg", format=form)
    assert read_picture(tmp_path / "a.jpg").shape == (40, 40, 3)


def test_any_error_of_a_damaged_picture_is_the_pictures(tmp_path):
    file = io.BytesIO()
    Image.fromarray(picture(40, 40)).save(file, format="PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue()[:30] + b"\xff" * 200)
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_picture(tmp_path / "a.png")

"""Any picture becomes upright RGB."""

import numpy as np
import pytest
from PIL import Image

from mimicmotion.animation.reference import read_reference
from mimicmotion.errors import InputError


def picture(height=6, width=4):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_rgb_comes_back_as_it_is(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert (read_reference(tmp_path / "a.png") == picture()).all()


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    assert (read_reference(tmp_path / "a.png") == np.rot90(picture(), -1)).all()


def test_grey_with_alpha_lies_on_white(tmp_path):
    grey = np.full((5, 3, 2), 100, np.uint8)
    grey[0, :, 1], grey[1:, :, 1] = 0, 255
    Image.fromarray(grey).save(tmp_path / "a.png")
    result = read_reference(tmp_path / "a.png")
    assert result.shape == (5, 3, 3)
    assert (result[0] == 255).all()
    assert (result[1:] == 100).all()


def test_palette_with_transparency_and_16_bit_grey(tmp_path):
    palette = Image.fromarray(picture()).convert("P")
    palette.save(tmp_path / "p.png", transparency=0)
    assert read_reference(tmp_path / "p.png").shape == (6, 4, 3)
    deep = np.array([[0, 65535], [32768, 257]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_reference(tmp_path / "deep.png")[..., 0].tolist() == [[0, 255], [128, 1]]


def test_cmyk_and_the_first_picture_of_an_animation(tmp_path):
    flat = np.full((16, 16, 3), (200, 80, 40), np.uint8)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_reference(tmp_path / "a.jpg").astype(int) - flat).max() < 8
    frames = [Image.new("P", (4, 4), index) for index in (0, 1)]
    for frame in frames:
        frame.putpalette([250, 0, 0, 0, 250, 0])
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=80)
    assert (read_reference(tmp_path / "a.gif") == (250, 0, 0)).all()


def test_what_is_no_picture_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no reference picture at"):
        read_reference(tmp_path / "absent.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_reference(tmp_path / "text.jpg")
    with pytest.raises(InputError, match="is a folder; name one picture"):
        read_reference(tmp_path)
    Image.fromarray(picture()).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=r"too many pixels.*use a smaller copy"):
        read_reference(tmp_path / "large.png")

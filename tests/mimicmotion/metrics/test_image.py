"""Picture distances equal scikit-image and the float64 formulas."""

import tracemalloc

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from mimicmotion.errors import InputError
from mimicmotion.metrics.image import capped, l1, psnr, psnr_legacy, ssim


def frames(seed=0, shape=(3, 33, 20, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_psnr_is_the_float64_formula():
    a, b = frames(0), frames(1)
    mse = ((a.astype(np.float64) - b) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(psnr(a, b), 20 * np.log10(255 / np.sqrt(mse)), rtol=1e-12)


def test_psnr_of_identical_frames_is_infinite_and_counts_100_in_a_mean():
    a = frames()
    assert np.isinf(psnr(a, a)).all()
    assert capped(psnr(a, a)).tolist() == [100.0] * 3


def test_psnr_does_not_wrap_while_the_legacy_number_does():
    black = np.zeros((1, 8, 8, 3), np.uint8)
    white = np.full((1, 8, 8, 3), 255, np.uint8)
    assert psnr(black, white)[0] == pytest.approx(0)
    assert psnr_legacy(black, white)[0] > 40


def test_legacy_psnr_of_unrelated_pictures_lies_where_old_tables_do():
    assert 27 < psnr_legacy(frames(0), frames(1))[0] < 31
    assert psnr(frames(0), frames(1))[0] < 9


def test_l1_is_the_mean_absolute_difference():
    a, b = frames(0), frames(1)
    expected = np.abs(a.astype(np.float64) - b).mean(axis=(1, 2, 3)) / 255
    np.testing.assert_allclose(l1(a, b), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 7, 7, 3), (2, 33, 20, 3), (1, 64, 41, 3)])
def test_ssim_equals_scikit_image(shape):
    import cv2

    a = frames(0, shape)
    b = (a * 0.7 + 0.3 * frames(1, shape)).astype(np.uint8)
    grey = [[cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in video] for video in (a, b)]
    expected = [structural_similarity(x, y) for x, y in zip(*grey, strict=True)]
    np.testing.assert_allclose(ssim(a, b), expected, atol=1e-6)


def test_ssim_of_nearly_flat_pictures_keeps_its_digits():
    a = np.full((1, 50, 40, 3), 254, np.uint8)
    b = a - (frames(1, (1, 50, 40, 3)) % 2)
    grey = [picture[0, :, :, 0] for picture in (a, b[:, :, :, :1].repeat(3, -1))]
    np.testing.assert_allclose(ssim(a, b[..., :1].repeat(3, -1))[0], structural_similarity(*grey), atol=1e-6)


@pytest.mark.parametrize("metric", [psnr, psnr_legacy, ssim, l1])
def test_a_large_frame_is_compared_in_strips(metric):
    a, b = frames(0, (1, 3000, 400, 3)), frames(1, (1, 3000, 400, 3))
    tracemalloc.start()
    try:
        metric(a, b)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < a.nbytes / 2


def test_ssim_of_identical_frames_is_one():
    np.testing.assert_allclose(ssim(frames(), frames()), 1.0)


def test_another_number_of_frames_is_refused():
    with pytest.raises(InputError, match="3 frames and the generated one 2"):
        psnr(frames(), frames()[:2])


def test_another_size_is_refused():
    with pytest.raises(InputError, match="size of the protocol"):
        ssim(frames(), frames(shape=(3, 20, 33, 3)))


def test_floats_empty_videos_and_tiny_frames_are_refused():
    with pytest.raises(InputError, match="uint8"):
        psnr(frames() / 255.0, frames())
    with pytest.raises(InputError, match="no frame"):
        l1(frames()[:0], frames()[:0])
    with pytest.raises(InputError, match="too small for SSIM"):
        ssim(frames(shape=(1, 6, 20, 3)), frames(shape=(1, 6, 20, 3)))

import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.video.framing import framing, whole_framing
from mimicmotion.video.size import Size


def test_the_size_of_the_nearest_aspect_is_taken():
    sizes = [Size(576, 1024), Size(1024, 576), Size(768, 768)]
    assert framing(Size(1080, 1920), sizes).target == (576, 1024)
    assert framing(Size(1920, 1080), sizes).target == (1024, 576)
    assert framing(Size(700, 600), sizes).target == (768, 768)


def test_a_video_of_the_trained_size_is_left_as_it_is():
    frames = np.random.default_rng(0).integers(0, 256, (2, 192, 128, 3), dtype=np.uint8)
    fit = framing(Size(128, 192), [Size(128, 192)])
    np.testing.assert_array_equal(fit.frames(frames), frames)
    assert (fit.scaled, fit.offset) == ((128, 192), (0, 0))


def test_the_picture_is_covered_and_cut_around_its_centre():
    fit = framing(Size(200, 100), [Size(50, 50)])
    assert fit.scaled == (100, 50)
    assert fit.offset == (25, 0)


def test_frames_of_another_size_and_no_sizes_are_errors():
    with pytest.raises(InputError, match="expected 10x20"):
        framing(Size(10, 20), [Size(8, 8)]).frames(np.zeros((1, 10, 20, 3), np.uint8))
    with pytest.raises(InputError, match="at least one"):
        framing(Size(10, 20), [])


def test_the_cut_is_laid_around_a_point_as_far_as_the_edges_allow():
    assert framing(Size(200, 100), [Size(50, 50)], (40.0, 10.0)).offset == (0, 0)
    assert framing(Size(200, 100), [Size(50, 50)], (120.0, 10.0)).offset == (35, 0)
    assert framing(Size(200, 100), [Size(50, 50)], (199.0, 10.0)).offset == (50, 0)


@pytest.mark.parametrize("source", [(604, 1080), (1080, 1080), (100, 30)])
def test_a_whole_picture_fits_inside_and_comes_back(source):
    fit = whole_framing(Size(*source), [Size(144, 256), Size(256, 144)])
    assert fit.cut_share == 0
    assert framing(Size(1080, 1080), [Size(144, 256)]).cut_share == pytest.approx(0.4375)
    frames = np.random.default_rng(0).integers(0, 256, (1, source[1], source[0], 3), dtype=np.uint8)
    framed = fit.frames(frames)
    assert framed.shape[1:3] == fit.target[::-1]
    whole = fit.without_padding(framed)
    assert whole.shape[1:3] == fit.scaled[::-1]
    np.testing.assert_array_equal(whole, fit.unpadded.frames(frames))
    assert (framed[0, 0] == framed[0, -fit.offset[1]]).all()

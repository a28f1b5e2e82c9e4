import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.video.framing import framing


def test_the_size_of_the_nearest_aspect_is_taken():
    sizes = [(576, 1024), (1024, 576), (768, 768)]
    assert framing((1080, 1920), sizes).target == (576, 1024)
    assert framing((1920, 1080), sizes).target == (1024, 576)
    assert framing((700, 600), sizes).target == (768, 768)


def test_a_video_of_the_trained_size_is_left_as_it_is():
    frames = np.random.default_rng(0).integers(0, 256, (2, 192, 128, 3), dtype=np.uint8)
    fit = framing((128, 192), [(128, 192)])
    np.testing.assert_array_equal(fit.frames(frames), frames)
    assert (fit.scaled, fit.offset) == ((128, 192), (0, 0))


def test_the_picture_is_covered_and_cut_around_its_centre():
    fit = framing((200, 100), [(50, 50)])
    assert fit.scaled == (100, 50)
    assert fit.offset == (25, 0)


def test_frames_of_another_size_and_no_sizes_are_errors():
    with pytest.raises(InputError, match="expected 10x20"):
        framing((10, 20), [(8, 8)]).frames(np.zeros((1, 10, 20, 3), np.uint8))
    with pytest.raises(InputError, match="at least one"):
        framing((10, 20), [])

import cv2
import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.video.framing import framing


@pytest.mark.parametrize("source", [(360, 640), (640, 360), (500, 500), (101, 333), (48, 64)])
def test_a_dot_in_the_frame_and_its_keypoint_stay_together(source):
    width, height = source
    x, y = width // 2 + 7, height // 2 - 11
    frame = np.zeros((1, height, width, 3), np.uint8)
    cv2.circle(frame[0], (x, y), 5, (255, 255, 255), -1)
    fit = framing(source, [(96, 128)])
    small = fit.frames(frame)[0, :, :, 0].astype(float)
    assert small.shape == (128, 96)
    rows, columns = np.indices(small.shape)
    centre = np.array([(columns * small).sum(), (rows * small).sum()]) / small.sum()
    # A keypoint at x scales to x s while a picture resizes around pixel centres: half a pixel apart at most.
    np.testing.assert_allclose(fit.points(np.array([x, y], float)), centre, atol=0.6)


def test_the_size_of_the_nearest_aspect_is_taken():
    sizes = [(576, 1024), (1024, 576), (768, 768)]
    assert framing((1080, 1920), sizes).target == (576, 1024)
    assert framing((1920, 1080), sizes).target == (1024, 576)
    assert framing((700, 600), sizes).target == (768, 768)


def test_a_video_of_the_trained_size_is_left_as_it_is():
    frames = np.random.default_rng(0).integers(0, 256, (2, 192, 128, 3), dtype=np.uint8)
    fit = framing((128, 192), [(128, 192)])
    np.testing.assert_array_equal(fit.frames(frames), frames)
    np.testing.assert_array_equal(fit.boxes(np.array([[1.0, 2, 3, 4]])), [[1, 2, 3, 4]])


def test_boxes_move_like_points():
    fit = framing((200, 100), [(50, 50)])
    assert fit.scaled == (100, 50)
    assert fit.offset == (25, 0)
    np.testing.assert_allclose(fit.boxes(np.array([[100.0, 20, 150, np.nan]])), [[25, 10, 50, np.nan]])


def test_frames_of_another_size_and_no_sizes_are_errors():
    with pytest.raises(InputError, match="expected 10x20"):
        framing((10, 20), [(8, 8)]).frames(np.zeros((1, 10, 20, 3), np.uint8))
    with pytest.raises(InputError, match="at least one"):
        framing((10, 20), [])

"""Sizes as released, and poses that move with their pictures."""

import cv2
import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.pose.framing import framed_track, released_size
from mimicmotion.pose.table import PoseTrack
from mimicmotion.video.framing import framing
from mimicmotion.video.size import Size


@pytest.mark.parametrize(
    ("picture", "short_side", "expected"),
    [
        ((1080, 1920), 576, (576, 1024)),
        ((1920, 1080), 576, (1024, 576)),
        ((500, 500), 576, (1024, 576)),
        ((37, 4000), 576, (576, 1024)),
        ((900, 1600), 320, (320, 512)),
    ],
)
def test_released_size(picture, short_side, expected):
    assert released_size(Size(*picture), short_side) == expected


@pytest.mark.parametrize("short_side", [0, 100, -64])
def test_resolution_must_be_a_multiple_of_64(short_side):
    with pytest.raises(InputError, match="multiple of 64"):
        released_size(Size(100, 200), short_side)


@pytest.mark.parametrize("source", [(360, 640), (640, 360), (500, 500), (101, 333), (48, 64)])
def test_poses_stay_on_their_pixels(source):
    width, height = source
    x, y = width // 2 + 7, height // 2 - 11
    frame = np.zeros((1, height, width, 3), np.uint8)
    cv2.circle(frame[0], (x, y), 5, (255, 255, 255), -1)
    track = PoseTrack(
        keypoints=np.full((1, 133, 2), [x, y], np.float32),
        confidences=np.ones((1, 133), np.float32),
        present=np.ones(1, bool),
        boxes=np.array([[x - 5, y - 5, x + 5, y + 5]], np.float32),
        hand_boxes=np.array([[[x - 5, y - 5, x + 5, y + 5], [np.nan] * 4]], np.float32),
        hand_confidences=np.zeros((1, 2), np.float32),
        width_px=width,
        height_px=height,
    )
    fit = framing(Size(*source), [Size(96, 128)])
    small, moved = fit.frames(frame)[0, :, :, 0].astype(float), framed_track(track, fit)
    assert small.shape == (moved.height_px, moved.width_px) == (128, 96)
    rows, columns = np.indices(small.shape)
    centre = np.array([(columns * small).sum(), (rows * small).sum()]) / small.sum()
    # A keypoint at x scales to x s while a picture resizes around pixel centres: half a pixel apart at most.
    np.testing.assert_allclose(moved.keypoints[0, 0], centre, atol=0.6)
    for box in (moved.boxes[0], moved.hand_boxes[0, 0]):
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, moved.keypoints[0, 0], atol=1e-4)
    assert np.isnan(moved.hand_boxes[0, 1]).all()

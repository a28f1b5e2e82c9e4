"""Sizes as released, and poses that move with their pictures."""

import numpy as np
import pytest

from mimicmotion.animation.framing import framed_track, released_size
from mimicmotion.errors import InputError
from mimicmotion.pose.table import PoseTrack
from mimicmotion.video.framing import framing


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
    assert released_size(*picture, short_side) == expected


@pytest.mark.parametrize("short_side", [0, 100, -64])
def test_resolution_must_be_a_multiple_of_64(short_side):
    with pytest.raises(InputError, match="multiple of 64"):
        released_size(100, 200, short_side)


def test_poses_stay_on_their_pixels():
    frame = np.zeros((40, 100, 3), np.uint8)
    frame[28:32, 48:52] = 255
    track = PoseTrack(
        keypoints=np.full((1, 133, 2), [50, 30], np.float32),
        confidences=np.ones((1, 133), np.float32),
        present=np.ones(1, bool),
        boxes=np.array([[0, 0, 100, 40]], np.float32),
        hand_boxes=np.full((1, 2, 4), np.nan, np.float32),
        hand_confidences=np.zeros((1, 2), np.float32),
        width_px=100,
        height_px=40,
    )
    fit = framing((100, 40), [(32, 64)])
    picture, moved = fit.frames(frame[None])[0], framed_track(track, fit)
    y, x = np.argwhere(picture[..., 0] > 128).mean(axis=0) + 0.5
    assert (moved.width_px, moved.height_px) == (32, 64)
    np.testing.assert_allclose(moved.keypoints[0, 0], [x, y], atol=0.6)

"""Smoothing over time: jitter goes, motion stays, gaps and unsure points are respected."""

import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.pose.smoothing import smoothed
from mimicmotion.pose.table import PoseTrack

FPS = 25.0


def make_track(keypoints: np.ndarray, confidences: np.ndarray, present: np.ndarray) -> PoseTrack:
    n = len(keypoints)
    return PoseTrack(
        keypoints=keypoints.astype(np.float32),
        confidences=confidences.astype(np.float32),
        present=present,
        boxes=np.zeros((n, 4), np.float32),
        hand_boxes=np.zeros((n, 2, 4), np.float32),
        hand_confidences=np.ones((n, 2), np.float32),
        width_px=100,
        height_px=100,
    )


def line(n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Points that move evenly, and their track with one pixel of jitter."""
    steady = np.arange(n)[:, None, None] * 0.5 + np.linspace(0, 40, 133)[None, :, None] * np.ones(2)
    return steady, steady + np.random.default_rng(0).normal(0, 1, steady.shape)


def test_off_gives_the_very_track() -> None:
    track = make_track(line()[1], np.ones((50, 133)), np.ones(50, bool))
    assert smoothed(track, 0.0, FPS) is track


def test_jitter_goes_and_motion_does_not_lag() -> None:
    steady, jittery = line()
    track = smoothed(make_track(jittery, np.ones((50, 133)), np.ones(50, bool)), 0.08, FPS)
    inner = slice(8, -8)
    error = (track.keypoints - steady)[inner]
    assert np.sqrt((error**2).mean()) < 0.5 * np.sqrt(((jittery - steady)[inner] ** 2).mean())
    assert abs(error.mean()) < 0.05
    hand = track.keypoints[:, 91:112]
    np.testing.assert_allclose(track.hand_boxes[:, 0], np.concatenate([hand.min(1), hand.max(1)], -1))


def test_a_lost_point_takes_its_place_from_its_neighbours() -> None:
    steady, _ = line()
    lost, confidences = steady.copy(), np.ones((50, 133))
    lost[20, 5] += 30
    confidences[20, 5] = 0.01
    track = smoothed(make_track(lost, confidences, np.ones(50, bool)), 0.08, FPS)
    assert np.abs(track.keypoints[20, 5] - steady[20, 5]).max() < 0.5
    np.testing.assert_array_equal(track.confidences, confidences.astype(np.float32))


def test_nothing_is_averaged_over_a_gap() -> None:
    points = np.zeros((20, 133, 2))
    points[11:] = 50
    present = np.ones(20, bool)
    present[10] = False
    track = smoothed(make_track(points, present[:, None] * np.ones((20, 133)), present), 0.2, FPS)
    np.testing.assert_allclose(track.keypoints, points, atol=1e-4)


@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf")])
def test_wrong_lengths_are_refused(seconds: float) -> None:
    track = make_track(np.zeros((2, 133, 2)), np.ones((2, 133)), np.ones(2, bool))
    with pytest.raises(InputError, match="0 seconds or more"):
        smoothed(track, seconds, FPS)

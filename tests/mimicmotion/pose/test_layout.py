"""The OpenPose order agrees with the released code."""

import numpy as np

from mimicmotion.pose.layout import HAND_EDGES, from_openpose, to_openpose


def test_equals_the_released_order(golden):
    with np.load(golden / "detector.npz") as vectors:
        points, scores = to_openpose(vectors["keypoints"], vectors["scores"])
        np.testing.assert_allclose(points, vectors["openpose_keypoints"], atol=1e-9)
        np.testing.assert_allclose(scores, vectors["openpose_scores"], atol=1e-9)


def test_neck_needs_both_shoulders():
    keypoints = np.zeros((133, 2))
    keypoints[5], keypoints[6] = (10, 2), (20, 4)
    confidences = np.ones(133)
    points, scores = to_openpose(keypoints, confidences)
    assert points[1].tolist() == [15, 3]
    assert scores[1] == 1
    confidences[6] = 0.3
    assert to_openpose(keypoints, confidences)[1][1] == 0


def test_hand_edges_run_from_wrist_to_tips():
    assert len(HAND_EDGES) == 20
    assert HAND_EDGES[:5] == ((0, 1), (1, 2), (2, 3), (3, 4), (0, 5))
    assert HAND_EDGES[-1] == (19, 20)


def test_the_way_back_drops_the_neck():
    keypoints = np.random.default_rng(0).normal(size=(2, 133, 2))
    np.testing.assert_array_equal(from_openpose(to_openpose(keypoints, np.ones((2, 133)))[0]), keypoints)

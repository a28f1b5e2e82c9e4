import numpy as np
import pytest

from mimicmotion.training.data.hand_map import (
    confident_hands,
    face_weight_map,
    hand_weight_map,
)

NONE = [np.nan] * 4


def test_a_box_weighs_exactly_the_cells_it_touches():
    # Cells of 8 pixels. The box spans x 9..24 (cells 1 and 2), y 15.5..16.5 (cells 1 and 2).
    boxes = np.array([[[9, 15.5, 24, 16.5], NONE]])
    expected = np.array(
        [
            [1, 1, 1, 1, 1, 1],
            [1, 10, 10, 1, 1, 1],
            [1, 10, 10, 1, 1, 1],
            [1, 1, 1, 1, 1, 1],
        ]
    )
    np.testing.assert_array_equal(hand_weight_map(boxes, (4, 6), 10.0)[0], expected)


def test_overlapping_hands_count_once_and_both_hands_count():
    boxes = np.array([[[0, 0, 16, 8], [8, 0, 24, 8]]])
    np.testing.assert_array_equal(hand_weight_map(boxes, (2, 4), 10.0)[0], [[10, 10, 10, 1], [1, 1, 1, 1]])


def test_boxes_are_clipped_to_the_picture_and_frames_do_not_mix():
    boxes = np.array([[[-20, -20, 4, 4], NONE], [NONE, [40, 0, 60, 8]], [NONE, NONE]])
    weights = hand_weight_map(boxes, (2, 2), 10.0)
    np.testing.assert_array_equal(weights[0], [[10, 1], [1, 1]])
    np.testing.assert_array_equal(weights[1:], np.ones((2, 2, 2)))


def test_a_box_without_width_still_weighs_its_cell():
    np.testing.assert_array_equal(hand_weight_map(np.array([[[8, 0, 8, 4]]]), (1, 3), 10.0)[0], [[1, 10, 1]])


def test_each_hand_is_judged_by_its_own_confidence():
    boxes = np.array([[[0, 0, 8, 8], [8, 8, 16, 16]]] * 3, dtype=np.float32)
    boxes[2, 1] = np.nan
    kept = confident_hands(boxes, np.array([[0.9, 0.3], [0.5, 0.31], [np.nan, 1.0]]), threshold=0.3)
    assert np.isfinite(kept).all(axis=-1).tolist() == [[True, False], [True, True], [False, False]]


def test_a_misshapen_box_array_is_an_error():
    with pytest.raises(ValueError):
        hand_weight_map(np.zeros((2, 4)), (2, 2), 10.0)


def test_a_face_weighs_the_cells_of_its_box_when_all_of_it_is_sure():
    keypoints, confidences = np.zeros((3, 133, 2)), np.full((3, 133), 0.1)
    keypoints[:, 23:91] = np.linspace((9, 1), (23, 7), 68)
    confidences[:, 23:91] = 0.9
    confidences[1, 50] = 0.3
    keypoints[2, 23:91] += 100
    weights = face_weight_map(keypoints, confidences, 0.3, (2, 4), 2.0)
    np.testing.assert_array_equal(weights[0], [[1, 2, 2, 1], [1, 1, 1, 1]])
    np.testing.assert_array_equal(weights[1:], np.ones((2, 2, 4)))
    assert (face_weight_map(keypoints, confidences, 0.3, (2, 4), 1.0) == 1).all()

"""Boxes and reliability of hands, from the 21 points of each."""

import numpy as np
from jaxtyping import Float, Float32

from mimicmotion.pose.layout import HANDS


def hand_boxes(
    keypoints: Float[np.ndarray, "*n 133 2"], confidences: Float[np.ndarray, "*n 133"]
) -> Float32[np.ndarray, "*n 2 4"]:
    """Return the box x0, y0, x1, y1 around the points of the left and the right hand.

    A hand with a point that was not located (confidence of 0 or less) has no box: four times nan.
    """
    boxes = []
    for hand in HANDS:
        points = np.asarray(keypoints[..., hand, :], dtype=np.float32)
        box = np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1)
        located = np.all(confidences[..., hand] > 0, axis=-1, keepdims=True)
        boxes.append(np.where(located, box, np.float32(np.nan)))
    return np.stack(boxes, axis=-2)


def hand_confidences(confidences: Float[np.ndarray, "*n 133"]) -> Float32[np.ndarray, "*n 2"]:
    """Return the smallest confidence among the 21 points of the left and the right hand.

    A hand counts as reliable only when every point of it is sure (MimicMotion, section on hand loss).
    """
    smallest = [np.asarray(confidences[..., hand], dtype=np.float32).min(axis=-1) for hand in HANDS]
    return np.stack(smallest, axis=-1)

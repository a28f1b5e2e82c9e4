"""The loss maps: which cells of the latent grid lie in the box of a confident hand or face and weigh more."""

import math

import numpy as np
from jaxtyping import Float, Float32

from mimicmotion.pose.layout import FACE

CELL_PX = 8
"""Pixels of the picture per cell of the latent grid, in each direction."""


def confident_hands(
    boxes: Float[np.ndarray, "f hands 4"], confidences: Float[np.ndarray, "f hands"], threshold: float
) -> Float[np.ndarray, "f hands 4"]:
    """Return the boxes of the hands that may guide the loss; the others become NaN.

    A hand is reliable when all of its keypoints are, so ``confidences`` holds the smallest of the 21
    (MimicMotion, section 3.3). Each hand stands for itself: a hidden left hand takes nothing from the right.

    Args:
        boxes: xyxy in pixels, NaN where there is no hand.
        confidences: smallest of the 21 confidences of each hand.
        threshold: a hand counts when its confidence exceeds this.
    """
    found = np.isfinite(boxes).all(axis=-1)
    reliable = found & (np.nan_to_num(confidences, nan=-math.inf) > threshold)
    return np.where(reliable[..., None], boxes, np.nan)


def hand_weight_map(
    boxes: Float[np.ndarray, "f hands 4"], grid: tuple[int, int], weight: float
) -> Float32[np.ndarray, "f h w"]:
    """Return the loss weight of each cell of the latent grid: ``weight`` in the box of a hand, 1 elsewhere.

    A cell belongs to a box when the box covers some of its pixels. Where two boxes overlap the weight
    counts once. The part of a box outside the picture is ignored.

    Args:
        boxes: xyxy in pixels of the training picture, NaN where there is no confident hand.
        grid: height and width of the latent grid, in cells of ``CELL_PX`` pixels.
        weight: weight of a cell in a box; the paper uses 10.
    """
    return _weight_map(boxes, grid, weight)


def face_weight_map(
    keypoints: Float[np.ndarray, "f 133 2"],
    confidences: Float[np.ndarray, "f 133"],
    threshold: float,
    grid: tuple[int, int],
    weight: float,
) -> Float32[np.ndarray, "f h w"]:
    """Return the loss weight of each cell of the latent grid: ``weight`` in the box of a confident face.

    The paper has no such part. A face is reliable by the rule of hands: all its 68 confidences exceed the
    threshold, so a face that is turned away does not count.

    Args:
        keypoints: pixels of the training picture, COCO-WholeBody order.
        confidences: of the same.
        threshold: as for hands.
        grid: see ``hand_weight_map``.
        weight: of a cell in the box; 1 for none.
    """
    points, reliable = keypoints[:, FACE], confidences[:, FACE].min(axis=1) > threshold
    boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    return _weight_map(np.where(reliable[:, None], boxes, np.nan)[:, None], grid, weight)


def _weight_map(
    boxes: Float[np.ndarray, "f boxes 4"], grid: tuple[int, int], weight: float
) -> Float32[np.ndarray, "f h w"]:
    height, width = grid
    weights = np.ones((len(boxes), height, width), dtype=np.float32)
    for frame, hand in np.argwhere(np.isfinite(boxes).all(axis=-1)):
        left, top, right, bottom = boxes[frame, hand] / CELL_PX
        rows = slice(*_cells(top, bottom, height))
        columns = slice(*_cells(left, right, width))
        weights[frame, rows, columns] = weight
    return weights


def _cells(start: float, end: float, count: int) -> tuple[int, int]:
    """Return first and past-the-last cell that the interval touches, within the grid."""
    first = math.floor(start)
    last = max(math.ceil(end), first + 1)
    return min(max(first, 0), count), min(max(last, 0), count)

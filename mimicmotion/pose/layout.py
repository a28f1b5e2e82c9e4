"""The order of keypoints: COCO-WholeBody with 133 points, and the OpenPose order with a neck.

"Left" and "right" are the person's own.
"""

from typing import Final

import numpy as np
from jaxtyping import Float

NUM_KEYPOINTS: Final = 133

WHOLEBODY_FIELDS: Final = {
    "keypoints": 17,
    "foot_kpts": 6,
    "face_kpts": 68,
    "lefthand_kpts": 21,
    "righthand_kpts": 21,
}
"""COCO-WholeBody's fields with their numbers of points, in the order of the 133."""
BODY: Final = slice(0, 17)
FEET: Final = slice(17, 23)
FACE: Final = slice(23, 91)
LEFT_HAND: Final = slice(91, 112)
RIGHT_HAND: Final = slice(112, 133)
HANDS: Final = (LEFT_HAND, RIGHT_HAND)

NUM_OPENPOSE_KEYPOINTS: Final = 134
OPENPOSE_BODY: Final = slice(0, 18)
OPENPOSE_FEET: Final = slice(18, 24)
OPENPOSE_FACE: Final = slice(24, 92)
OPENPOSE_LEFT_HAND: Final = slice(92, 113)
OPENPOSE_RIGHT_HAND: Final = slice(113, 134)

_LEFT_SHOULDER, _RIGHT_SHOULDER = 5, 6
_NECK = 17
# OpenPose body point i is point _BODY_FROM_NECKED[i] of the 134 points with the neck at 17.
_BODY_FROM_NECKED = (0, _NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)

LIMBS: Final = (
    (1, 2),
    (1, 5),
    (2, 3),
    (3, 4),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
    (1, 0),
    (0, 14),
    (14, 16),
    (0, 15),
    (15, 17),
)
"""Pairs of OpenPose body points joined by a drawn limb, in drawing order."""

HAND_EDGES: Final = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1)
    for finger in range(5)
    for joint in range(4)
)
"""Pairs of the 21 hand points joined by a drawn line: wrist to tip, thumb to little finger."""


def to_openpose(
    keypoints: Float[np.ndarray, "*people 133 2"],
    confidences: Float[np.ndarray, "*people 133"],
    threshold: float = 0.3,
) -> tuple[Float[np.ndarray, "*people 134 2"], Float[np.ndarray, "*people 134"]]:
    """Return the keypoints and confidences in OpenPose order, with a neck, as float64.

    The neck lies between the shoulders. Its confidence is 1 where both shoulders exceed ``threshold``,
    else 0, as in the released code.
    """
    shoulders = [_LEFT_SHOULDER, _RIGHT_SHOULDER]
    points = np.asarray(keypoints, dtype=np.float64)
    scores = np.asarray(confidences, dtype=np.float64)
    neck = points[..., shoulders, :].mean(axis=-2, keepdims=True)
    neck_score = (scores[..., shoulders] > threshold).all(axis=-1, keepdims=True).astype(np.float64)
    points = np.concatenate([points[..., BODY, :], neck, points[..., BODY.stop :, :]], axis=-2)
    scores = np.concatenate([scores[..., BODY], neck_score, scores[..., BODY.stop :]], axis=-1)
    order = [*_BODY_FROM_NECKED, *range(OPENPOSE_BODY.stop, NUM_OPENPOSE_KEYPOINTS)]
    return points[..., order, :], scores[..., order]


def from_openpose(points: Float[np.ndarray, "*people 134 n"]) -> Float[np.ndarray, "*people 133 n"]:
    """Return points of the OpenPose order in COCO-WholeBody order, without the neck."""
    places = {source: place for place, source in enumerate(_BODY_FROM_NECKED) if source != _NECK}
    order = [
        *(places[source] for source in range(BODY.stop)),
        *range(OPENPOSE_BODY.stop, NUM_OPENPOSE_KEYPOINTS),
    ]
    return points[..., order, :]


def _mirrored() -> tuple[int, ...]:
    """Which point lies where each one is looked for in a mirrored picture."""
    order = [*range(NUM_KEYPOINTS)]
    swapped = [(left, left + 1) for left in range(1, BODY.stop, 2)]
    swapped += [(left, left + 3) for left in range(FEET.start, FEET.start + 3)]
    face = [(side, 16 - side) for side in range(8)] + [(brow, 43 - brow) for brow in range(17, 22)]
    face += [(31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    face += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
    swapped += [(FACE.start + one, FACE.start + other) for one, other in face]
    swapped += [(LEFT_HAND.start + joint, RIGHT_HAND.start + joint) for joint in range(21)]
    for one, other in swapped:
        order[one], order[other] = other, one
    return tuple(order)


MIRRORED: Final = _mirrored()
"""For each point its counterpart on the other side; points on the middle line stay."""

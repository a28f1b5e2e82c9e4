"""Driving poses brought onto the body of the reference picture, in one of four ways.

* ``none``: the driving picture is fitted into the reference picture, nothing else.
* ``release``: the global fit of the released code (``tests/golden/alignment.npz``), which ignores the
  confidence of the driving poses and regresses over all points and frames.
* ``robust``: one scale and one shift from medians weighted with confidence, so that hidden points, wrong
  points and partly visible bodies do no harm.
* ``limbs``: ``robust``, then every limb is brought to the length that it has in the reference.
"""

from collections.abc import Sequence
from typing import Final, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32

from mimicmotion.errors import InputError
from mimicmotion.pose.layout import (
    OPENPOSE_FACE,
    OPENPOSE_FEET,
    OPENPOSE_LEFT_HAND,
    OPENPOSE_RIGHT_HAND,
    from_openpose,
    to_openpose,
)
from mimicmotion.pose.settings import AlignmentMode
from mimicmotion.video.size import Size

_SURE: Final = 0.3
_FITTED: Final = (0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
"""OpenPose body points that fits look at: all but elbows and wrists, which move most."""
_MIN_POINTS: Final = 3

_NOSE: Final = 0
# Bones that tell the size of a body, and how far to trust each: arms are seen shortened most often.
_SIZE_BONES: Final = (
    ((2, 5), 1.0), ((1, 8), 1.0), ((1, 11), 1.0), ((8, 9), 1.0), ((11, 12), 1.0), ((9, 10), 1.0),
    ((12, 13), 1.0), ((0, 1), 0.5), ((8, 11), 0.5), ((2, 3), 0.25), ((5, 6), 0.25), ((3, 4), 0.25),
    ((6, 7), 0.25),
)  # fmt: skip
_LENGTH_QUANTILE: Final = 0.75
"""A bone is as long as it is in its longer views, since turning it shortens it."""

# Bones of either side, from the neck outward: the two sides of a body are alike.
_LIMBS: Final = (
    ((1, 0), (1, 0)), ((1, 2), (1, 5)), ((1, 8), (1, 11)), ((2, 3), (5, 6)), ((3, 4), (6, 7)),
    ((8, 9), (11, 12)), ((9, 10), (12, 13)), ((0, 14), (0, 15)), ((14, 16), (15, 17)),
)  # fmt: skip
NUM_LIMBS: Final = len(_LIMBS)
_LIMB_RANGE: Final = (0.5, 2.0)
# Parts that follow a body point: the point, the part, and the limb of _LIMBS whose length sets their size.
_FOLLOWERS: Final = (
    (_NOSE, OPENPOSE_FACE, 7),
    (7, OPENPOSE_LEFT_HAND, 4),
    (4, OPENPOSE_RIGHT_HAND, 4),
    (13, slice(OPENPOSE_FEET.start, OPENPOSE_FEET.start + 3), 6),
    (10, slice(OPENPOSE_FEET.start + 3, OPENPOSE_FEET.stop), 6),
)

Points = Float[np.ndarray, "frames points 2"]
Scores = Float[np.ndarray, "frames points"]


def align(
    mode: AlignmentMode,
    keypoints: Float[np.ndarray, "frames 133 2"],
    confidences: Float[np.ndarray, "frames 133"],
    size: Size,
    reference_keypoints: Float[np.ndarray, "133 2"],
    reference_confidences: Float[np.ndarray, "133"],
    reference_size: Size,
) -> Float32[np.ndarray, "frames 133 2"]:
    """Return the driving keypoints in pixels of the reference picture.

    Args:
        mode: see the top of this module.
        keypoints: one person over the driving video, in its pixels.
        confidences: their confidences; frames without the person have 0.
        size: of the driving video.
        reference_keypoints: the person of the reference picture, in its pixels.
        reference_confidences: their confidences.
        reference_size: of the reference picture.

    Raises:
        InputError: there is no such mode, or too few body points are visible in both to fit anything.
    """
    if mode not in get_args(AlignmentMode):
        raise InputError(f"alignment is {mode!r}; allowed are {', '.join(get_args(AlignmentMode))}")
    points, scores = to_openpose(keypoints, confidences, _SURE)
    reference, reference_scores = to_openpose(reference_keypoints, reference_confidences, _SURE)
    if mode == "none":
        scale = (np.array(reference_size) / size).min()
        shift = (np.array(reference_size) - np.array(size) * scale) / 2
        return from_openpose(points * scale + shift).astype(np.float32)
    present = (scores[:, list(_FITTED)] > _SURE).any(axis=1)
    visible = reference_scores > _SURE
    _check(scores[present], visible)
    if mode == "release":
        chosen = [point for point in _FITTED if visible[point]]
        extent, reference_extent = np.array(size, float), np.array(reference_size, float)
        a, b = release_fit(
            reference[chosen] / reference_extent, (points[present] / extent)[:, chosen], reference_size, size
        )
        return from_openpose((points / extent * a + b) * reference_extent).astype(np.float32)
    weights = np.where(scores > _SURE, scores, 0) * np.where(visible, reference_scores, 0)
    robust_scale = _scale(points, weights, reference)
    points = points * robust_scale + _shift(points * robust_scale, weights, reference)
    if mode == "limbs":
        points = _with_limbs_of(points, weights, reference)
    return from_openpose(points).astype(np.float32)


def release_fit(
    reference: Float[np.ndarray, "points 2"],
    driving: Float[np.ndarray, "frames points 2"],
    reference_size: Size,
    size: Size,
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Return scale and shift for x and y in [0, 1] by the released fit.

    A straight line is fitted by least squares from all driving y to the reference's y; the scale of x
    follows from the shapes of the two pictures, its shift from the means.
    """
    (width, height), (reference_width, reference_height) = size, reference_size
    target = np.tile(reference, (len(driving), 1, 1))
    scale_y, shift_y = np.polyfit(driving[..., 1].ravel(), target[..., 1].ravel(), 1)
    scale_x = scale_y / (height / width / reference_height * reference_width)
    shift_x = np.mean(target[..., 0] - driving[..., 0] * scale_x)
    return np.array([scale_x, scale_y]), np.array([shift_x, shift_y])


def _check(scores: Scores, visible: Bool[np.ndarray, " points"]) -> None:
    """Refuse bodies that share too few visible points."""
    shared = visible & (scores > _SURE).any(axis=0)
    num_shared = int(shared[list(_FITTED)].sum())
    if num_shared < _MIN_POINTS:
        raise InputError(
            f"poses cannot be aligned: only {num_shared} of {len(_FITTED)} body points are visible both in "
            f"the reference picture and in the driving video, {_MIN_POINTS} are needed. Use a reference that "
            "shows more of the body, or alignment none"
        )


def _scale(points: Points, weights: Scores, reference: Float[np.ndarray, "points 2"]) -> float:
    """Return the ratio of body sizes: the weighted median over bones of the ratio of their lengths."""
    ratios, trust = [], []
    for bone, share in _SIZE_BONES:
        ratio, weight = _bone_ratio(points, weights, reference, bone)
        if weight > 0:
            ratios.append(np.log(ratio))
            trust.append(weight * share)
    if not ratios:
        raise InputError(
            "poses cannot be aligned: no bone has both ends visible in the reference picture and in the "
            "driving video. Use a reference that shows more of the body, or alignment none"
        )
    return float(np.exp(_weighted_quantile(np.array(ratios), np.array(trust), 0.5)))


def _bone_ratio(
    points: Points, weights: Scores, reference: Float[np.ndarray, "points 2"], bone: Sequence[int]
) -> tuple[float, float]:
    """Return reference length over driving length of a bone, and how far to trust it (0: unknown)."""
    a, b = bone
    lengths = np.linalg.norm(points[:, a] - points[:, b], axis=-1)
    weight = np.minimum(weights[:, a], weights[:, b])
    wanted = float(np.linalg.norm(reference[a] - reference[b]))
    if weight.sum() <= 0:
        return 1.0, 0.0
    length = _weighted_quantile(lengths, weight, _LENGTH_QUANTILE)
    if length <= 0 or wanted <= 0:
        return 1.0, 0.0
    return wanted / length, float(weight.mean())


def _shift(
    points: Points, weights: Scores, reference: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "2"]:
    """Return the weighted median of the way from driving points to reference points."""
    chosen = list(_FITTED)
    ways = reference[chosen] - points[:, chosen]
    weight = weights[:, chosen].ravel()
    return np.array([_weighted_quantile(ways[..., axis].ravel(), weight, 0.5) for axis in range(2)])


def _with_limbs_of(points: Points, weights: Scores, reference: Float[np.ndarray, "points 2"]) -> Points:
    """Return the poses with each limb as long, relative to before, as the reference's is; directions stay."""
    factors = []
    for sides in _LIMBS:
        known = [_bone_ratio(points, weights, reference, bone) for bone in sides]
        trust = sum(weight for _, weight in known)
        mean = sum(np.log(ratio) * weight for ratio, weight in known) / trust if trust > 0 else 0.0
        factors.append(float(np.clip(np.exp(mean), *_LIMB_RANGE)))
    return with_limbs(points, factors)


def with_limbs(points: Points, factors: Sequence[float]) -> Points:
    """Return the poses, in OpenPose order, with each of the ``NUM_LIMBS`` limbs so many times as long."""
    moved = points.copy()
    for sides, factor in zip(_LIMBS, factors, strict=True):
        for parent, child in dict.fromkeys(sides):
            moved[:, child] = moved[:, parent] + factor * (points[:, child] - points[:, parent])
    for anchor, part, limb in _FOLLOWERS:
        offsets = points[:, part] - points[:, anchor, None]
        moved[:, part] = moved[:, anchor, None] + factors[limb] * offsets
    return moved


def _weighted_quantile(
    values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"], quantile: float
) -> float:
    """Return the smallest value up to which at least this share of the weight lies."""
    order = np.argsort(values, kind="stable")
    summed = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(summed, quantile * summed[-1])])

"""Pose fidelity: how far keypoints found again on a result lie from the pose that drove it."""

from dataclasses import dataclass

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.pose.layout import BODY, FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND
from mimicmotion.video.size import Size

PCK_FRACTION = 0.05
"""A point counts as correct when it lies within this fraction of the person's height."""


def _part(*slices: slice) -> tuple[int, ...]:
    return tuple(index for part in slices for index in range(NUM_KEYPOINTS)[part])


PARTS: dict[str, tuple[int, ...]] = {
    "body": _part(BODY),
    "hands": _part(LEFT_HAND, RIGHT_HAND),
    "face": _part(FACE),
}


@dataclass(frozen=True)
class PartFidelity:
    """Agreement of one part of the body over some frames.

    Attributes:
        error: mean distance divided by the person's height; nan when no point could be compared.
        pck: share of compared points within ``PCK_FRACTION`` of the height; nan likewise.
        found: share of confident driving points that were found again with confidence; nan when the
            driving pose has none.
        num_points: points compared.
        num_wanted: confident driving points.
    """

    error: float
    pck: float
    found: float
    num_points: int
    num_wanted: int


def person_heights(keypoints: np.ndarray, confidences: np.ndarray, threshold: float) -> np.ndarray:
    """Height in pixels that the confident points of each frame span, float64 (n,); nan below two points."""
    confident = confidences > threshold
    y = np.where(confident, keypoints[..., 1].astype(np.float64), np.nan)
    enough = confident.sum(axis=1) >= 2
    heights = np.full(len(y), np.nan)
    heights[enough] = np.nanmax(y[enough], axis=1) - np.nanmin(y[enough], axis=1)
    return heights


def pose_fidelity(
    driving: np.ndarray,
    driving_confidences: np.ndarray,
    found: np.ndarray,
    found_confidences: np.ndarray,
    size: Size,
    threshold: float = 0.3,
) -> dict[str, PartFidelity]:
    """Agreement by part, over points that are confident in both poses.

    Distances are divided by one height per video, the median over frames of the driving pose: a crouch
    must not make errors look larger.

    Args:
        driving: (n, 133, 2) pixels.
        driving_confidences: (n, 133).
        found: (n, 133, 2) pixels of a picture of the same size.
        found_confidences: (n, 133); 0 where nobody was found.
        size: of the pictures; what lies outside cannot be found in them, and is not asked for.
        threshold: a point with more confidence counts.

    Raises:
        InputError: shapes differ, or the driving pose has no frame with two confident points.
    """
    if driving.shape != found.shape or driving_confidences.shape != found_confidences.shape:
        raise InputError(f"driving pose {driving.shape} and found pose {found.shape} differ in shape")
    heights = person_heights(driving, driving_confidences, threshold)
    if not np.isfinite(heights).any():
        raise InputError("the driving pose has no frame with two confident points, so errors have no scale")
    height = max(float(np.nanmedian(heights)), 1.0)
    distances = np.linalg.norm(driving.astype(np.float64) - found, axis=-1) / height
    inside = ((driving >= 0) & (driving < np.array(size))).all(axis=-1)
    wanted = (driving_confidences > threshold) & inside
    compared = wanted & (found_confidences > threshold)
    return {
        name: _part_fidelity(distances[:, part], wanted[:, part], compared[:, part])
        for name, part in ((name, list(indices)) for name, indices in PARTS.items())
    }


def _part_fidelity(distances: np.ndarray, wanted: np.ndarray, compared: np.ndarray) -> PartFidelity:
    chosen = distances[compared]
    num_wanted = int(wanted.sum())
    return PartFidelity(
        error=float(chosen.mean()) if chosen.size else float("nan"),
        pck=float((chosen <= PCK_FRACTION).mean()) if chosen.size else float("nan"),
        found=chosen.size / num_wanted if num_wanted else float("nan"),
        num_points=int(chosen.size),
        num_wanted=num_wanted,
    )

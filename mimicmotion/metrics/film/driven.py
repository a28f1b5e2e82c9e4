"""Keypoints found again in a film against those that drove it, weighted by the driver's confidence."""

import numpy as np
from jaxtyping import Float

from mimicmotion.metrics.pose_fidelity import PARTS, person_heights
from mimicmotion.metrics.redetection import Pose
from mimicmotion.metrics.scores import JUDGE
from mimicmotion.pose.layout import BODY
from mimicmotion.video.size import Size

MISSED = 0.2
"""Heights by which a driving point counts as missed at most, and where it is not found again."""


class DrivingPose:
    """The pose that drives a film.

    Args:
        pose: keypoints (n, 133, 2) in pixels of the film, and confidences (n, 133).
        size: of the film.
        threshold: points of more confidence count, of driving and of found poses.
    """

    def __init__(self, pose: Pose, size: Size, threshold: float) -> None:
        self._points, sure = pose[0].astype(np.float64), pose[1]
        self._threshold = threshold
        heights = person_heights(self._points, sure, threshold)
        self._height = max(float(np.nanmedian(heights)), 1.0) if np.isfinite(heights).any() else np.nan
        # What lies outside of the picture cannot be found in it.
        inside = ((self._points >= 0) & (self._points < np.array(size))).all(axis=-1)
        self._weights = np.where((sure > threshold) & inside, sure, 0.0)

    def values(self, first: int, found: Pose) -> dict[str, Float[np.ndarray, " n"]]:
        """How far driving points are missed by part, and whether nobody is found, of each frame from one on.

        A point counts as far as it is off, at most ``MISSED``, so that drawing nothing is no way out. nan
        where no driving point of a part is confident.
        """
        frames = slice(first, first + len(found[0]))
        weights, seen = self._weights[frames], found[1] > self._threshold
        distances = np.linalg.norm(self._points[frames] - found[0], axis=-1) / self._height
        missed = np.where(seen, np.minimum(distances, MISSED), MISSED)
        values = {}
        for part, indices in PARTS.items():
            weight = weights[:, list(indices)]
            total = np.where(weight.any(axis=1), weight.sum(axis=1), np.nan)
            values[f"{JUDGE}{part}"] = (weight * missed[:, list(indices)]).sum(axis=1) / total
        values[f"{JUDGE}nobody"] = np.where(weights.any(axis=1), ~seen.any(axis=1), np.nan)
        return values

    def jerk(self, found: Pose) -> tuple[float, int]:
        """Third difference over time of found less driving body points, in heights; how many there are."""
        if len(found[0]) < 4:
            return np.nan, 0
        weights = np.where(found[1][:, BODY] > self._threshold, self._weights[:, BODY], 0)
        weights = np.lib.stride_tricks.sliding_window_view(weights, 4, axis=0).min(axis=-1)
        if not weights.any():
            return np.nan, 0
        third = np.diff(found[0][:, BODY] - self._points[:, BODY], n=3, axis=0) / self._height
        return float(np.average(np.linalg.norm(third, axis=-1), weights=weights)), int((weights > 0).sum())

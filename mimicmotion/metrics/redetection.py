"""The pose of the one person in generated frames, found again by the models that found the true one."""

from collections.abc import Sequence

import cv2
import numpy as np

from mimicmotion.pose.layout import NUM_KEYPOINTS
from mimicmotion.pose.models.estimator import PoseEstimator

Pose = tuple[np.ndarray, np.ndarray]
"""Keypoints (n, 133, 2) in pixels and confidences (n, 133) of one person."""


def joined(parts: Sequence[Pose]) -> Pose:
    """The pose of frames that were looked at in parts, at least one."""
    return np.concatenate([points for points, _ in parts]), np.concatenate([sure for _, sure in parts])


def _same(frame: np.ndarray, before: np.ndarray | None) -> bool:
    """Whether a frame is the one before; NumPy's comparison takes as much memory as a frame."""
    return before is not None and cv2.norm(frame, before, cv2.NORM_INF) == 0


class PoseFinder:
    """Finds the best scored person in frames that come in order; holds one frame.

    A frame equal to the one before is not looked at again.

    Args:
        estimator: finds people.
    """

    def __init__(self, estimator: PoseEstimator) -> None:
        self._estimator = estimator
        self._before: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def find(self, frames: np.ndarray) -> Pose:
        """The pose of each frame; confidence is 0 where nobody is found.

        Args:
            frames: uint8 (n, h, w, 3) RGB, which follow those of the call before.
        """
        num = len(frames)
        keypoints = np.zeros((num, NUM_KEYPOINTS, 2), np.float32)
        confidences = np.zeros((num, NUM_KEYPOINTS), np.float32)
        before = [None if self._before is None else self._before[0], *frames[:-1]]
        new = [i for i, (now, last) in enumerate(zip(frames, before, strict=True)) if not _same(now, last)]
        if new:
            fresh = frames if len(new) == num else frames[new]  # an index would copy them
            for place, people in zip(new, self._estimator.people([fresh]), strict=True):
                if people:
                    best = max(people, key=lambda person: person.box_score)
                    keypoints[place], confidences[place] = best.keypoints, best.confidences
        for place in sorted({*range(num)} - {*new}):
            if place:
                keypoints[place], confidences[place] = keypoints[place - 1], confidences[place - 1]
            elif self._before is not None:
                _, keypoints[0], confidences[0] = self._before
        self._before = frames[-1], keypoints[-1], confidences[-1]
        return keypoints, confidences

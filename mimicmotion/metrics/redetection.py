"""The pose of the one person in generated frames, found again by the models that found the true one."""

from collections.abc import Sequence

import numpy as np

from mimicmotion.pose.estimator import PoseEstimator
from mimicmotion.pose.layout import NUM_KEYPOINTS

_FRAMES_AT_A_TIME = 32


def find_poses(frames: Sequence[np.ndarray], estimator: PoseEstimator) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints float32 (n, 133, 2) in pixels and confidences (n, 133) of the best scored person.

    Confidence is 0 where nobody is found. A frame equal to the one before is not looked at again.

    Args:
        frames: uint8 (h, w, 3) RGB, all of one size.
        estimator: finds people.
    """
    new = [i for i in range(len(frames)) if i == 0 or not np.array_equal(frames[i], frames[i - 1])]
    keypoints = np.zeros((len(new), NUM_KEYPOINTS, 2), np.float32)
    confidences = np.zeros((len(new), NUM_KEYPOINTS), np.float32)
    starts = range(0, len(new), _FRAMES_AT_A_TIME)
    chunks = (np.stack([frames[i] for i in new[start : start + _FRAMES_AT_A_TIME]]) for start in starts)
    for place, people in enumerate(estimator.people(chunks)):
        if people:
            best = max(people, key=lambda person: person.box_score)
            keypoints[place], confidences[place] = best.keypoints, best.confidences
    same_as = np.searchsorted(new, np.arange(len(frames)), side="right") - 1
    return keypoints[same_as], confidences[same_as]

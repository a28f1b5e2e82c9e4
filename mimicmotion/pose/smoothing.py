"""Smoother poses over time, for driving videos whose detected poses jitter; off unless asked for.

Stored poses stay raw: this happens on reading.
"""

from dataclasses import replace

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.pose.hands import hand_boxes
from mimicmotion.pose.table import PoseTrack

_REACH = 3
"""Widths of the kernel after which nothing is left of it."""


def smoothed(track: PoseTrack, seconds: float, fps: float) -> PoseTrack:
    """Return the track with every point averaged over time; what is sure counts more than what is not.

    A Gaussian over time, each frame weighted by the point's confidence, so a frame in which a hand was lost
    takes its place from its neighbours. It looks both ways and therefore does not lag. Frames without the
    person divide the track: nothing is averaged over a gap. Confidences stay as they are.

    Args:
        track: one person over all frames.
        seconds: standard deviation of the Gaussian; 0 leaves the track as it is.
        fps: frames per second of the track.

    Raises:
        InputError: negative or endless seconds, or no rate.
    """
    if not (np.isfinite(seconds) and seconds >= 0 and fps > 0):
        raise InputError(f"poses are smoothed over 0 seconds or more at a rate above 0: got {seconds}, {fps}")
    width = seconds * fps
    if width == 0:
        return track
    keypoints = track.keypoints.copy()
    edges = np.flatnonzero(np.diff(np.r_[False, track.present, False].astype(np.int8)))
    for start, end in edges.reshape(-1, 2):
        keypoints[start:end] = _average(
            track.keypoints[start:end], np.maximum(track.confidences[start:end], 1e-3), width
        )
    return replace(track, keypoints=keypoints, hand_boxes=hand_boxes(keypoints, track.confidences))


def _average(points: np.ndarray, weights: np.ndarray, width: float) -> np.ndarray:
    """Weighted average over time of points (n, 133, 2) with weights (n, 133), float32."""
    reach = min(int(np.ceil(_REACH * width)), len(points) - 1)
    total = np.zeros(points.shape, np.float64)
    norm = np.zeros(weights.shape, np.float64)
    for offset in range(-reach, reach + 1):
        kernel = np.exp(-0.5 * (offset / width) ** 2)
        to = slice(max(0, -offset), len(points) - max(0, offset))
        at = slice(max(0, offset), len(points) - max(0, -offset))
        total[to] += kernel * weights[at, :, None] * points[at]
        norm[to] += kernel * weights[at]
    return (total / norm[..., None]).astype(np.float32)

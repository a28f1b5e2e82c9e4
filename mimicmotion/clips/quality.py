"""How well a person can be seen in every frame of a video, from the stored poses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from mimicmotion.pose.layout import BODY
from mimicmotion.pose.table import PoseTrack

_LAG_S = 0.25


@dataclass(frozen=True, eq=False)
class FrameQuality:
    """What can be said of each of the n frames of a video.

    Attributes:
        present: the main person was found.
        visibility: share of the 17 body points that are sure; 0 where nobody is.
        confidence: mean confidence of the body points; 0 where nobody is.
        height_share: height of the person's box over that of the picture; 0 where nobody is.
        num_people: people found.
        lag: frames over which speed is measured, about a quarter of a second: between neighbouring frames
            the jitter of a detector is as fast as a slow dance.
        speed: mean way of the sure body points since ``lag`` frames before, in heights of the person's box
            per second; nan where either frame lacks them.
        hands_confident: whether all 21 points of the left and the right hand are sure.
        bad: the frame stands in for one that did not decode.
    """

    present: Bool[np.ndarray, " n"]
    visibility: Float64[np.ndarray, " n"]
    confidence: Float64[np.ndarray, " n"]
    height_share: Float64[np.ndarray, " n"]
    num_people: Int[np.ndarray, " n"]
    lag: int
    speed: Float64[np.ndarray, " n"]
    hands_confident: Bool[np.ndarray, "n 2"]
    bad: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.present)


def frame_quality(
    track: PoseTrack,
    num_people: Int[np.ndarray, " n"],
    fps: float,
    bad_frames: Sequence[int],
    keypoint_threshold: float,
    hand_threshold: float,
) -> FrameQuality:
    """Quality of every frame of one video.

    Args:
        track: the main person.
        num_people: people per frame.
        fps: frames per second.
        bad_frames: indices of frames that stand in for lost ones.
        keypoint_threshold: a body point above it is sure.
        hand_threshold: a hand whose 21 points all exceed it is reliable.
    """
    confidences = track.confidences[:, BODY].astype(np.float64)
    sure = confidences > keypoint_threshold
    heights = np.where(track.present, track.boxes[:, 3] - track.boxes[:, 1], 0.0)
    heights = np.nan_to_num(heights).astype(np.float64)
    lag = max(1, round(fps * _LAG_S))
    bad = np.zeros(len(track), dtype=bool)
    bad[list(bad_frames)] = True
    return FrameQuality(
        present=track.present,
        visibility=sure.mean(axis=1),
        confidence=confidences.mean(axis=1),
        height_share=heights / track.height_px,
        num_people=num_people,
        lag=lag,
        speed=_speed(track.keypoints[:, BODY].astype(np.float64), sure, heights, lag, fps),
        hands_confident=track.hand_confidences > hand_threshold,
        bad=bad,
    )


def _speed(
    points: Float64[np.ndarray, "n 17 2"],
    sure: Bool[np.ndarray, "n 17"],
    heights: Float64[np.ndarray, " n"],
    lag: int,
    fps: float,
) -> Float64[np.ndarray, " n"]:
    speed = np.full(len(points), np.nan)
    both = sure[lag:] & sure[:-lag]
    way = np.linalg.norm(points[lag:] - points[:-lag], axis=2)
    counts = both.sum(axis=1)
    known = (counts > 0) & (heights[lag:] > 0)
    mean_way = (way * both).sum(axis=1) / np.maximum(counts, 1)
    speed[lag:][known] = mean_way[known] / heights[lag:][known] * fps / lag
    return speed

"""Scores of the body where there is nobody to compare."""

import numpy as np
import pytest

from mimicmotion.metrics.body_scores import BodyJudge, BodyMeter
from mimicmotion.pose.models.detector import Detections
from mimicmotion.pose.models.estimator import TopDownEstimator


class NoDetector:
    def prepare(self, frames):
        return np.stack(list(frames))

    def detect(self, prepared, frame_size):
        return [Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32)) for _ in prepared]


class NoWholeBody:
    def prepare(self, frame, boxes):
        return np.zeros((len(boxes), 1), np.float32)

    def estimate(self, crops, boxes):
        return np.zeros((len(crops), 133, 2), np.float32), np.zeros((len(crops), 133), np.float32)


@pytest.mark.parametrize(
    ("given", "where"), [(True, "the driving pose of clip"), (False, "the true video clip")]
)
def test_a_video_without_a_confident_frame_has_no_value_and_stops_nothing(given, where):
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    pose = np.ones((3, 133, 2), np.float32), np.full((3, 133), 0.2, np.float32)
    judge = BodyJudge(TopDownEstimator(NoDetector(), NoWholeBody()), None, 0.3, 0.3)
    meter = BodyMeter(judge, pose if given else None, with_truth=True)
    meter.add(frames, {"model": frames})
    (row,) = meter.rows("clip")
    assert (row.method, row.metric, row.value) == ("model", "pose_error_body", None)
    assert row.note == f"nobody is found in {where}"

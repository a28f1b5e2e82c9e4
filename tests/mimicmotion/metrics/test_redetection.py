"""Poses are found again in generated frames."""

import tracemalloc

import numpy as np

from mimicmotion.metrics.redetection import PoseFinder
from mimicmotion.pose.models.detector import Detections
from mimicmotion.pose.models.estimator import TopDownEstimator


class FakeDetector:
    """Finds one person in bright frames, and a worse one beside."""

    def __init__(self):
        self.seen = 0

    def prepare(self, frames):
        return np.stack(list(frames))

    def detect(self, prepared, frame_size):
        self.seen += len(prepared)
        boxes = np.array([[0, 0, 9, 9], [1, 1, 5, 5]], np.float32)
        scores = np.array([0.9, 0.4], np.float32)
        bright = [frame.mean() > 100 for frame in prepared]
        return [Detections(boxes[: 2 * b], scores[: 2 * b]) for b in bright]


class FakeWholeBody:
    """Puts every point at the brightness of the frame; the second person's confidence is lower."""

    def prepare(self, frame, boxes):
        return np.full((len(boxes), 3, 2, 2), frame.mean(), np.float32)

    def estimate(self, crops, boxes):
        keypoints = np.ones((len(crops), 133, 2), np.float32) * crops.mean((1, 2, 3))[:, None, None]
        return keypoints, np.ones((len(crops), 133), np.float32) * (boxes[:, 2:3] / 10)


def test_the_best_person_is_taken_and_nobody_has_no_confidence():
    detector = FakeDetector()
    frames = [np.full((10, 10, 3), level, np.uint8) for level in (200, 200, 10, 150)]
    finder = PoseFinder(TopDownEstimator(detector, FakeWholeBody()))
    keypoints, confidences = finder.find(np.stack(frames))
    assert keypoints[:, 0, 0].tolist() == [200, 200, 0, 150]
    np.testing.assert_allclose(confidences[:, 5], [0.9, 0.9, 0, 0.9])
    assert detector.seen == 3  # the repeated frame is not looked at again


def test_a_video_that_comes_in_parts_is_looked_at_once():
    detector = FakeDetector()
    frames = np.stack([np.full((10, 10, 3), 101 + i // 2, np.uint8) for i in range(12)])
    finder = PoseFinder(TopDownEstimator(detector, FakeWholeBody()))
    found = np.concatenate([finder.find(frames[i : i + 5])[0][:, 0, 0] for i in (0, 5, 10)])
    assert found.tolist() == [101 + i // 2 for i in range(12)]
    assert detector.seen == 6


def test_looking_copies_no_frame():
    class Nobody:
        def people(self, batches):
            yield from ([] for batch in batches for _ in batch)

    frames, finder = np.zeros((3, 1, 500, 400, 3), np.uint8), PoseFinder(Nobody())
    frames[1:] = 9
    tracemalloc.start()
    try:
        for frame in frames:
            finder.find(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < frames[0].nbytes / 4

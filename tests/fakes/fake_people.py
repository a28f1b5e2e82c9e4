"""Models of poses that see one person, all of whose points lie in the middle."""

import numpy as np

from mimicmotion.pose.models.detector import Detections


class FakeDetector:
    """Finds one person wherever a frame is not dark."""

    def prepare(self, frames):
        return np.stack([frame.mean(axis=(0, 1)) for frame in frames])

    def detect(self, prepared, frame_size):
        width, height = frame_size
        box = np.array([[1, 2, width - 1, height - 2]], np.float32)
        return [
            Detections(box, np.array([0.9], np.float32))
            if mean.max() > 40
            else Detections(box[:0], np.zeros(0))
            for mean in prepared
        ]


class FakeWholeBody:
    """Puts all points at the middle of the box."""

    def prepare(self, frame, boxes):
        return np.zeros((len(boxes), 1), np.float32)

    def estimate(self, crops, boxes):
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        return np.repeat(middles[:, None], 133, axis=1), np.full((len(boxes), 133), 0.8, np.float32)

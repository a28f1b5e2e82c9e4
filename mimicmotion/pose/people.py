"""One person in one frame, as every source of poses gives it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True, eq=False)
class Person:
    """A person found in one frame.

    Attributes:
        box: x0, y0, x1, y1 in pixels.
        box_score: score of the detector.
        keypoints: COCO-WholeBody order, pixels.
        confidences: SimCC maxima, one per keypoint.
    """

    box: Float32[np.ndarray, "4"]
    box_score: float
    keypoints: Float32[np.ndarray, "133 2"]
    confidences: Float32[np.ndarray, "133"]

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return float(max(0.0, self.box[2] - self.box[0]) * max(0.0, self.box[3] - self.box[1]))

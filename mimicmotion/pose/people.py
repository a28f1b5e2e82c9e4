"""One person in one frame, as every source of poses gives it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int


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


@dataclass(frozen=True)
class Presence:
    """In how many frames of a film a person is.

    Attributes:
        num_frames: frames of the film.
        num_nobody: frames in which nobody was found.
        num_lost: frames in which others were found, but not this person.
    """

    num_frames: int
    num_nobody: int
    num_lost: int

    @classmethod
    def of(cls, present: Bool[np.ndarray, " n"], frames: Int[np.ndarray, " m"]) -> "Presence":
        """Count by where the person is, and the frame of everybody that was found."""
        seen = np.zeros(len(present), dtype=bool)
        seen[frames] = True
        return cls(len(present), int((~seen).sum()), int((seen & ~present).sum()))

    @property
    def sentence(self) -> str:
        """What to tell."""
        return (
            f"of {self.num_frames} frames {self.num_nobody} show nobody, "
            f"{self.num_lost} show others but not the person"
        )

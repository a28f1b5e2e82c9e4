"""Numbers and pictures that let a person judge stored poses."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, UInt8

from mimicmotion.pose.calibration import Calibration
from mimicmotion.pose.drawing import draw_pose
from mimicmotion.pose.layout import BODY, FACE, FEET, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND
from mimicmotion.pose.people import Presence
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PosesInfo, column_array
from mimicmotion.video.size import Size

_PARTS: Final = {"body": (BODY,), "feet": (FEET,), "face": (FACE,), "hands": (LEFT_HAND, RIGHT_HAND)}
_BINS: Final = np.linspace(0, 1.2, 49)
_SURE: Final = 0.3


class Tally:
    """Counts over the poses of many videos, in memory that does not grow with them."""

    def __init__(self) -> None:
        self.num_videos = self.num_frames = self.num_frames_with_person = self.num_people = 0
        self.num_videos_without_person = 0
        self.histograms = {part: np.zeros(len(_BINS) - 1) for part in _PARTS}
        self.hand_histogram = np.zeros(len(_BINS) - 1)
        self._sums = dict.fromkeys(_PARTS, 0.0)
        self._num_sure_hands = 0
        self.presences: list[Presence] = []

    def add(self, table: pa.Table) -> None:
        """Count the poses of one video."""
        num_frames = PosesInfo.of(table).num_frames
        present, frames = np.zeros(num_frames, dtype=bool), table["frame"].to_numpy()
        present[frames[table["person"].to_numpy() == 0]] = True
        self.presences.append(Presence.of(present, frames))
        confidences = column_array(table, "confidences", (NUM_KEYPOINTS,))
        self.num_videos += 1
        self.num_videos_without_person += not len(confidences)
        self.num_frames += num_frames
        self.num_frames_with_person += len(np.unique(table["frame"].to_numpy()))
        self.num_people += len(confidences)
        for part, slices in _PARTS.items():
            values = np.concatenate([confidences[:, one] for one in slices], axis=1)
            self.histograms[part] += _count(values)
            self._sums[part] += float(values.mean(axis=1, dtype=np.float64).sum())
        for side in ("left", "right"):
            smallest = table[f"{side}_hand_confidence"].to_numpy()
            self.hand_histogram += _count(smallest)
            self._num_sure_hands += int((smallest > _SURE).sum())

    @property
    def presence(self) -> Presence:
        """In how many frames of all videos their main person is."""
        counts = [(one.num_frames, one.num_nobody, one.num_lost) for one in self.presences]
        return Presence(*(int(total) for total in np.sum(counts or [(0, 0, 0)], axis=0)))

    def metrics(self) -> dict[str, float]:
        """Return counts and means by name."""
        values = {
            "videos": float(self.num_videos),
            "videos_without_person": float(self.num_videos_without_person),
            "frames": float(self.num_frames),
            "frames_with_person_fraction": self.num_frames_with_person / max(1, self.num_frames),
            "frames_nobody": float(self.presence.num_nobody),
            "frames_person_lost": float(self.presence.num_lost),
            "people_per_frame": self.num_people / max(1, self.num_frames),
        }
        if self.num_people:
            means = {f"confidence_{part}": total / self.num_people for part, total in self._sums.items()}
            values |= {**means, "sure_hands_fraction": self._num_sure_hands / (2 * self.num_people)}
        return values


def _count(values: np.ndarray) -> np.ndarray:
    return np.histogram(np.clip(values, _BINS[0], _BINS[-1]), _BINS)[0]


def confidence_picture(tally: Tally) -> UInt8[np.ndarray, "h w 3"]:
    """Return histograms of confidence by part of the body, and of the reliability of hands."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    points, hands = figure.subplots(1, 2)
    centres = (_BINS[1:] + _BINS[:-1]) / 2
    for part, counts in tally.histograms.items():
        points.plot(centres, counts / max(1, counts.sum()), label=part)
    points.set(title="confidence of keypoints", xlabel="raw confidence, as stored", ylabel="share")
    points.legend()
    hands.bar(centres, tally.hand_histogram, width=_BINS[1])
    hands.set(title="reliability of hands", xlabel="smallest confidence of the 21 points", ylabel="hands")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def pose_on_frame(
    frame: UInt8[np.ndarray, "h w 3"], table: pa.Table, number: int, calibration: Calibration | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the darkened frame with everybody's pose drawn on it, in probabilities where calibrated.

    Raises:
        InputError: the calibration is for another model than found the poses.
    """
    rows = table.filter(pa.array(table["frame"].to_numpy() == number))
    keypoints: Float32[np.ndarray, "p 133 2"] = column_array(rows, "keypoints", (NUM_KEYPOINTS, 2))
    confidences = column_array(rows, "confidences", (NUM_KEYPOINTS,))
    if calibration is not None:
        calibration.check(PosesInfo.of(table).models, f"the poses of frame {number}")
        confidences = calibration.probabilities(confidences)
    drawn = draw_pose(keypoints, confidences, Size.of(frame), DrawingStyle()).transpose(1, 2, 0)
    return np.maximum(frame // 2, drawn)

"""Scores of a film that need no true film: against its reference picture and the poses that drove it.

Frames come in order, a few at a time. What is kept of each is its keypoints, two short vectors and a number
a score: a few kilobytes, whatever the size of the frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.metrics.film.drift import change_curve, colour_statistics, drift_slope, join_ratio
from mimicmotion.metrics.film.driven import DrivingPose
from mimicmotion.metrics.film.looks import FilmTools, likeness, person_mask
from mimicmotion.metrics.redetection import Pose, PoseFinder, joined
from mimicmotion.metrics.scores import JUDGE, METRICS, MODEL, Measured
from mimicmotion.video.size import Size

_MIN_OUTSIDE = 0.05
"""A smaller share of the picture outside the person says nothing about the background."""
_WORKING_SIDE_PX = 256


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a film was to show, in pixels of its frames.

    Attributes:
        reference: uint8 (h, w, 3), at the film's size.
        reference_pose: of the person in it, one frame; confidences of 0 where it is not known.
        driving: one pose for each frame, on the body of the reference as it was drawn.
        borders: frames that follow a border of tiles, or the reason why they are not known.
        background: the reason why nothing is said of the background, None where the camera stands still.
    """

    reference: np.ndarray
    reference_pose: Pose
    driving: Pose
    borders: Sequence[int] | str = "tile and overlap of this film are not known"
    background: str | None = None


@dataclass(frozen=True)
class Moment:
    """The worst frame by one score.

    Attributes:
        metric: the score.
        frame: its number.
        value: the score there.
        picture: uint8 (h, w, 3).
    """

    metric: str
    frame: int
    value: float
    picture: np.ndarray


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one film.

    Attributes:
        scores: one for each metric that begins with ``JUDGE``; absent ones have no value and a note.
        curves: metric -> frame distance -> mean change at it.
        per_frame: metric -> its value at each frame, nan where it has none.
        worst: the worst frames.
    """

    scores: tuple[Measured, ...]
    curves: Mapping[str, Mapping[int, float]]
    per_frame: Mapping[str, np.ndarray]
    worst: tuple[Moment, ...]

    def __getitem__(self, metric: str) -> Measured:
        """One score."""
        return next(score for score in self.scores if score.metric == metric)


LACKING = {
    "judge_body": "no driving point of the body is confident",
    "judge_hands": "no driving point of a hand is confident",
    "judge_face": "no driving point of the face is confident",
    "judge_nobody": "nobody drives the film",
    "judge_jerk": "no point is confident in four frames one after the other",
    "judge_identity": "no face is confident enough, in the reference or in the film",
    "judge_appearance": "nobody is seen, in the reference or in the film",
    "judge_colour_drift": "fewer than three frames",
    "judge_appearance_drift": "fewer than three frames with a person",
    "judge_joins": "the film is one tile",
    "judge_background": "the person fills the picture",
    "judge_flicker": "the person fills the picture, or there is one frame only",
    "judge_sharp_face": "no face is confident enough, in the reference or in the film",
    "judge_sharp_hands": "no hand is confident enough, in the reference or in the film",
}
"""Why a score has no value where everything that it needs is given."""
_LOOKED_AT = ("judge_identity", "judge_appearance", "judge_sharp_face", "judge_sharp_hands")
_WORST = ("judge_body", "judge_appearance", "judge_background", "judge_sharp_hands")


class FilmMeter:
    """Judges one film whose frames come in order.

    Args:
        tools: what looks.
        wanted: what the film was to show.
    """

    def __init__(self, tools: FilmTools, wanted: Wanted) -> None:
        self._tools, self._wanted = tools, wanted
        self._finder = None if tools.estimator is None else PoseFinder(tools.estimator)
        self._found: list[Pose] = []
        self._values: dict[str, list[float]] = {}
        self._colours: list[np.ndarray] = []
        self._looks: list[np.ndarray | None] = []
        self._changes: list[float] = []
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._worst: dict[str, Moment] = {}
        self._num_frames = 0
        size = Size.of(wanted.reference)
        self._driving = DrivingPose(wanted.driving, size, tools.keypoint_threshold)
        own = wanted.reference_pose[0][0], wanted.reference_pose[1][0]
        self._reference = tools.look(wanted.reference, *own)
        self._small = _shrunk(wanted.reference)
        self._outside = self._outside_of(own)

    def add(self, frames: np.ndarray) -> None:
        """Go on with frames uint8 (n, h, w, 3) RGB.

        Raises:
            InputError: they are of another size than the reference, or more than there are driving poses.
        """
        wanted, first = self._wanted, self._num_frames
        if frames.shape[1:] != wanted.reference.shape:
            raise InputError(
                f"the film has {Size.of(frames[0])} pixels and its reference {Size.of(wanted.reference)}; "
                "bring the reference to the size of the film first"
            )
        self._num_frames += len(frames)
        if self._num_frames > len(wanted.driving[0]):
            raise InputError(
                f"the film has more frames than the {len(wanted.driving[0])} poses that drove it"
            )
        at = slice(first, self._num_frames)
        driving = wanted.driving[0][at], wanted.driving[1][at]
        shown = driving
        if self._finder is not None:
            found = self._finder.find(frames)
            self._found.append(found)
            self._keep(self._driving.values(first, found), frames)
            sure = np.asarray((found[1] > self._tools.keypoint_threshold).any(axis=1))
            shown = (
                np.where(sure[:, None, None], found[0], driving[0]),
                np.where(sure[:, None], found[1], driving[1]),
            )
        for frame, points, confidences in zip(frames, *shown, strict=True):
            self._add_frame(frame, (points, confidences))

    def verdict(self, film_id: str = "film", method: str = MODEL) -> Verdict:
        """What is said of the whole film.

        Raises:
            InputError: it has no frame, or fewer than there are driving poses.
        """
        num_poses = len(self._wanted.driving[0])
        if self._num_frames != num_poses or not num_poses:
            raise InputError(
                f"{film_id} has {self._num_frames} frames, and {num_poses} poses drove it; both need the "
                "same number, at least 1"
            )
        per_frame = {metric: np.array(values, np.float64) for metric, values in self._values.items()}
        means = {
            metric: (float(np.nanmean(values)), int(np.isfinite(values).sum()))
            for metric, values in per_frame.items()
            if np.isfinite(values).any()
        }
        curves = {
            "judge_colour_drift": change_curve(np.array(self._colours)),
            "judge_appearance_drift": change_curve(_stacked(self._looks)),
        }
        for metric, curve in curves.items():
            if (slope := drift_slope(curve, self._num_frames)) is not None:
                means[metric] = slope, self._num_frames
        borders = self._wanted.borders
        if (
            not isinstance(borders, str)
            and (joins := join_ratio(np.array(self._changes), borders)) is not None
        ):
            means["judge_joins"] = joins, len(borders)
        if self._found:
            jerk, count = self._driving.jerk(joined(self._found))
            if count:
                means["judge_jerk"] = jerk, count
        scores = tuple(self._scores(film_id, method, means))
        shown = {metric: curve for metric, curve in curves.items() if curve}
        return Verdict(scores, shown, per_frame, tuple(self._worst.values()))

    def _scores(
        self, film_id: str, method: str, means: Mapping[str, tuple[float, int]]
    ) -> Iterator[Measured]:
        tools, wanted = self._tools, self._wanted
        absent = dict(LACKING)
        if isinstance(wanted.borders, str):
            absent["judge_joins"] = wanted.borders
        elif wanted.borders:
            absent["judge_joins"] = "nothing changes beside the borders of tiles"
        if wanted.background is not None:
            absent |= dict.fromkeys(("judge_background", "judge_flicker"), wanted.background)
        absent |= tools.absent
        for metric in (name for name in METRICS if name.startswith(JUDGE)):
            value, count = means.get(metric, (None, 0))
            note = absent[metric] if value is None else None
            yield Measured(film_id, method, metric, value, count, tools.hashes.get(metric), note)

    def _add_frame(self, frame: np.ndarray, pose: Pose) -> None:
        look = self._tools.look(frame, *pose)
        values = {metric: likeness(metric, look, self._reference) for metric in _LOOKED_AT}
        self._looks.append(look.get("judge_appearance"))
        small, outside = _shrunk(frame), self._outside_of(pose)
        values |= {"judge_background": np.nan, "judge_flicker": np.nan}
        if self._wanted.background is None:
            values["judge_background"] = _change(self._small, small, self._outside & outside)
        if self._before is not None:
            before, was_outside = self._before
            self._changes.append(float(cv2.absdiff(before, small).mean()))
            if self._wanted.background is None:
                values["judge_flicker"] = _change(before, small, was_outside & outside)
        self._before = small, outside
        self._colours.append(colour_statistics(small))
        self._keep({metric: np.array([value]) for metric, value in values.items()}, frame[None])

    def _outside_of(self, pose: Pose) -> np.ndarray:
        """Where the person is not, bool (h, w) at the working size."""
        size = Size.of(self._small)
        scale = size.height_px / len(self._wanted.reference)
        return ~person_mask(pose[0] * scale, pose[1], self._tools.keypoint_threshold, size)

    def _keep(self, values: Mapping[str, np.ndarray], frames: np.ndarray) -> None:
        """Hold per-frame values, and the picture of the worst frame of some."""
        for metric, series in values.items():
            held = self._values.setdefault(metric, [])
            if metric in _WORST and np.isfinite(series).any():
                sign = -1.0 if METRICS[metric].higher_is_better else 1.0
                place = int(np.nanargmax(sign * series))
                worst, value = self._worst.get(metric), float(series[place])
                if worst is None or sign * value > sign * worst.value:
                    self._worst[metric] = Moment(metric, len(held) + place, value, frames[place].copy())
            held.extend(series.tolist())


def _shrunk(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    scale = _WORKING_SIDE_PX / min(height, width)
    if scale >= 1:
        return frame
    size = round(width * scale), round(height * scale)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))


def _stacked(vectors: Sequence[np.ndarray | None]) -> np.ndarray:
    """Vectors as rows (n, d), nan where there is none."""
    width = next((len(vector) for vector in vectors if vector is not None), 1)
    return np.stack([np.full(width, np.nan) if vector is None else vector for vector in vectors])


def _change(before: np.ndarray, after: np.ndarray, where: np.ndarray) -> float:
    """Mean absolute difference in levels where a mask is true; nan where that is next to nowhere."""
    if where.mean() < _MIN_OUTSIDE:
        return np.nan
    return float(cv2.absdiff(before, after)[where].mean())

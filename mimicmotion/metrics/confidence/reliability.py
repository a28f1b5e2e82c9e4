"""How far confidences can be trusted: points beside their true places, and how often they are right.

A point is right where it lies within r of the truth. Like the similarity of COCO's key-point evaluation
(OKS), r grows with the person and differs from point to point: at r the similarity is one half, so
``r = sigma * sqrt(area) * sqrt(8 ln 2)``.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from mimicmotion.errors import InputError
from mimicmotion.pose.calibration import PARTS, Calibration, Curve
from mimicmotion.pose.layout import MIRRORED, NUM_KEYPOINTS
from mimicmotion.pose.models.estimator import PoseEstimator
from mimicmotion.pose.people import Person
from mimicmotion.pose.tracks import overlap

log = logging.getLogger(__name__)

# Standard deviations of annotators, of COCO-WholeBody: body, feet, face, each hand.
_BODY: Final = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)
_FEET: Final = (68, 66, 66, 92, 94, 94)
_FACE: Final = (
    42, 43, 44, 43, 40, 35, 31, 25, 20, 23, 29, 32, 37, 38, 43, 41, 45,
    13, 12, 11, 11, 12, 12, 11, 11, 13, 15, 9, 7, 7, 7, 12, 9, 8,
    16, 10, 17, 11, 9, 11, 9, 7, 13, 8, 11, 12, 10, 34, 8, 8, 9,
    8, 8, 7, 10, 8, 9, 9, 9, 7, 7, 8, 11, 8, 8, 8, 10, 8,
)  # fmt: skip
_HAND: Final = (29, 22, 35, 37, 47, 26, 25, 24, 35, 18, 24, 22, 26, 17, 21, 21, 32, 20, 19, 22, 31)
SIGMAS: Final = np.array((*_BODY, *_FEET, *_FACE, *_HAND, *_HAND)) / 1000
BODY_SHARE_OF_BOX: Final = 0.53
"""Area of a person in the area of the box around the keypoints, where an annotation does not give it."""
_NUM_BINS: Final = 15
_SAME_PERSON: Final = 0.3
"""Least overlap of two boxes of one person: those of keypoints are tighter than those of detectors."""
_COPIES: Final = ((True, 1.0, 0.0), (False, 0.85, 0.0), (False, 1.0, 0.03), (True, 1.1, -0.02))
"""Mirrored or not, scale, and shift in shares of the height, of the copies of a frame."""
_FEWEST_COPIES: Final = 3
_FEWEST_POINTS, _FEW_POINTS = 10, 500


@dataclass(frozen=True)
class TruePicture:
    """A picture whose people are known.

    Attributes:
        picture: RGB.
        keypoints: of each person, in pixels.
        known: which of them are annotated.
        areas: of each person, in square pixels.
    """

    picture: UInt8[np.ndarray, "h w 3"]
    keypoints: Float[np.ndarray, "people 133 2"]
    known: Bool[np.ndarray, "people 133"]
    areas: Float[np.ndarray, " people"]


@dataclass(frozen=True)
class Points:
    """Points beside their truth: raw confidence and whether each is right, one row per person found.

    Attributes:
        raw: confidences; nan where the truth is not known.
        right: 1 where it lies within r of the truth.
    """

    raw: Float32[np.ndarray, "people 133"]
    right: Float32[np.ndarray, "people 133"]

    def of(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Return raw confidences and rightness of the known points of a part."""
        raw, right = self.raw[:, PARTS[part]], self.right[:, PARTS[part]]
        known = np.isfinite(raw)
        return raw[known], right[known]


@dataclass(frozen=True)
class Reliability:
    """How well confidences of a part say how often points are right.

    Attributes:
        part: of the body, or ``all``.
        num_points: points that were looked at.
        error_before, error_after: expected calibration error, raw (cut to [0, 1]) and calibrated; nan
            where there is no point.
        before, after: (mean confidence, share right, number) of each bin that holds a point.
    """

    part: str
    num_points: int
    error_before: float
    error_after: float
    before: Sequence[tuple[float, float, int]]
    after: Sequence[tuple[float, float, int]]


def judge_pictures(estimator: PoseEstimator, pictures: Iterable[TruePicture]) -> Points:
    """Find people in pictures and hold their points against the truth.

    People who were not found, or whom nobody annotated, say nothing.

    Raises:
        InputError: nobody who is known was found.
    """
    raw, right = [], []
    for one in pictures:
        (found,) = estimator.people([one.picture[None]])
        for person, match in _matched(found, one):
            known, distance = (
                one.known[match],
                np.linalg.norm(person.keypoints - one.keypoints[match], axis=-1),
            )
            raw.append(np.where(known, person.confidences, np.nan))
            right.append(distance <= radii(one.areas[match]))
    if not raw:
        raise InputError("none of the people whose keypoints are known was found: choose other pictures")
    return Points(np.stack(raw).astype(np.float32), np.stack(right).astype(np.float32))


def judge_agreement(estimator: PoseEstimator, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Points:
    """Hold each frame's points against the middle of what is found in mirrored, shifted and scaled copies.

    No truth is needed; what a model gets wrong in the same way every time counts as right.

    Raises:
        InputError: nobody was found.
    """
    return judge_pictures(estimator, _agreed(estimator, frames))


def radii(area: float) -> Float[np.ndarray, " 133"]:
    """Return r of each point, in pixels, of a person of this area in square pixels."""
    return SIGMAS * math.sqrt(max(area, 0.0)) * math.sqrt(8 * math.log(2))


def fit(points: Points, wholebody_sha256: str, made_from: Mapping[str, object]) -> Calibration:
    """Return the calibration of these points.

    Raises:
        InputError: a part has too few.
    """
    curves = {}
    for part in PARTS:
        raw, right = points.of(part)
        if len(raw) < _FEWEST_POINTS:
            raise InputError(
                f"{len(raw)} points of the {part} have a known place, at least {_FEWEST_POINTS} are needed "
                "for a curve: give more pictures, or let the models be judged on the built-in toy world"
            )
        if len(raw) < _FEW_POINTS:
            log.warning("the curve of the %s rests on %d points only: give more pictures", part, len(raw))
        curves[part] = Curve.fitted(raw, right)
    return Calibration(wholebody_sha256, curves, made_from)


def reliability(points: Points, calibration: Calibration) -> list[Reliability]:
    """Return how reliable confidences are before and after, by part and together."""
    after = calibration.probabilities(np.nan_to_num(points.raw))
    known = np.isfinite(points.raw)
    rows = []
    for part, chosen in {**PARTS, "all": slice(0, NUM_KEYPOINTS)}.items():
        seen = known[:, chosen]
        right = points.right[:, chosen][seen]
        bins = [
            _bins(values[:, chosen][seen].clip(0, 1).astype(np.float64), right)
            for values in (points.raw, after)
        ]
        first, last = bins
        errors = _expected_error(first), _expected_error(last)
        rows.append(Reliability(part, len(right), *errors, first, last))
    return rows


def _bins(confidence: np.ndarray, right: np.ndarray) -> list[tuple[float, float, int]]:
    places = np.minimum((confidence * _NUM_BINS).astype(int), _NUM_BINS - 1)
    groups = [places == place for place in range(_NUM_BINS)]
    return [
        (float(confidence[group].mean()), float(right[group].mean()), int(group.sum()))
        for group in groups
        if group.any()
    ]


def _expected_error(bins: Sequence[tuple[float, float, int]]) -> float:
    total = sum(number for _, _, number in bins)
    wrong = sum(number * abs(confidence - share) for confidence, share, number in bins)
    return wrong / total if total else math.nan


def _matched(found: Sequence[Person], true: TruePicture) -> Iterator[tuple[Person, int]]:
    """Yield each person found with the known one whose box overlaps theirs most, best pairs first."""
    corner = np.array(true.picture.shape[1::-1])
    boxes = [
        _box(points[known].clip(0, corner)) for points, known in zip(true.keypoints, true.known, strict=True)
    ]
    shared = np.array([[overlap(person.box, box) for box in boxes] for person in found])
    while shared.size and shared.max() >= _SAME_PERSON:
        person, match = (int(place) for place in np.unravel_index(shared.argmax(), shared.shape))
        yield found[person], match
        shared[person], shared[:, match] = 0, 0


def _box(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "4"]:
    return np.concatenate([points.min(axis=0), points.max(axis=0)]) if len(points) else np.zeros(4)


def _agreed(estimator: PoseEstimator, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[TruePicture]:
    """Yield each frame with the middle of what its copies show as the truth."""
    for frame in frames:
        (people,) = estimator.people([frame[None]])
        copies = [_seen_in_copy(estimator, frame, *copy) for copy in _COPIES]
        truths, areas = [], []
        for person in people:
            same = [
                max(one, key=lambda other: overlap(person.box, other.box), default=None) for one in copies
            ]
            points = [
                one.keypoints
                for one in same
                if one is not None and overlap(person.box, one.box) >= _SAME_PERSON
            ]
            if len(points) >= _FEWEST_COPIES:
                truths.append(np.median(points, axis=0))
                areas.append(person.area * BODY_SHARE_OF_BOX)
        if truths:
            keypoints = np.stack(truths)
            yield TruePicture(frame, keypoints, np.ones(keypoints.shape[:2], bool), np.array(areas))


def _seen_in_copy(
    estimator: PoseEstimator, frame: UInt8[np.ndarray, "h w 3"], mirrored: bool, scale: float, shift: float
) -> list[Person]:
    """Return the people of a copy of a frame, in pixels of the frame itself.

    Args:
        estimator: finds them.
        frame: the frame.
        mirrored: left and right change places.
        scale: of the copy, about its middle.
        shift: of the copy, in shares of its height.
    """
    height, width = frame.shape[:2]
    middle = np.array([width, height]) / 2
    matrix = np.diag([-scale if mirrored else scale, scale])
    move = middle - matrix @ middle + shift * height
    copy = cv2.warpAffine(
        frame, np.column_stack([matrix, move]), (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    (people,) = estimator.people([copy[None]])
    back = np.linalg.inv(matrix)
    found = []
    for person in people:
        corners = (person.box.reshape(2, 2) - move) @ back
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
        keypoints = ((person.keypoints - move) @ back).astype(np.float32)
        order = [*MIRRORED] if mirrored else slice(None)
        found.append(
            replace(person, box=box, keypoints=keypoints[order], confidences=person.confidences[order])
        )
    return found

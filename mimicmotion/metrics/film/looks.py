"""What the person in one picture looks like: vectors of face and appearance, sharpness of face and hands."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from mimicmotion.metrics.film.appearance import PictureEmbedding
from mimicmotion.metrics.hand_crops import crop_bounds
from mimicmotion.metrics.identity import FaceModel, face_vector
from mimicmotion.pose.hands import hand_boxes, hand_confidences
from mimicmotion.pose.layout import FACE, LIMBS, to_openpose
from mimicmotion.pose.models.estimator import PoseEstimator
from mimicmotion.video.size import Size

_GIRTH = 0.1
_MARGIN = 0.15
"""The box of keypoints grows by this fraction of its longer side: hair, clothes and shoes lie outside."""
_CROP_PX = 64
Look = Mapping[str, np.ndarray]
"""What was seen of a person, by the score that it serves."""


@dataclass(frozen=True)
class FilmTools:
    """What looks at films; scores of what is None are absent.

    Attributes:
        estimator: finds poses again.
        face: embedding of faces.
        appearance: embedding of the whole person.
        keypoint_threshold: points of more confidence count.
        hand_threshold: hands whose smallest confidence exceeds this count.
        absent: score -> why it is absent.
        hashes: score -> sha256 of the files behind it.
    """

    estimator: PoseEstimator | None = None
    face: FaceModel | None = None
    appearance: PictureEmbedding | None = None
    keypoint_threshold: float = 0.3
    hand_threshold: float = 0.3
    absent: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)

    def look(self, picture: np.ndarray, points: np.ndarray, sure: np.ndarray) -> Look:
        """What can be seen of a person in a picture.

        Args:
            picture: uint8 (h, w, 3).
            points: keypoints (133, 2) in its pixels.
            sure: their confidences (133,).
        """
        size, threshold = Size.of(picture), self.keypoint_threshold
        seen: dict[str, np.ndarray] = {}
        if self.face is not None:
            vector = face_vector(picture, points, sure, self.face, threshold)
            if vector is not None:
                seen["judge_identity"] = vector
        box = person_bounds(points, sure, threshold, size)
        if self.appearance is not None and box is not None:
            top, bottom, left, right = box
            seen["judge_appearance"] = self.appearance.vector(picture[top:bottom, left:right])
        face = points[FACE][sure[FACE] > threshold]
        has_face = 2 * len(face) > len(sure[FACE])
        faces = [np.concatenate([face.min(axis=0), face.max(axis=0)])] if has_face else []
        hands = hand_boxes(points, sure)[hand_confidences(sure) > self.hand_threshold]
        for metric, boxes in (("judge_sharp_face", faces), ("judge_sharp_hands", hands)):
            bounds = [crop_bounds(one, size) for one in boxes]
            if found := [_sharpness(picture[a:b, c:d]) for a, b, c, d in filter(None, bounds)]:
                seen[metric] = np.array(np.mean(found))
        return seen


def likeness(metric: str, one: Look, other: Look) -> float:
    """How alike two looks are by one score, 1 at best; nan where either is not known."""
    if metric not in one or metric not in other:
        return np.nan
    a, b = one[metric], other[metric]
    # Of sharpness, softer and noisier are both worse.
    return float(a @ b) if a.ndim else float(min(a, b) / max(a, b, 1e-9))


def person_bounds(
    points: np.ndarray, confidences: np.ndarray, threshold: float, size: Size
) -> tuple[int, int, int, int] | None:
    """Whole-pixel (top, bottom, left, right) around a person; None where too little is seen.

    Args:
        points: (133, 2) pixels.
        confidences: (133,).
        threshold: points of more confidence count.
        size: of the picture.
    """
    seen = points[confidences > threshold]
    if len(seen) < 2:
        return None
    low, high = seen.min(axis=0), seen.max(axis=0)
    margin = _MARGIN * (high - low).max()
    left, top = np.maximum(np.floor(low - margin), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + margin), size).astype(int)
    return (int(top), int(bottom), int(left), int(right)) if top < bottom and left < right else None


def person_mask(points: np.ndarray, confidences: np.ndarray, threshold: float, size: Size) -> np.ndarray:
    """Where a person may be, bool (h, w): within ``_GIRTH`` of the height around limbs and points.

    Args:
        points: (133, 2) pixels.
        confidences: (133,).
        threshold: points of more confidence count.
        size: of the picture.
    """
    mask = np.zeros(size.shape, np.uint8)
    points, confidences = to_openpose(points, confidences, threshold)
    seen = confidences > threshold
    if seen.sum() < 2:
        return mask > 0
    radius = max(round(_GIRTH * float(np.ptp(points[seen], axis=0).max())), 1)
    places = np.clip(points, -1e4, 1e4).round().astype(int).tolist()
    for a, b in LIMBS:
        if seen[a] and seen[b]:
            cv2.line(mask, places[a], places[b], 1, 2 * radius)
    for place in np.flatnonzero(seen):
        cv2.circle(mask, places[place], radius, 1, cv2.FILLED)
    return mask > 0


def _sharpness(crop: np.ndarray) -> float:
    """Spread of the Laplacian of a crop brought to one size."""
    small = cv2.resize(crop, (_CROP_PX, _CROP_PX), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.CV_32F).std())

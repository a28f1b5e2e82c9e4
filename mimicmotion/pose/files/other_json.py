"""Frames of pose JSON in other forms than OpenPose's and MMPose's, brought to MMPose's.

* AlphaPose, its default form: one list of people, each with ``image_id`` and ``keypoints``
  (x, y, confidence): 17, 26, 68, 133 or 136 points (COCO, Halpe or COCO-WholeBody); and results of
  COCO-WholeBody, with ``foot_kpts``, ``face_kpts``, ``lefthand_kpts`` and ``righthand_kpts`` beside 17.
* AlphaPose, ``--format cmu`` or ``open``: ``{image: {"bodies" or "people": [...]}}``, 18 points.
* DWPose's dictionaries, as One-to-All and HumanVid hold them in memory and in ``.npy``: ``bodies`` (with
  ``candidate``, ``subset``, ``score``), ``hands`` and ``faces`` in shares of the picture, -1 where a point
  was not found; or One-to-All's raw form, ``candidate`` and ``score`` of 134 points in pixels.

Read in AlphaPose (doc/output.md, Halpe-FullBody's README), HumanVid 28ff734 and One-to-All c6014ff.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from mimicmotion.pose.layout import (
    FACE,
    FEET,
    LEFT_HAND,
    NUM_KEYPOINTS,
    NUM_OPENPOSE_KEYPOINTS,
    OPENPOSE_BODY,
    OPENPOSE_FACE,
    OPENPOSE_FEET,
    OPENPOSE_LEFT_HAND,
    OPENPOSE_RIGHT_HAND,
    RIGHT_HAND,
    WHOLEBODY_FIELDS,
    from_openpose,
)

_HALPE_BODY: Final = {part: part for part in range(17)}
# Halpe counts big toes, small toes, heels, left before right each; COCO-WholeBody foot by foot.
_HALPE_FEET: Final = dict(zip(range(FEET.start, FEET.stop), (20, 22, 24, 21, 23, 25), strict=True))


def _halpe(face: int | None, hands: int | None) -> dict[int, int]:
    """Our point -> Halpe's, where its face and its left hand begin at these points."""
    chosen = {**_HALPE_BODY, **_HALPE_FEET}
    if face is not None:
        chosen |= {point: point - FACE.start + face for point in range(FACE.start, FACE.stop)}
    if hands is not None:
        chosen |= {
            point: point - LEFT_HAND.start + hands for point in range(LEFT_HAND.start, RIGHT_HAND.stop)
        }
    return chosen


_ALPHAPOSE: Final = {
    17: _HALPE_BODY,
    26: _halpe(None, None),
    68: _halpe(None, 26),
    133: {point: point for point in range(NUM_KEYPOINTS)},
    136: _halpe(26, 94),
}


def as_known(document: Any) -> Any:
    """The document in MMPose's form where it is of one of these; else as it is.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is of one of these forms, but damaged.
    """
    match document:
        case {"image_id": _} | [{"image_id": _}, *_]:
            return _alphapose(document if isinstance(document, list) else [document])
        case [{"bodies": {}}, *_] | [{"candidate": _, "score": _}, *_]:
            return [_dwpose(frame) for frame in document]
        case {} if document and all(_has_people(frame) for frame in document.values()):
            return [_of_image(name, frame) for name, frame in document.items()]
    return document


def _has_people(frame: Any) -> bool:
    return isinstance(frame, Mapping) and isinstance(frame.get("bodies", frame.get("people")), list)


def _of_image(name: str, frame: Mapping[str, Any]) -> dict[str, Any]:
    if "people" in frame:
        return {"image_id": name, "people": frame["people"]}
    people = [{"pose_keypoints_2d": body["joints"]} for body in frame["bodies"]]
    return {"image_id": name, "people": people}


def _alphapose(people: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    frames: dict[Any, list[dict[str, Any]]] = {}
    for person in people:
        points = _triples(person)
        if len(points) not in _ALPHAPOSE:
            known = ", ".join(str(count) for count in _ALPHAPOSE)
            raise ValueError(f"AlphaPose's people have {known} points, got {len(points)}")
        chosen = _ALPHAPOSE[len(points)]
        ours = np.zeros((NUM_KEYPOINTS, 3))
        ours[list(chosen)] = points[list(chosen.values())]
        frames.setdefault(person["image_id"], []).append(_instance(ours[:, :2], ours[:, 2]))
    return [{"image_id": name, "instances": found} for name, found in frames.items()]


def _triples(person: Mapping[str, Any]) -> np.ndarray:
    """All points (n, 3): in one list, or in the five of COCO-WholeBody, of which none may be missing."""
    if not WHOLEBODY_FIELDS.keys() & person.keys() - {"keypoints"}:
        return np.array(person["keypoints"], dtype=np.float64).reshape(-1, 3)
    parts = [np.array(person[name], np.float64).reshape(n, 3) for name, n in WHOLEBODY_FIELDS.items()]
    return np.concatenate(parts)


def _dwpose(frame: Mapping[str, Any]) -> dict[str, Any]:
    if "bodies" not in frame:
        points, scores = _array(frame["candidate"], (-1, NUM_OPENPOSE_KEYPOINTS, 2)), frame["score"]
        return _instances(points, _array(scores, points.shape[:2]))
    bodies = frame["bodies"]
    body = _array(bodies["candidate"], (-1, OPENPOSE_BODY.stop, 2))
    people = len(body)
    if not people:
        return {"instances": []}
    points = np.full((people, NUM_OPENPOSE_KEYPOINTS, 2), -1.0)
    scores = np.zeros((people, NUM_OPENPOSE_KEYPOINTS))
    parts = [
        (OPENPOSE_BODY, body, bodies.get("score")),
        (OPENPOSE_FEET, frame.get("foots"), None),
        (OPENPOSE_FACE, frame.get("faces"), frame.get("faces_score")),
    ]
    if frame.get("hands") is not None:  # all left ones, then all right ones
        hands = _array(frame["hands"], (2, people, -1, 2))
        sure = frame.get("hands_score")
        sure = [None, None] if sure is None else _array(sure, (2, people, -1))
        parts += [(OPENPOSE_LEFT_HAND, hands[0], sure[0]), (OPENPOSE_RIGHT_HAND, hands[1], sure[1])]
    for part, given, scored in parts:
        if given is None:
            continue
        points[:, part] = _array(given, (people, -1, 2))
        found = (points[:, part] >= 0).all(axis=-1)
        scores[:, part] = found if scored is None else found * _array(scored, (people, -1))
    if "score" not in bodies and "subset" in bodies:
        scores[:, OPENPOSE_BODY] *= _array(bodies["subset"], (people, -1))[:, : OPENPOSE_BODY.stop] >= 0
    return _instances(points, scores)


def _array(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(values, dtype=np.float64).reshape(shape)


def _instances(points: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    ours, sure = from_openpose(points), from_openpose(scores[..., None])[..., 0]
    return {"instances": [_instance(*person) for person in zip(ours, sure, strict=True)]}


def _instance(keypoints: np.ndarray, confidences: np.ndarray) -> dict[str, Any]:
    return {"keypoints": keypoints, "keypoint_scores": confidences}

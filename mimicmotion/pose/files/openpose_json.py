"""Poses in JSON as common tools write them, turned into COCO-WholeBody with relative coordinates.

* OpenPose: a folder, one ``*_keypoints.json`` per frame, each ``{"people": [...]}``, 18 or 25 body points.
* DWPose of ComfyUI and ControlNet: one file, a list of such frames, with ``canvas_width``, ``canvas_height``.
* MMPose: one file, ``{"instance_info": [{"instances": [...]}]}``, 133 keypoints.
* AlphaPose, and DWPose's dictionaries as One-to-All and HumanVid use them: see ``other_json``.

The number in a file's name, a frame's ``frame_id``, or the number in its ``image_id`` says which frame it is;
without it frames are counted.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.names import is_hidden
from mimicmotion.pose.files.other_json import as_known
from mimicmotion.pose.layout import BODY, FACE, FEET, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND
from mimicmotion.pose.people import Person
from mimicmotion.video.size import Size

# COCO body point i is point _BODY[n][i] of OpenPose's n body points; feet likewise.
_BODY: Final = {
    18: (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10),
    25: (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11),
}
_FEET_OF_25: Final = (19, 20, 21, 22, 23, 24)
_PARTS: Final = (
    ("face_keypoints_2d", FACE),
    ("hand_left_keypoints_2d", LEFT_HAND),
    ("hand_right_keypoints_2d", RIGHT_HAND),
)
KEYPOINTS_SUFFIX: Final = "_keypoints.json"
_NUMBER: Final = re.compile(r"(.*?)([0-9]{1,18})([^0-9]*)", re.DOTALL)
_FRAME_NAMES: Final = ("frame_id", "frame_idx", "frame_index", "frame")
_MAX_SKEW: Final = 1.2
"""Tools resize to multiples of 64; a canvas of another aspect than this allows is of another video."""
_MARGIN, _MOST_OUTSIDE = 0.1, 0.2
"""Of the picture, beyond which a point lies outside; and the share of points that may, by confidence."""
_MAX_RELATIVE: Final = 2.0
_TOLD_POINTS: Final = 3
"""What most shares of a picture stay below; fewer points than this tell no frame from the others."""
LARGEST: Final = 1e6
"""No picture has that many pixels, and no video that many seconds: larger numbers are damage."""


_Found = list[tuple[np.ndarray, np.ndarray]]
"""Coordinates and confidences of people."""


@dataclass(frozen=True)
class StatedFrames:
    """The people of each frame that files speak of, coordinates relative to width and height.

    Attributes:
        people: by the number of the frame.
        numbered: whether files state the numbers; else the frames were counted from 0.
    """

    people: dict[int, list[Person]]
    numbered: bool


def read_json(path: Path, size: Size) -> StatedFrames:
    """Return the people of each frame.

    Args:
        path: a JSON file, or a folder of OpenPose's files, one per frame.
        size: of the video, for files that count in pixels and do not say of what.

    Raises:
        InputError: the JSON is of none of the known forms, frames have no number or one twice, or the canvas
            has another shape than the video.
    """
    if path.is_dir():
        files = keypoint_files(path)
        numbers, frames = _numbers_of(files), [_load(file) for file in files]
    else:
        frames = _frames(_load(path), path)
        numbers = [_stated(frame) for frame in frames]
    known = [number for number in numbers if number is not None]
    if known and len(known) < len(numbers):
        raise InputError(
            f"{path}: {len(known)} of {len(numbers)} frames have a number; either all or none may"
        )
    twice = [number for number, count in Counter(known).items() if count > 1]
    if twice:
        raise InputError(f"{path} has frame {twice[0]} {known.count(twice[0])} times; each may be there once")
    read = [_people(frame, size, path) for frame in frames]
    shares = _are_shares([found for found, _ in read], path)
    if not shares:
        _check_inside(read, path)
    people = [
        [_person(points / (1.0 if shares else canvas), sure) for points, sure in found if sure.any()]
        for found, canvas in read
    ]
    return StatedFrames(dict(zip(known or range(len(people)), people, strict=True)), bool(known))


def keypoint_files(folder: Path) -> list[Path]:
    """OpenPose's files in a folder, hidden ones left out."""
    found = (path for path in folder.iterdir() if path.name.lower().endswith(KEYPOINTS_SUFFIX))
    return sorted(path for path in found if not is_hidden(PurePath(path.name)))


def _numbers_of(files: Sequence[Path]) -> list[int | None]:
    """The last number in each name, which counts frames; a single file needs none."""
    stems = [file.name[: -len(KEYPOINTS_SUFFIX)] for file in files]
    parts = [_NUMBER.fullmatch(stem) for stem in stems]
    if len(files) > 1:
        without = [file.name for file, part in zip(files, parts, strict=True) if part is None]
        if without:
            raise InputError(f"{files[0].parent}: {without[0]} has no number that says which frame it is")
        videos = sorted({f"{part[1]}#{part[3]}" for part in parts if part})
        if len(videos) > 1:
            raise InputError(
                f"{files[0].parent} holds files of several videos ({', '.join(videos[:3])}): give each its "
                "own folder"
            )
    return [int(part[2]) if part else None for part in parts]


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(
            f"{path} is no JSON file that can be read: {type(error).__name__}: {error}"
        ) from error


def _frames(document: Any, path: Path) -> list[Any]:
    with _known_form(path):
        document = as_known(document)
    if isinstance(document, dict) and "instance_info" in document:
        document = document["instance_info"]
    elif isinstance(document, dict) and "people" in document:
        return [document]
    if isinstance(document, list):
        return document
    raise InputError(
        f"{path} must be a list of frames with people (DWPose, OpenPose), have instance_info (MMPose) or "
        "image_id (AlphaPose), or be a list of DWPose's dictionaries (bodies, hands, faces)"
    )


def _stated(frame: Any) -> int | None:
    """The frame's number, as whichever tool calls it."""
    for name in _FRAME_NAMES:
        number = frame.get(name) if isinstance(frame, dict) else None
        if isinstance(number, int) and number >= 0:
            return number
        if number is not None:
            raise InputError(f"{name} must be a whole number from 0 on, not {str(number)[:40]!r}")
    image = str(frame["image_id"]) if isinstance(frame, dict) and "image_id" in frame else None
    if image is None:
        return None
    found = _NUMBER.fullmatch(PurePath(image).stem)
    if found is None:
        raise InputError(f"image_id {image[:40]!r} has no number that says which frame it is")
    return int(found[2])


def _people(frame: Any, size: Size, path: Path) -> tuple[_Found, np.ndarray]:
    """The people of a frame as they are written, and the sides of its canvas."""
    with _known_form(path):
        if "instances" in frame:
            found = [_checked(*_mmpose_person(person)) for person in frame["instances"]]
        else:
            found = [_checked(*_openpose_person(person)) for person in frame["people"]]
        stated = (frame.get("canvas_width", size.width_px), frame.get("canvas_height", size.height_px))
        width, height = map(float, stated)
        if not all(1 <= side <= LARGEST for side in (width, height)):
            raise ValueError(f"the canvas is {width:g} by {height:g} pixels")
        if max(skew := height / width * size.width_px / size.height_px, 1 / skew) > _MAX_SKEW:
            raise ValueError(
                f"its canvas of {width:g} x {height:g} has another shape than the video of "
                f"{size.width_px} x {size.height_px} pixels"
            )
    return found, np.array([width, height])


def _are_shares(frames: Sequence[_Found], path: Path) -> bool:
    """Whether a file counts in shares of the picture, else in pixels: most points tell, not the farthest.

    Raises:
        InputError: some frames count in the one and some in the other.
    """
    sure = [np.array([point for points, sure in found for point in points[sure > 0]]) for found in frames]
    seen = [points for points in sure if len(points)]
    shares = np.array([np.median(np.abs(points)) <= _MAX_RELATIVE for points in seen])
    told = shares[[len(points) >= _TOLD_POINTS for points in seen]]
    if told.any() and not told.all():
        raise InputError(
            f"{path}: {told.sum()} of {len(told)} frames count in shares of the picture (0 to 1) and the "
            "others in pixels: write all frames in one of the two"
        )
    are_shares = bool(shares.mean() >= 0.5) if len(shares) else True
    if seen and are_shares and (np.concatenate(seen) < -_MARGIN).mean() > _MOST_OUTSIDE:
        raise InputError(
            f"{path} seems to count from -1 to 1 (OpenPose's --keypoint_scale 4), and shares of the picture "
            "are read from 0 to 1: write it with --keypoint_scale 3"
        )
    return are_shares


def _check_inside(read: Sequence[tuple[_Found, np.ndarray]], path: Path) -> None:
    """Refuse points in pixels of which many lie outside the picture: they are those of another size."""
    if not any(found for found, _ in read):
        return
    points = np.concatenate([some / canvas for found, canvas in read for some, _ in found])
    weights = np.concatenate([sure for found, _ in read for _, sure in found])
    beyond = np.maximum(points - 1, -points).max(axis=1)
    outside = weights * (beyond > _MARGIN)
    if outside.sum() <= _MOST_OUTSIDE * weights.sum():
        return
    canvas = read[0][1]
    x, y = points[np.argmax(np.where(weights > 0, beyond, -np.inf))] * canvas
    raise InputError(
        f"{path}: {outside.sum() / weights.sum():.0%} of its points lie outside the picture of "
        f"{canvas[0]:g} x {canvas[1]:g} pixels, one at {x:.0f}, {y:.0f}: they were found in a picture "
        "of another size. Find them in this one, or write shares of the picture"
    )


@contextmanager
def _known_form(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: a frame is of no known form ({type(error).__name__}: {error})") from error


def _checked(keypoints: np.ndarray, confidences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if confidences.shape != (NUM_KEYPOINTS,):
        raise ValueError(f"{NUM_KEYPOINTS} confidences are needed, got {confidences.shape}")
    if not (np.abs(keypoints) <= LARGEST).all() or not ((confidences >= 0) & (confidences <= LARGEST)).all():
        raise ValueError("keypoints and confidences must be finite numbers, and no confidence negative")
    return keypoints, confidences


def _mmpose_person(person: Any) -> tuple[np.ndarray, np.ndarray]:
    keypoints = np.array(person["keypoints"], dtype=np.float64)
    if keypoints.shape != (NUM_KEYPOINTS, 2):
        raise ValueError(f"{NUM_KEYPOINTS} keypoints are needed, got {keypoints.shape}")
    return keypoints, np.array(person["keypoint_scores"], dtype=np.float64)


def _openpose_person(person: Any) -> tuple[np.ndarray, np.ndarray]:
    points = np.zeros((NUM_KEYPOINTS, 3))
    body = _triples(person["pose_keypoints_2d"])
    if len(body) not in _BODY:
        raise ValueError(f"18 or 25 body points are needed, got {len(body)}")
    points[BODY] = body[list(_BODY[len(body)])]
    if len(body) == 25:
        points[FEET] = body[list(_FEET_OF_25)]
    elif len(feet := _triples(person.get("foot_keypoints_2d") or [])) == FEET.stop - FEET.start:
        points[FEET] = feet  # DWPose writes them beside its 18 points, in COCO-WholeBody's order
    for name, part in _PARTS:
        given = _triples(person.get(name) or [])[
            : part.stop - part.start
        ]  # OpenPose's face has two pupils more
        points[part.start : part.start + len(given)] = given
    return points[:, :2], points[:, 2]


def _triples(values: Sequence[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64).reshape(-1, 3)


def _person(keypoints: np.ndarray, confidences: np.ndarray) -> Person:
    """Return the person with a box around its points, and their mean confidence as its score."""
    seen = confidences > 0
    box = np.concatenate([keypoints[seen].min(axis=0), keypoints[seen].max(axis=0)])
    score = float(confidences[BODY].mean())
    return Person(box.astype(np.float32), score, keypoints.astype(np.float32), confidences.astype(np.float32))

"""Keypoints that a user already has: relative Parquet with time stamps, or JSON of common pose tools.

Parquet: one file per source video, one row per frame and person, columns ``frame``, ``time_s``, ``person``,
``box`` (4), ``box_score``, ``keypoints`` (266), ``confidences`` (133), coordinates relative to width and
height. JSON: see ``openpose_json``. Rows of Parquet are matched to the frames of the normalised video by
time, frames of JSON by their number: each instant takes the source frame shown then.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mimicmotion.errors import InputError
from mimicmotion.pose.files.openpose_json import LARGEST, StatedFrames, read_json
from mimicmotion.pose.layout import NUM_KEYPOINTS
from mimicmotion.pose.people import Person
from mimicmotion.pose.tracks import link
from mimicmotion.video.geometry import upright_size
from mimicmotion.video.size import Size

log = logging.getLogger(__name__)

_COLUMNS: Final = ("frame", "time_s", "person", "box", "box_score", "keypoints", "confidences")
_TAIL_FRAMES: Final = 2.5
"""Frames by which poses may outlast their video: containers state ends differently."""
_TIME_TOLERANCE_S: Final = 0.001
_MAX_RELATIVE: Final = 10.0
_LAST_PERSON: Final = 32_767  # poses are stored with int16 people
"""Relative coordinates may lie outside the picture, but values beyond this are pixels by mistake."""


@dataclass(frozen=True, kw_only=True)
class VideoShape:
    """The normalised video that imported poses are for, and what is known of its source.

    Attributes:
        num_frames, fps, size: of the normalised video.
        source_size: of the upright source, whose pixels JSON files may count in.
        source_frames: for each normalised frame, the frame of the source that it shows.
        source_num_frames: frames of the source; None where any number will do.
        source_length_s: length of the source; None likewise.
    """

    num_frames: int
    fps: float
    size: Size
    source_size: Size
    source_frames: Sequence[int]
    source_num_frames: int | None = None
    source_length_s: float | None = None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "VideoShape":
        """The shape of a video by its facts, see ``VideoFacts``."""
        same = ("num_frames", "fps", "source_frames", "source_num_frames")
        return cls(
            **{name: facts[name] for name in same},
            size=Size(facts["width_px"], facts["height_px"]),
            source_size=upright_size(facts),
            source_length_s=facts["num_frames"] / facts["fps"] + facts["trimmed_s"],
        )


def import_poses(path: Path, video: VideoShape) -> list[list[tuple[int, Person]]]:
    """Return per frame of the normalised video the people with their track numbers, in its pixels.

    Parquet brings its own track numbers; people of JSON files are linked as detected ones are.

    Raises:
        InputError: the file is of another form, or of a video of another length.
    """
    if path.suffix.lower() != ".parquet":
        stated = read_json(path, video.source_size)
        places = _places(stated, video, path)
        frames = [[_in_pixels(person, video) for person in stated.people.get(place, [])] for place in places]
        return link(frames, video.fps, video.size)
    rows = _read_parquet(path)
    _check_length(rows, video, path)
    chosen = _chosen(rows, video)
    by_frame: dict[int, list[tuple[int, Person]]] = {}
    for row, frame in enumerate(rows.frame):
        person = Person(rows.box[row], float(rows.box_score[row]), rows.keypoints[row], rows.confidences[row])
        by_frame.setdefault(int(frame), []).append((int(rows.person[row]), _in_pixels(person, video)))
    return [[] if frame is None else by_frame.get(frame, []) for frame in chosen]


def _places(stated: StatedFrames, video: VideoShape, path: Path) -> Sequence[int]:
    """Return the stated frame that each normalised frame shows.

    Files count the frames of the source, from 0 or, where the last number is their count, from 1; or those of
    the normalised video, where every one of these is there.

    Raises:
        InputError: the counts do not fit.
    """
    wanted, count = video.source_num_frames, len(stated.people)
    if wanted is None:
        return [sorted(stated.people)[0]] if stated.people else video.source_frames
    first, last = min(stated.people, default=0), max(stated.people, default=-1)
    whole = not stated.numbered or (first in (0, 1) and last - first == count - 1)
    if whole and count == video.num_frames != wanted and not stated.numbered:
        return range(video.num_frames)
    if stated.numbered and first > 0 and last == wanted:
        return [place + 1 for place in video.source_frames]
    if stated.numbered and whole and first == 1:
        log.warning(
            "%s: frames 1 to %d of %d have poses; they are taken as counted from 0, so that frame 0 has none",
            path, last, wanted,
        )  # fmt: skip
    ambiguous = whole and count == video.num_frames != wanted
    if last >= wanted or ambiguous or (not stated.numbered and count != wanted):
        numbers = f", numbered {first} to {last}" if stated.numbered else ""
        raise InputError(
            f"{path} has poses of {count} frames{numbers}, but the video has {wanted} frames (normalised: "
            f"{video.num_frames}): make them again from the whole video, with every frame's number"
        )
    return video.source_frames


def _chosen(rows: "_Rows", video: VideoShape) -> Sequence[int | None]:
    """The stated frame that each normalised frame shows, or None."""
    known, first = np.unique(rows.frame, return_index=True)
    if len(known) > 1 and known[0] > 0 and known[-1] < (video.source_num_frames or 0):
        times = rows.time_s[first]
        step = float(times[-1] - times[0]) / int(known[-1] - known[0])
        late_s = abs(times[0] - known[0] * step)
        if late_s > _TAIL_FRAMES * step and _counts_source(known, times, step, video):
            # The frames before were not of this rate, so times do not tell which one was the first.
            there = set(known.tolist())
            return [frame if frame in there else None for frame in video.source_frames]
    return shown_frames(rows.frame, rows.time_s, video.num_frames, video.fps)


def _counts_source(known: np.ndarray, times_s: np.ndarray, step: float, video: VideoShape) -> bool:
    """Whether numbers and times are those of the source itself, by its end and its average rate."""
    if video.source_length_s is None or not video.source_num_frames:
        return False
    inside = times_s[-1] + step <= video.source_length_s + _TAIL_FRAMES * step
    expected_s = known[-1] * video.source_length_s / video.source_num_frames
    return bool(inside and 0.75 * expected_s <= times_s[-1] <= 1.33 * expected_s)


def _check_length(rows: "_Rows", video: VideoShape, path: Path) -> None:
    """Refuse rows that lie after the end of the video."""
    if video.source_length_s is None or not len(rows.frame):
        return
    known, first = np.unique(rows.frame, return_index=True)
    times, span, length = rows.time_s[first], int(known[-1] - known[0]), video.source_length_s
    step = float(times[-1] - times[0]) / span if span else 1 / video.fps
    length_s, most = (int(known[-1]) + 1) * step, _TAIL_FRAMES * max(step, 1 / video.fps)
    # Of a film of varying rate the frames before the first row were not of the rate of the others.
    late = min((length_s, float(times[-1]) + step), key=lambda end_s: abs(end_s - length)) - length
    # Poses of every frame must last as long as the video, not only no longer.
    if late > most or (known[-1] + 1 == video.source_num_frames and late < -most):
        raise InputError(
            f"{path} has poses up to frame {known[-1]}, by time_s {length_s:.2f} s, but the video has "
            f"{video.source_num_frames} frames and lasts {video.source_length_s:.2f} s: make them from it"
        )


def shown_frames(frames: np.ndarray, times_s: np.ndarray, num_frames: int, fps: float) -> list[int | None]:
    """Return, for each frame of a normalised video, the source frame shown then; None where nobody was in it.

    Args:
        frames: numbers of source frames that have rows, in any order.
        times_s: their times.
        num_frames: frames of the normalised video.
        fps: its rate.
    """
    known, first = np.unique(frames, return_index=True)
    if not len(known):
        return [None] * num_frames
    times = times_s[first]
    span = known[-1] - known[0]
    step = (times[-1] - times[0]) / span if span else 1 / fps
    instants = np.arange(num_frames) / fps + (times[0] - known[0] * step) + _TIME_TOLERANCE_S
    last = np.searchsorted(times, instants, side="right") - 1
    # Shown until the next source frame: its row tells when, or, where that has no rows, a step later.
    followed = np.append(np.diff(known) == 1, False)
    fresh = (last >= 0) & (followed[last] | (instants - times[last] < step))
    return [int(known[place]) if there else None for place, there in zip(last, fresh, strict=True)]


def _in_pixels(person: Person, video: VideoShape) -> Person:
    size = np.array(video.size, dtype=np.float32)
    return Person(
        person.box * np.tile(size, 2), person.box_score, person.keypoints * size, person.confidences
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """The columns of an import file as arrays."""

    frame: np.ndarray
    time_s: np.ndarray
    person: np.ndarray
    box: np.ndarray
    box_score: np.ndarray
    keypoints: np.ndarray
    confidences: np.ndarray


def read_parquet(path: Path) -> pa.Table:
    """Read a user's Parquet file.

    Raises:
        InputError: it is none, or it is damaged.
    """
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no Parquet file that can be read: {error}") from error


def _read_parquet(path: Path) -> _Rows:
    table = read_parquet(path)
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise InputError(f"{path} lacks the columns {missing}; it has {table.column_names}")
    rows = _Rows(
        frame=_whole_numbers(table, "frame", path),
        time_s=_numbers(table, "time_s", path),
        person=_whole_numbers(table, "person", path),
        box=_lists(table, "box", (4,), path),
        box_score=_numbers(table, "box_score", path),
        keypoints=_lists(table, "keypoints", (NUM_KEYPOINTS, 2), path),
        confidences=_lists(table, "confidences", (NUM_KEYPOINTS,), path),
    )
    _check(rows, path)
    return rows


def _numbers(table: pa.Table, name: str, path: Path) -> np.ndarray:
    column = table[name]
    kind = column.type
    if column.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(f"{path}: column {name} must hold a number in every row, and is of type {kind}")
    values = column.to_numpy()
    if not (np.abs(values.astype(np.float64)) <= LARGEST).all():
        raise InputError(f"{path}: column {name} must hold finite numbers, at most {LARGEST:.0f}")
    return values


def _whole_numbers(table: pa.Table, name: str, path: Path) -> np.ndarray:
    values = _numbers(table, name, path)
    if (values < 0).any() or (values % 1).any():
        raise InputError(f"{path}: column {name} must hold whole numbers from 0 on")
    return values.astype(np.int64)


def _lists(table: pa.Table, name: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    lists = table[name].combine_chunks()
    size = int(np.prod(shape))
    is_list = pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)
    if not is_list and not pa.types.is_fixed_size_list(lists.type):
        raise InputError(f"{path}: column {name} must hold {size} numbers in every row, not {lists.type}")
    if lists.null_count or not pc.all(pc.equal(pc.list_value_length(lists), size), min_count=0).as_py():
        raise InputError(f"{path}: column {name} must hold {size} numbers in every row")
    inner = pa.table({name: lists.flatten()})
    return _numbers(inner, name, path).astype(np.float32).reshape(-1, *shape)


def _check(rows: _Rows, path: Path) -> None:
    for name, values in (("confidences", rows.confidences), ("box_score", rows.box_score)):
        if (values < 0).any():
            raise InputError(f"{path}: column {name} must not be negative, but goes down to {values.min():g}")
    strange = rows.person[(rows.person < 0) | (rows.person > _LAST_PERSON)]
    if len(strange):
        raise InputError(
            f"{path}: column person must lie within 0 and {_LAST_PERSON}, but holds {strange[0]}: number the "
            "people of a video from 0"
        )
    if len(rows.person) and rows.person.min() > 0:
        raise InputError(
            f"{path}: column person must hold the main person, 0, but holds {np.unique(rows.person)[:5]} "
            "alone: number the people of a video from 0, the one who dances first"
        )
    for name, places in (("keypoints", rows.keypoints), ("box", rows.box)):
        if (largest := float(np.abs(places).max(initial=0.0))) > _MAX_RELATIVE:
            raise InputError(
                f"{path}: {name} must be relative to width and height (0 to 1), but reach {largest:.0f}: "
                "divide x by the width and y by the height"
            )
    _check_boxes(rows, path)
    pairs = np.stack([rows.frame, rows.person], axis=1)
    if len(np.unique(pairs, axis=0)) != len(pairs):
        raise InputError(f"{path}: a person may have one row per frame, some have more")
    order = np.argsort(rows.frame, kind="stable")
    if (np.diff(rows.time_s[order]) < 0).any():
        raise InputError(f"{path}: time_s must not go back from frame to frame")


def _check_boxes(rows: _Rows, path: Path) -> None:
    """Refuse boxes of another form, such as corner and size; one of a single point may have no sides."""
    sure = rows.confidences[..., None] > 0
    low = np.where(sure, rows.keypoints, np.inf).min(axis=1)
    high = np.where(sure, rows.keypoints, -np.inf).max(axis=1)
    sides = rows.box[:, 2:] - rows.box[:, :2]
    wrong = np.flatnonzero(np.where(high > low, sides <= 0, sides < 0).any(axis=1))
    if len(wrong):
        raise InputError(
            f"{path}: {len(wrong)} of {len(sides)} boxes are not x0, y0, x1, y1 with x0 < x1 and y0 < y1, "
            f"e.g. {rows.box[wrong[0]].round(3).tolist()} of frame {rows.frame[wrong[0]]}"
        )

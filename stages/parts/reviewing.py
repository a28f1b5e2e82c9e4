"""What the page of ``mimicmotion review`` shows and writes: windows, their films, decisions."""

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pyarrow as pa

from mimicmotion.clips.review import (
    Decision,
    Verdict,
    can_accept,
    read_review,
    verdict,
    write_review,
)
from mimicmotion.clips.windows import Reject, limit_of
from mimicmotion.errors import InputError
from mimicmotion.pictures.clips import review_frames
from mimicmotion.video.files import write_preview
from stages.clip_rows import VIDEO_FILE, ClipRow, video_rows
from stages.engine.contract import Dataset

if TYPE_CHECKING:
    from mimicmotion.pose.calibration import Calibration

_COLUMNS = ("source", "split", "form", "first_frame", "last_frame", "num_windows", "reason")
_MOST_SHOWN = 300
"""Frames of a film at most; of a longer stretch every second, third and so on, at the same speed."""
UNDO = "undo"


class Review:
    """The windows of a clips dataset, and what people decide of them.

    Args:
        clips: the dataset.
        inputs: ``decode`` and ``pose``, which it was made from.
        place: the list of decisions; what it holds already counts.
        who: whose name stands beside new ones.
        films: folder for the films that were asked for.
        calibration: with which the dataset read confidences.
    """

    def __init__(
        self,
        clips: Dataset,
        inputs: Mapping[str, Dataset],
        place: Path,
        who: str,
        films: Path,
        calibration: "Calibration | None" = None,
    ) -> None:
        table = clips.table()
        self._inputs, self._films, self._who = inputs, films, who
        self._videos = video_rows(inputs["decode"])
        self._key, self._calibration = clips.key, calibration
        self._numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
        self._writing, self._showing = threading.Lock(), threading.Lock()
        self.place = place
        self.decisions = read_review(place) if place.exists() else []
        self.windows = [_window(number, row) for number, row in enumerate(table.to_pylist())]

    def page(self) -> str:
        """The page, whole; it fetches windows and films from this address only."""
        return files("mimicmotion.pictures").joinpath("review.html").read_text(encoding="utf-8")

    def told(self) -> dict[str, Any]:
        """Every window with its numbers and its decision."""
        names = ("number", *_COLUMNS, *self._numbers, "sentence", "can_accept")
        own = defaultdict[str, list[Decision]](list)
        for one in self.decisions:
            own[one.video_id].append(one)
        return {
            "columns": [*_COLUMNS, *self._numbers],
            "about": f"clips dataset {self._key}; decisions of {self._who} go into {self.place}",
            "windows": [
                {**{name: row[name] for name in names}, "verdict": _verdict(row, own[row["video_id"]])}
                for row in self.windows
            ],
        }

    def decide(self, number: Any, decision: Any, when: str) -> list[dict[str, Any]]:
        """Write a decision, or take back the one of this very stretch; gives those of its video by number.

        Raises:
            InputError: there is no such window or decision, or it may not be accepted.
        """
        row = self._window(number)
        if decision not in (*get_args(Verdict), UNDO):
            raise InputError(
                f"the decision is {decision!r}; allowed are {', '.join(get_args(Verdict))}, {UNDO}"
            )
        if decision == "accept" and not row["can_accept"]:
            raise InputError(f"no decision overrules {row['reason']}: {row['sentence']}")
        span = (row["video_id"], row["first_frame"], row["last_frame"])
        with self._writing:
            # Somebody else may review with the same list meanwhile.
            self.decisions = read_review(self.place) if self.place.exists() else []
            shown = [one.at(row["film_fps"]) for one in self.decisions]
            kept = [
                written
                for written, one in zip(self.decisions, shown, strict=True)
                if (one.video_id, one.first_frame, one.last_frame) != span
            ]
            if decision == UNDO and len(kept) == len(self.decisions):
                raise InputError("there is no decision of this very stretch to take back")
            if decision != UNDO:
                kept.append(Decision(*span, decision, self._who, when, row["source"], row["film_fps"]))
            write_review(self.place, kept)
            self.decisions = kept
        own = [one for one in self.decisions if one.video_id == row["video_id"]]
        return [
            {"number": one["number"], "verdict": _verdict(one, own)}
            for one in self.windows
            if one["video_id"] == row["video_id"]
        ]

    def film(self, number: Any) -> Path:
        """The film of a window: its frames, beside them the stored pose drawn over them.

        Raises:
            InputError: there is no such window, or its film cannot be read.
        """
        row = self._window(number)
        path = self._films / f"{row['number']}.mp4"
        with self._showing:
            if not path.exists():
                frames = range(row["first_frame"], row["last_frame"] + 1, row["step"])
                thinned = frames[:: -(-len(frames) // _MOST_SHOWN)]
                written = path.with_suffix(".tmp.mp4")
                write_preview(written, self._pictures(row, thinned), row["film_fps"] / thinned.step)
                written.replace(path)
        return path

    def _pictures(self, row: Mapping[str, Any], frames: range) -> Any:
        from mimicmotion.pose.table import POSES_SCHEMA
        from mimicmotion.video.reader import open_video

        video_id, pose = row["video_id"], self._inputs["pose"]
        video = self._videos[video_id]
        poses = pose.item_table(video_id) if video_id in pose.ids else POSES_SCHEMA.empty_table()
        reader = open_video(self._inputs["decode"].path(video_id, VIDEO_FILE))
        return review_frames(
            reader, video.track(poses, self._calibration), frames, row["clip"].framing(video)
        )

    def _window(self, number: Any) -> dict[str, Any]:
        if not isinstance(number, int) or not 0 <= number < len(self.windows):
            raise InputError(f"there is no window {number!r}; they are numbered 0 to {len(self.windows) - 1}")
        return self.windows[number]


def _verdict(row: Mapping[str, Any], own: Sequence[Decision]) -> dict[str, str] | None:
    """What holds for a window, of the decisions about its video."""
    said = verdict([one.at(row["film_fps"]) for one in own], row["first_frame"], row["last_frame"])
    return {"decision": said.decision, "who": said.who, "when": said.when} if said else None


def _window(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the clips dataset as the page knows it; it spans every frame of all its windows."""
    clip = ClipRow.of(row)
    reject = None if row["kept"] else Reject(row["reason"], limit_of(row["reason"]), row["sentence"])
    numbers = {
        name: None if value != value else value for name, value in row.items() if isinstance(value, float)
    }
    return {
        **row,
        **numbers,
        "number": number,
        "film_fps": row["fps"] * row["step"],  # of the frames that are counted
        "last_frame": clip.frames[-1] + clip.num_windows - 1,
        "clip": clip,
        "can_accept": can_accept(reject, row["visibility"] is not None),
    }

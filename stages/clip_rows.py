"""Typed rows of the datasets, the names of their files, and clips joined with what they are made of.

Every stage that reads another's rows reads them here, once: which videos there are, which windows were kept,
which frames a clip drives, which generated frame belongs to which true one.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import pyarrow as pa

from mimicmotion.errors import StageError
from mimicmotion.video.size import Size
from stages.engine.contract import Dataset
from stages.engine.store import ITEM_TABLE

if TYPE_CHECKING:
    from mimicmotion.pose.calibration import Calibration
    from mimicmotion.pose.table import PoseTrack
    from mimicmotion.training.data.samples import Clip
    from mimicmotion.video.framing import Framing

log = logging.getLogger(__name__)

VIDEO_FILE = "video.mp4"
POSES_FILE = ITEM_TABLE
EVIDENCE_FILE = "pictures.parquet"
LATENTS_FILE = "latents.safetensors"
GENERATED_FILE, PREVIEW_FILE = "generated.mkv", "preview.mp4"
JUDGE_FILE, JUDGE_PICTURE = "judge.json", "judge.png"

Split = Literal["train", "val", "test"]
Form = Literal["window", "clip"]
"""A window is trained or validated on; a clip is generated and scored."""
JUDGED: tuple[Split, ...] = ("val", "test")
"""Sides whose clips are generated and scored."""

FRAMING_COLUMNS = ("scaled_width_px", "scaled_height_px", "left_px", "top_px", "width_px", "height_px")
"""Columns of a framing: size after the resize, place of the result in it, size of the result."""


class _Row:
    """A dataclass made of the columns of a table that it has fields for."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The typed form of one row of the dataset."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class VideoRow(_Row):
    """One normalised video, as the decode stage says; see ``VideoFacts``."""

    video_id: str
    source: str
    width_px: int
    height_px: int
    fps: float
    num_frames: int

    @property
    def name(self) -> str:
        """Name of the source file, for people."""
        return Path(self.source).name

    @property
    def size_px(self) -> Size:
        """Size of its pictures."""
        return Size(self.width_px, self.height_px)

    def track(self, poses: "pa.Table | Path", calibration: "Calibration | None" = None) -> "PoseTrack":
        """The main person of this video, of rows of the pose stage or their file."""
        from mimicmotion.pose.table import read_track

        return read_track(poses, self.num_frames, 0, self.size_px, calibration)


VIDEO_COLUMNS = tuple(field.name for field in fields(VideoRow))


@dataclass(frozen=True)
class ClipRow(_Row):
    """What the clips stage kept: driving frames ``step`` apart, where references may lie, the framing.

    Of ``num_windows`` that begin one frame after the other these are the first one's frames.
    """

    clip_id: str
    video_id: str
    split: Split
    form: Form
    first_frame: int
    num_frames: int
    step: int
    num_windows: int
    unit: str
    fps: float
    reference_frames: Sequence[int]
    reference_distance: int
    scaled_width_px: int
    scaled_height_px: int
    left_px: int
    top_px: int
    width_px: int
    height_px: int
    ignore: Sequence[Sequence[int]]

    @property
    def frames(self) -> tuple[int, ...]:
        """Video frames of its driving frames."""
        last = self.first_frame + self.num_frames * self.step
        return tuple(range(self.first_frame, last, self.step))

    @property
    def every_frame(self) -> set[int]:
        """Driving frames of all its windows."""
        return {frame + later for frame in self.frames for later in range(self.num_windows)}

    def framing(self, video: VideoRow) -> "Framing":
        """How frames of its video become its pictures."""
        from mimicmotion.video.framing import Framing

        scaled, target = (
            Size(self.scaled_width_px, self.scaled_height_px),
            Size(self.width_px, self.height_px),
        )
        return Framing(video.size_px, scaled, (self.left_px, self.top_px), target)


def framing_columns(fit: "Framing") -> dict[str, int]:
    """A framing as columns of a row."""
    return dict(zip(FRAMING_COLUMNS, (*fit.scaled, *fit.offset, *fit.target), strict=True))


def video_rows(decode: Dataset) -> dict[str, VideoRow]:
    """The normalised videos by their id."""
    return {row["video_id"]: VideoRow.of(row) for row in decode.table().to_pylist()}


def kept_clips(clips: Dataset, split: Split, form: Form) -> list[ClipRow]:
    """The kept windows, or clips, of one side of the split, in the order of the dataset."""
    rows = clips.table().to_pylist()
    wanted = (True, split, form)
    return [ClipRow.of(row) for row in rows if (row["kept"], row["split"], row["form"]) == wanted]


def training_clips(inputs: Mapping[str, Dataset]) -> "tuple[list[Clip], list[Clip]]":
    """The windows to train on, and one window of each val video to validate on.

    Raises:
        StageError: there is no window to train on.
    """
    videos = video_rows(inputs["decode"])
    windows, latents = kept_clips(inputs["clips"], "train", "window"), inputs.get("latents")
    lacking = {row.video_id for row in windows} - set(latents.ids) if latents else set()
    if lacking:
        log.warning(
            "train: %d videos are left out, e.g. %s: the latents stage rejected them",
            len(lacking),
            min(lacking),
        )
    windows = [row for row in windows if row.video_id not in lacking]
    if not windows:
        raise StageError("train: there is no window to train on; look at the reasons of the clips stage")
    val = {row.video_id: row for row in reversed(kept_clips(inputs["clips"], "val", "window"))}
    if not val:
        log.warning("train: there is no val video, so nothing is validated or shown while training")
    if not kept_clips(inputs["clips"], "test", "clip"):
        log.warning(
            "train: there is no test video, so animate and evaluate will have nothing to do: add videos, or "
            "choose some by a folder `test`, a column `split`, or clips.test_fraction"
        )

    def clip(row: ClipRow, latents: Dataset | None) -> "Clip":
        return _training_clip(row, videos[row.video_id], inputs, latents)

    return [clip(row, latents) for row in windows], [clip(val[name], None) for name in sorted(val)]


def _training_clip(
    row: ClipRow, video: VideoRow, inputs: Mapping[str, Dataset], latents: Dataset | None
) -> "Clip":
    from mimicmotion.training.data.samples import Clip

    video_id = row.video_id
    return Clip(
        clip_id=row.clip_id,
        unit=row.unit,
        video=inputs["decode"].path(video_id, VIDEO_FILE),
        poses=inputs["pose"].path(video_id, POSES_FILE),
        latents=latents.path(video_id, LATENTS_FILE) if latents else None,
        frames=row.frames,
        num_windows=row.num_windows,
        references=tuple(row.reference_frames),
        reference_distance=row.reference_distance,
        video_frames=video.num_frames,
        fit=row.framing(video),
        fps=row.fps,
        ignore=tuple((*overlay,) for overlay in row.ignore),
    )


def checkpoint_of(inputs: Mapping[str, Dataset]) -> Dataset:
    """The dataset whose checkpoint animates: the student's where the config has one."""
    return inputs.get("distill") or inputs["train"]

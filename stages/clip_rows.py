"""Typed rows of the datasets, the names of their files, and clips joined with what they are made of.

Every stage that reads another's rows reads them here, once: which videos there are, which windows were kept,
which frames a clip drives, which generated frame belongs to which true one.
"""

import json
import logging
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pyarrow as pa

from mimicmotion.errors import DataError, StageError
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
_READ_AT_A_TIME = 8

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
    def size_px(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width_px, self.height_px

    def track(self, poses: "pa.Table | Path", calibration: "Calibration | None" = None) -> "PoseTrack":
        """The main person of this video, of rows of the pose stage or their file."""
        from mimicmotion.pose.table import read_track

        return read_track(poses, self.num_frames, 0, *self.size_px, calibration)


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

        scaled, offset = (self.scaled_width_px, self.scaled_height_px), (self.left_px, self.top_px)
        return Framing(video.size_px, scaled, offset, (self.width_px, self.height_px))


def framing_columns(fit: "Framing") -> dict[str, int]:
    """A framing as columns of a row."""
    return dict(zip(FRAMING_COLUMNS, (*fit.scaled, *fit.offset, *fit.target), strict=True))


@dataclass(frozen=True)
class GeneratedClip:
    """One generated clip and where its truth lies.

    Attributes:
        clip_id: names it.
        split: side of its video, val or test.
        video: the true video.
        fit: how true frames become pictures of the generated size.
        generated: lossless file of the generated frames.
        preview: file for a browser, beside reference, pose and truth.
        truth: normalised true video.
        poses: file of the pose stage for that video.
        size: (width, height) of the generated frames.
        fps: frames per second of the generated video.
        frames: true frame of each generated one.
        reference_frame: frame of the video that the model was shown.
    """

    clip_id: str
    split: Split
    video: VideoRow
    fit: "Framing"
    generated: Path
    preview: Path
    truth: Path
    poses: Path
    size: tuple[int, int]
    fps: float
    frames: tuple[int, ...]
    reference_frame: int

    @property
    def source_name(self) -> str:
        """Stem of the source video's file, as protocols name it."""
        return Path(self.video.source).stem


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


def generated_clips(
    inputs: Mapping[str, Dataset], split: Split = "test", ids: Container[str] | None = None
) -> Iterator[GeneratedClip]:
    """The generated clips of one side with their truth, each checked to be what the clips stage asked for.

    Args:
        inputs: datasets by stage.
        split: the side.
        ids: of the clips that are wanted; all by default.

    Raises:
        DataError: a clip was generated from other frames than its window.
    """
    clips = {row.clip_id: row for row in kept_clips(inputs["clips"], split, "clip")}
    for clip_id in inputs["animate"].ids:
        if clip_id not in clips or (ids is not None and clip_id not in ids):
            continue
        row = inputs["animate"].item_table(clip_id).to_pylist()[0]
        clip = clips[clip_id]
        expected = clip.frames
        if tuple(row["frames"]) != expected:
            raise DataError(
                f"clip {clip_id} was generated for frames {row['frames'][:3]}..., its window has "
                f"{[*expected[:3]]}...: frames would be compared with the wrong ones; run animate again"
            )
        video_id = row["video_id"]
        video = VideoRow.of(inputs["decode"].item_table(video_id).to_pylist()[0])
        yield GeneratedClip(
            clip_id=clip_id,
            split=clip.split,
            video=video,
            fit=clip.framing(video),
            generated=inputs["animate"].path(clip_id, GENERATED_FILE),
            preview=inputs["animate"].path(clip_id, PREVIEW_FILE),
            truth=inputs["decode"].path(video_id, VIDEO_FILE),
            poses=inputs["pose"].path(video_id, POSES_FILE),
            size=(row["width_px"], row["height_px"]),
            fps=row["fps"],
            frames=tuple(row["frames"]),
            reference_frame=row["reference_frame"],
        )


def judge_of(animations: Dataset, clip_id: str) -> dict[str, Any] | None:
    """What the judge said of a generated clip that needs no true film; None where none was asked."""
    said = animations.item_table(clip_id).to_pylist()[0].get("judge")
    return None if said is None else json.loads(said)


def driving_pose(clip: GeneratedClip, calibration: "Calibration | None" = None) -> "PoseTrack":
    """The driving poses, in pixels of the generated frames without their padding."""
    from mimicmotion.pose.framing import framed_track

    return framed_track(clip.video.track(clip.poses, calibration).select(clip.frames), clip.fit.unpadded)


def read_true(clip: GeneratedClip, frame: int) -> np.ndarray:
    """One frame of the true video at the generated size."""
    from mimicmotion.video.reader import open_video

    return clip.fit.frames(open_video(clip.truth).read([frame]))[0]


def iter_truth(clip: GeneratedClip) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each true frame and the video's frame before it, at the generated size, in one pass over the video."""
    from mimicmotion.video.reader import open_video

    reader, held = open_video(clip.truth), dict[int, np.ndarray]()
    for begin in range(0, len(clip.frames), _READ_AT_A_TIME):
        frames = clip.frames[begin : begin + _READ_AT_A_TIME]
        pairs = [(frame, max(frame - 1, 0)) for frame in frames]
        wanted = sorted({*chain(*pairs)} - held.keys())
        held |= zip(wanted, clip.fit.frames(reader.read(wanted)), strict=True)
        yield from ((held[frame], held[before]) for frame, before in pairs)
        held = {frames[-1]: held[frames[-1]]}


def iter_generated(clip: GeneratedClip) -> Iterator[np.ndarray]:
    """The generated frames, uint8 (h, w, 3), one after the other.

    Raises:
        DataError: the file holds other frames than its row says; raised at its end where some are missing.
    """
    from mimicmotion.video.files import iter_frames

    count, (width, height) = 0, clip.size
    for frame in iter_frames(clip.generated):
        count += 1
        if count <= len(clip.frames) and frame.shape == (clip.size[1], clip.size[0], 3):
            yield frame
        else:
            height, width = frame.shape[:2]
    if (count, width, height) != (len(clip.frames), *clip.size):
        raise DataError(
            f"{clip.generated} holds {count} frames of {width}x{height}, its row says "
            f"{len(clip.frames)} of {clip.size[0]}x{clip.size[1]}: run animate again"
        )


def read_generated(clip: GeneratedClip, place: int) -> np.ndarray:
    """One generated frame."""
    return next(islice(iter_generated(clip), place, None))

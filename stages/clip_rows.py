"""Typed rows of the datasets, the names of their files, and clips joined with what they are made of.

Every stage that reads another's rows reads them here, once: which videos there are, which windows were kept,
which frames a clip drives, which generated frame belongs to which true one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pyarrow as pa

from mimicmotion.errors import DataError, StageError
from stages.engine.contract import Dataset
from stages.engine.store import ITEM_TABLE

if TYPE_CHECKING:
    from mimicmotion.pose.table import PoseTrack
    from mimicmotion.training.data.samples import Clip

VIDEO_FILE = "video.mp4"
POSES_FILE = ITEM_TABLE
LATENTS_FILE = "latents.safetensors"
GENERATED_FILE, PREVIEW_FILE = "generated.mkv", "preview.mp4"

Split = Literal["train", "test"]


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

    def track(self, poses: "pa.Table | Path") -> "PoseTrack":
        """The main person of this video, of rows of the pose stage or their file."""
        from mimicmotion.pose.table import read_track

        return read_track(poses, self.num_frames, 0, *self.size_px)


@dataclass(frozen=True)
class ClipRow(_Row):
    """One window that the clips stage kept: driving frames ``step`` apart, and where references may lie."""

    clip_id: str
    video_id: str
    split: Split
    first_frame: int
    num_frames: int
    step: int
    reference_frames: Sequence[int]

    @property
    def frames(self) -> tuple[int, ...]:
        """Video frames of its driving frames."""
        last = self.first_frame + self.num_frames * self.step
        return tuple(range(self.first_frame, last, self.step))


@dataclass(frozen=True)
class GeneratedClip:
    """One generated clip and where its truth lies.

    Attributes:
        clip_id: names it.
        video: the true video.
        generated: lossless file of the generated frames.
        preview: file for a browser, beside reference, pose and truth.
        truth: normalised true video.
        poses: rows of the pose stage for that video.
        size: (width, height) of the generated frames.
        fps: frames per second of the generated video.
        frames: true frame of each generated one.
        reference_frame: frame of the video that the model was shown.
    """

    clip_id: str
    video: VideoRow
    generated: Path
    preview: Path
    truth: Path
    poses: pa.Table
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


def kept_clips(clips: Dataset, split: Split) -> list[ClipRow]:
    """The kept windows of one side of the split, in the order of the dataset."""
    rows = clips.table().to_pylist()
    return [ClipRow.of(row) for row in rows if row["kept"] and row["split"] == split]


def training_clips(inputs: Mapping[str, Dataset]) -> "tuple[list[Clip], list[Clip]]":
    """The windows to train on, and the beginnings of test clips, as long as a window.

    Raises:
        StageError: there is no window to train on, or latents lack a video.
    """
    videos = video_rows(inputs["decode"])
    windows = kept_clips(inputs["clips"], "train")
    if not windows:
        raise StageError("train: the clips stage kept no window to train on; look at its reasons")
    latents = inputs.get("latents")
    lacking = {row.video_id for row in windows} - set(latents.ids) if latents else set()
    if lacking:
        raise StageError(
            f"train: the latents stage has no latents of {len(lacking)} videos, e.g. {min(lacking)}; "
            "see why it rejected them"
        )
    num_frames = windows[0].num_frames
    tests = [row for row in kept_clips(inputs["clips"], "test") if row.num_frames >= num_frames]

    def clip(row: ClipRow, latents: Dataset | None) -> "Clip":
        return _training_clip(row, num_frames, videos[row.video_id], inputs, latents)

    return [clip(row, latents) for row in windows], [clip(row, None) for row in tests]


def _training_clip(
    row: ClipRow, num_frames: int, video: VideoRow, inputs: Mapping[str, Dataset], latents: Dataset | None
) -> "Clip":
    from mimicmotion.training.data.samples import Clip

    video_id = row.video_id
    return Clip(
        clip_id=row.clip_id,
        video=inputs["decode"].path(video_id, VIDEO_FILE),
        poses=inputs["pose"].path(video_id, POSES_FILE),
        latents=latents.path(video_id, LATENTS_FILE) if latents else None,
        frames=row.frames[:num_frames],
        references=tuple(row.reference_frames),
        video_frames=video.num_frames,
        size_px=video.size_px,
    )


def generated_clips(inputs: Mapping[str, Dataset]) -> Iterator[GeneratedClip]:
    """The generated clips with their truth, each checked to be what the clips stage asked for.

    Raises:
        DataError: a clip was generated from other frames than its window.
    """
    windows = {row.clip_id: row for row in kept_clips(inputs["clips"], "test")}
    for clip_id in inputs["animate"].ids:
        row = inputs["animate"].item_table(clip_id).to_pylist()[0]
        expected = windows[clip_id].frames
        if tuple(row["frames"]) != expected:
            raise DataError(
                f"clip {clip_id} was generated for frames {row['frames'][:3]}..., its window has "
                f"{[*expected[:3]]}...: frames would be compared with the wrong ones; run animate again"
            )
        video_id = row["video_id"]
        yield GeneratedClip(
            clip_id=clip_id,
            video=VideoRow.of(inputs["decode"].item_table(video_id).to_pylist()[0]),
            generated=inputs["animate"].path(clip_id, GENERATED_FILE),
            preview=inputs["animate"].path(clip_id, PREVIEW_FILE),
            truth=inputs["decode"].path(video_id, VIDEO_FILE),
            poses=inputs["pose"].item_table(video_id),
            size=(row["width_px"], row["height_px"]),
            fps=row["fps"],
            frames=tuple(row["frames"]),
            reference_frame=row["reference_frame"],
        )


def read_truth(clip: GeneratedClip) -> tuple[np.ndarray, np.ndarray, np.ndarray, "PoseTrack"]:
    """True frames, the same one frame late, the reference, and the driving poses, at the generated size."""
    from mimicmotion.pose.framing import framed_track
    from mimicmotion.video.framing import framing
    from mimicmotion.video.reader import VideoReader

    fit = framing(clip.video.size_px, [clip.size])
    before = [max(frame - 1, 0) for frame in clip.frames]
    wanted = sorted({*clip.frames, *before, clip.reference_frame})
    frames = dict(zip(wanted, fit.frames(VideoReader(clip.truth).read(wanted)), strict=True))
    track = clip.video.track(clip.poses).select(clip.frames)
    true = np.stack([frames[i] for i in clip.frames])
    late = np.stack([frames[i] for i in before])
    return true, late, frames[clip.reference_frame], framed_track(track, fit)


def read_generated(clip: GeneratedClip) -> np.ndarray:
    """The generated frames, uint8 (n, h, w, 3).

    Raises:
        DataError: the file holds other frames than its row says.
    """
    from mimicmotion.video.files import iter_frames

    frames = np.stack(list(iter_frames(clip.generated)))
    height, width = frames.shape[1:3]
    if (len(frames), width, height) != (len(clip.frames), *clip.size):
        raise DataError(
            f"{clip.generated} holds {len(frames)} frames of {width}x{height}, its row says "
            f"{len(clip.frames)} of {clip.size[0]}x{clip.size[1]}: run animate again"
        )
    return frames

"""Generated clips, each beside its truth: which file, which frames, which pose drove it."""

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mimicmotion.errors import DataError
from mimicmotion.video.size import Size
from stages.clip_rows import (
    GENERATED_FILE,
    POSES_FILE,
    PREVIEW_FILE,
    VIDEO_FILE,
    Split,
    VideoRow,
    kept_clips,
)
from stages.engine.contract import Dataset

if TYPE_CHECKING:
    from mimicmotion.pose.calibration import Calibration
    from mimicmotion.pose.table import PoseTrack
    from mimicmotion.video.framing import Framing

READ_AT_A_TIME = 8
"""Frames of a video in memory."""


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
        size: of the generated frames.
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
    size: Size
    fps: float
    frames: tuple[int, ...]
    reference_frame: int

    @property
    def source_name(self) -> str:
        """Stem of the source video's file, as protocols name it."""
        return Path(self.video.source).stem


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
            size=Size(row["width_px"], row["height_px"]),
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
    for begin in range(0, len(clip.frames), READ_AT_A_TIME):
        frames = clip.frames[begin : begin + READ_AT_A_TIME]
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

    count, size = 0, clip.size
    for frame in iter_frames(clip.generated):
        count += 1
        if count <= len(clip.frames) and Size.of(frame) == clip.size:
            yield frame
        else:
            size = Size.of(frame)
    if (count, size) != (len(clip.frames), clip.size):
        raise DataError(
            f"{clip.generated} holds {count} frames of {size}, its row says "
            f"{len(clip.frames)} of {clip.size}: run animate again"
        )


def read_generated(clip: GeneratedClip, place: int) -> np.ndarray:
    """One generated frame."""
    return next(islice(iter_generated(clip), place, None))

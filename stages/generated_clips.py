"""Generated clips beside their truth, as the evaluate stage reads them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from mimicmotion.errors import DataError
from stages.engine.contract import Dataset

if TYPE_CHECKING:
    from mimicmotion.pose.table import PoseTrack


@dataclass(frozen=True)
class GeneratedClip:
    """One generated clip and where its truth lies.

    Attributes:
        clip_id: names it.
        source_name: stem of the source video's file, as protocols name it.
        generated: lossless file of the generated frames.
        video: normalised true video.
        poses: rows of the pose stage for that video.
        video_frames: number of frames of the video.
        video_size: (width, height) of the video.
        size: (width, height) of the generated frames.
        fps: frames per second of the generated video.
        frames: true frame of each generated one.
        reference_frame: frame of the video that the model was shown.
    """

    clip_id: str
    source_name: str
    generated: Path
    video: Path
    poses: pa.Table
    video_frames: int
    video_size: tuple[int, int]
    size: tuple[int, int]
    fps: float
    frames: tuple[int, ...]
    reference_frame: int


def generated_clips(inputs: Mapping[str, Dataset]) -> Iterator[GeneratedClip]:
    """The generated clips with their truth, each checked to be what the clips stage asked for.

    Raises:
        DataError: a clip was generated from other frames than its window.
    """
    windows = {row["clip_id"]: row for row in inputs["clips"].table().to_pylist()}
    for clip_id in inputs["animate"].ids:
        row = inputs["animate"].item_table(clip_id).to_pylist()[0]
        window = windows[clip_id]
        first, step = window["first_frame"], window["step"]
        expected = list(range(first, first + window["num_frames"] * step, step))
        if row["frames"] != expected:
            raise DataError(
                f"clip {clip_id} was generated for frames {row['frames'][:3]}..., its window has "
                f"{expected[:3]}...: frames would be compared with the wrong ones; run animate again"
            )
        video_id = row["video_id"]
        video = inputs["decode"].item_table(video_id).to_pylist()[0]
        yield GeneratedClip(
            clip_id=clip_id,
            source_name=Path(video["source"]).stem,
            generated=inputs["animate"].path(clip_id, "generated.mkv"),
            video=inputs["decode"].path(video_id, "video.mp4"),
            poses=inputs["pose"].item_table(video_id),
            video_frames=video["num_frames"],
            video_size=(video["width_px"], video["height_px"]),
            size=(row["width_px"], row["height_px"]),
            fps=row["fps"],
            frames=tuple(row["frames"]),
            reference_frame=row["reference_frame"],
        )


def read_truth(clip: GeneratedClip) -> tuple[np.ndarray, np.ndarray, np.ndarray, "PoseTrack"]:
    """True frames, the same one frame late, the reference, and the driving poses, at the generated size."""
    from mimicmotion.pose.framing import framed_track
    from mimicmotion.pose.table import read_track
    from mimicmotion.video.framing import framing
    from mimicmotion.video.reader import VideoReader

    fit = framing(clip.video_size, [clip.size])
    before = [max(frame - 1, 0) for frame in clip.frames]
    wanted = sorted({*clip.frames, *before, clip.reference_frame})
    frames = dict(zip(wanted, fit.frames(VideoReader(clip.video).read(wanted)), strict=True))
    track = read_track(clip.poses, clip.video_frames, 0, *clip.video_size).select(clip.frames)
    true = np.stack([frames[i] for i in clip.frames])
    late = np.stack([frames[i] for i in before])
    return true, late, frames[clip.reference_frame], framed_track(track, fit)


def read_generated(clip: GeneratedClip) -> np.ndarray:
    from mimicmotion.video.files import iter_frames

    frames = np.stack(list(iter_frames(clip.generated)))
    height, width = frames.shape[1:3]
    if (len(frames), width, height) != (len(clip.frames), *clip.size):
        raise DataError(
            f"{clip.generated} holds {len(frames)} frames of {width}x{height}, its row says "
            f"{len(clip.frames)} of {clip.size[0]}x{clip.size[1]}: run animate again"
        )
    return frames

"""The kept clips, as training reads them: which files, which frames."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mimicmotion.errors import StageError
from stages.engine.contract import Dataset

if TYPE_CHECKING:
    from mimicmotion.training.data.samples import Clip

VIDEO_FILE, POSES_FILE, LATENTS_FILE = "video.mp4", "table.parquet", "latents.safetensors"


def training_clips(inputs: Mapping[str, Dataset]) -> "tuple[list[Clip], list[Clip]]":
    """The windows to train on, and the beginnings of test clips, as long as a window.

    Raises:
        StageError: there is no window to train on, or latents lack a video.
    """
    videos = {row["video_id"]: row for row in inputs["decode"].table().to_pylist()}
    rows = [row for row in inputs["clips"].table().to_pylist() if row["kept"]]
    windows = [row for row in rows if row["kind"] == "train"]
    if not windows:
        raise StageError("train: the clips stage kept no window to train on; look at its reasons")
    latents = inputs.get("latents")
    lacking = {row["video_id"] for row in windows} - set(latents.ids) if latents else set()
    if lacking:
        raise StageError(
            f"train: the latents stage has no latents of {len(lacking)} videos, e.g. {min(lacking)}; "
            "see why it rejected them"
        )
    num_frames = windows[0]["num_frames"]
    tests = [row for row in rows if row["kind"] == "test" and row["num_frames"] >= num_frames]

    def clip(row: Mapping[str, Any], latents: Dataset | None) -> "Clip":
        return _clip({**row, "num_frames": num_frames}, videos[row["video_id"]], inputs, latents)

    return [clip(row, latents) for row in windows], [clip(row, None) for row in tests]


def driving_frames(row: Mapping[str, Any]) -> tuple[int, ...]:
    """Video frames of the driving frames of a row of the clips stage."""
    first, step = row["first_frame"], row["step"]
    return tuple(range(first, first + row["num_frames"] * step, step))


def _clip(
    row: Mapping[str, Any], video: Mapping[str, Any], inputs: Mapping[str, Dataset], latents: Dataset | None
) -> "Clip":
    from mimicmotion.training.data.samples import Clip

    video_id = row["video_id"]
    return Clip(
        clip_id=row["clip_id"],
        video=inputs["decode"].path(video_id, VIDEO_FILE),
        poses=inputs["pose"].path(video_id, POSES_FILE),
        latents=latents.path(video_id, LATENTS_FILE) if latents else None,
        frames=driving_frames(row),
        references=tuple(row["reference_frames"]),
        video_frames=video["num_frames"],
        size_px=(video["width_px"], video["height_px"]),
    )

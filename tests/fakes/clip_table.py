"""Rows as the clips stage writes them."""

from mimicmotion.video.framing import framing
from mimicmotion.video.size import Size
from stages.clip_rows import framing_columns


def clip_row(clip_id, video_id, split, size, target=None, **changes):
    """A kept row of a video of a size (width, height), framed to the target size."""
    return {
        "clip_id": clip_id,
        "video_id": video_id,
        "split": split,
        "form": "window" if split == "train" else "clip",
        "num_windows": 1,
        "unit": clip_id,
        "fps": 12.0,
        "reference_frames": [0],
        "reference_distance": 1,
        "kept": True,
        "ignore": [],
        **framing_columns(framing(Size(*size), [Size(*(target or size))])),
        **changes,
    }

"""What a normalised video shall be: the section of the decode stage, and of whoever normalises one video."""

from typing import Literal

from pydantic import Field

from mimicmotion.settings import Section

ReaderName = Literal["pyav", "decord"]


class ReaderSettings(Section):
    """What reads the frames of normalised videos."""

    reader: ReaderName = Field(
        "pyav", description="Library that reads the videos; decord is slower, and a level darker."
    )


class NormaliseSettings(Section):
    """What the normalised video shall be."""

    short_side_px: int | None = Field(
        576,
        ge=16,
        description="Most pixels of the shorter side, never enlarged; null keeps the size.",
    )
    fps: float | None = Field(
        None, gt=0, le=240, description="Frames per second by time stamps; null keeps the source's average."
    )
    on_broken_tail: Literal["reject", "trim"] = Field(
        "reject", description="Reject a video whose end does not decode, or trim it to the part that does."
    )
    min_num_frames: int = Field(2, ge=1, description="Fewer normalised frames reject a video as too_short.")
    min_short_side_px: int = Field(
        16, ge=16, description="A shorter side of the normalised picture rejects a video as too_small."
    )
    crf: int = Field(
        12,
        ge=0,
        le=51,
        description="H.264 quality; smaller is better and larger on disk, at 12 about 4 times phone films.",
    )
    key_frame_interval: int = Field(
        10, ge=1, description="Frames between key frames: what a random read decodes at most."
    )

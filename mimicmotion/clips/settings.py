"""How clips are chosen: the form of windows, what they must reach, and the side of the split of a video."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from mimicmotion.pose.settings import ConfidenceSettings
from mimicmotion.settings import Section
from mimicmotion.video.size import Size

_CELL_PX = 8
"""Pixels of a side for each latent."""


class WindowSettings(ConfidenceSettings):
    """The form of windows, the size they are framed to, and what they must reach."""

    num_frames: int = Field(
        16, ge=2, description="Slots of a training window: the reference, then the driving frames."
    )
    step: int = Field(1, ge=1, description="Video frames from one driving frame to the next.")
    fps: float | None = Field(
        None, gt=0, description="Rate of driving frames: takes the nearest step, by each video's own rate."
    )
    windows: Literal["random", "all"] = Field(
        "random",
        description="An epoch is every video once, a window drawn anew, or all windows of a fixed stride.",
    )
    stride: int | None = Field(
        None,
        ge=1,
        description="With windows: all, video frames between their starts; null lays them end to end.",
    )
    sizes_px: tuple[Size, ...] = Field(
        (Size(576, 1024),),
        min_length=1,
        description="[width, height] of training pictures; a video takes the one nearest to its aspect.",
    )
    keypoint_threshold: float = Field(0.3, ge=0, description="A body point of more confidence is sure.")
    hand_threshold: float = Field(
        0.3, ge=0, description="A hand whose 21 points all have more confidence counts as reliable."
    )
    min_visibility: float = Field(0.6, ge=0, le=1, description="Least mean share of sure body points.")
    min_confidence: float = Field(0.5, ge=0, description="Least mean confidence of the body points.")
    min_height_share: float = Field(
        0.3, ge=0, le=1, description="Least mean height of the person over that of the picture."
    )
    max_crowded_fraction: float = Field(
        0.1, ge=0, le=1, description="Most frames of a window that may show further people, as a share."
    )
    min_motion: float = Field(
        0.02, ge=0, description="Least mean speed of body points, in heights of the person per second."
    )
    max_background_motion: float | None = Field(
        0.01,
        ge=0,
        description="Most mean motion outside of people, in heights of the picture per second; null: any.",
    )
    overlay_threshold: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Share of a cell that lasting strokes fill where it counts as an overlay.",
    )
    max_overlay_share: float = Field(
        0.2, ge=0, le=1, description="Most of the picture that logos, captions and watermarks may cover."
    )
    overlay_boxes: Path | None = Field(
        None,
        description="List (.csv, .parquet, .jsonl) of further overlays: video, left, top, right, bottom.",
    )
    reject_fades: bool = Field(True, description="Reject frames within a fade or a dissolve.")
    min_hand_confidence: float = Field(
        0.3,
        ge=0,
        description="Least confidence that all points of a hand reach in some frame of a window; rejects "
        "nothing of a video whose poses have no hands.",
    )
    min_hand_sharpness: float = Field(
        0.15,
        ge=0,
        description="Least mean sharpness of the sharper hand, relative to its size; 0: any; rejects nothing "
        "where poses have no hands.",
    )
    min_face_sharpness: float = Field(
        0.22,
        ge=0,
        description="Least mean sharpness of the face, relative to its size; 0: any; rejects nothing where "
        "poses have no face.",
    )
    odd_confidences: Literal["tell", "reject"] = Field(
        "tell",
        description="Of videos with confidences that no SimCC model gives: tell their names, or reject them.",
    )
    reference_distance: int = Field(
        8, ge=1, description="Video frames between a window and its reference candidates, where possible."
    )
    max_references: int = Field(16, ge=1, description="Most reference candidates of a window.")
    test_clips: Literal["longest_run", "whole_video"] = Field(
        "longest_run",
        description="Of val and test videos: the longest run of frames that passes all limits, or every "
        "frame after the first, uncut and without limits, as the TikTok protocols demand.",
    )
    test_step: int | None = Field(
        None, ge=1, description="Video frames between generated frames; null takes that of training windows."
    )
    max_test_frames: int = Field(300, ge=1, description="Most driving frames of the longest run.")

    review: Path | None = Field(
        None,
        description="List of windows that people accepted or rejected, as `mimicmotion review` writes it.",
    )

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        if self.fps is not None and self.step != 1:
            raise ValueError("step and fps say the same thing: set one of them")
        if self.windows == "random" and self.stride is not None:
            raise ValueError(f"stride is {self.stride}, but windows: random begin anywhere: set windows: all")
        if self.max_test_frames < self.num_frames - 1:
            raise ValueError(
                f"max_test_frames must be at least num_frames - 1 = {self.num_frames - 1}, "
                f"got {self.max_test_frames}"
            )
        sizes = [(*size,) for size in self.sizes_px]
        odd = [size for size in sizes if min(size) < _CELL_PX or any(side % _CELL_PX for side in size)]
        if odd:
            raise ValueError(f"sizes_px: both sides must be multiples of {_CELL_PX}, got {odd}")
        return self

    def train_step(self, video_fps: float) -> int:
        """Video frames between the driving frames of a training window, in a video of this rate."""
        return self.step if self.fps is None else max(1, round(video_fps / self.fps))

    def generated_step(self, video_fps: float) -> int:
        """Video frames between the frames that are generated of a val or test video."""
        return self.train_step(video_fps) if self.test_step is None else self.test_step

    def span(self, video_fps: float) -> int:
        """Video frames from the first to the last driving frame of a training window, both counted."""
        return (self.num_frames - 2) * self.train_step(video_fps) + 1


class SplitSettings(Section):
    """Which side of the split a video is on."""

    val_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of groups of videos for validation and the choice of the champion, by a hash.",
    )
    test_fraction: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of groups of videos for testing, by a hash; a split that the source gives wins.",
    )
    seed: int = Field(0, ge=0, description="Seed of the hash that splits the videos.")

    @model_validator(mode="after")
    def _split_fits(self) -> Self:
        if self.val_fraction + self.test_fraction > 1:
            raise ValueError(
                f"val_fraction and test_fraction must not exceed 1 together, "
                f"got {self.val_fraction:g} and {self.test_fraction:g}"
            )
        return self

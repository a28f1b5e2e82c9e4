"""What a person chooses about an animation: fields of the stage ``animate`` and options of the command."""

from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import Field, model_validator

from mimicmotion.diffusion.settings import SamplerSettings, SamplingChoices
from mimicmotion.errors import InputError
from mimicmotion.pose.layout import NUM_KEYPOINTS
from mimicmotion.pose.settings import AlignmentMode
from mimicmotion.settings import Section
from mimicmotion.video.size import Size

LARGEST_SEED: Final = 2**62


class SamplingSettings(SamplingChoices):
    """How to sample, before the checkpoint is known."""

    fast: bool = Field(
        False,
        description="A third of the steps, on the Align-Your-Steps table, guided only in the middle: nearly "
        "the same result in about 40 % of the time on a CPU.",
    )
    tile: int | None = Field(
        None, ge=2, description="Slots of a tile, the reference included; null takes the training clip's."
    )

    def problem_when_distilled(self) -> str | None:
        """Why a checkpoint distilled to a few single passes cannot be sampled so; None where it can."""
        name = "fast" if self.fast else "guidance_scale" if self.guidance_scale > 1 else None
        return name and (
            f"{name} is {getattr(self, name)}, but the checkpoint is distilled: it has learnt its guidance, "
            "and takes few steps. Leave fast out and set guidance_scale to 1; num_steps is free"
        )

    def overlap_of(self, tile: int) -> int:
        """Slots that tiles of this many share; the default shrinks where it does not fit.

        It follows from values alone, as keys do: whether the default was written plays no part.

        Raises:
            InputError: an overlap of one's own does not fit.
        """
        default = SamplingChoices.model_fields["overlap"].default
        if self.fusion == "none" or (self.overlap >= tile and self.overlap == default):
            return max(min(self.overlap, tile - 2), 0)
        if self.overlap >= tile:
            raise InputError(
                f"overlap is {self.overlap}, a tile has {tile} slots; allowed are 0 to {tile - 1}, "
                "or leave overlap out"
            )
        return self.overlap

    def sampler(self, trained_tile: int, distilled: bool = False, **told: Any) -> SamplerSettings:
        """The settings of the sampler for a checkpoint.

        Args:
            trained_tile: slots of the clips that the checkpoint was trained with.
            distilled: whether it is a student that samples in few single passes.
            told: further fields of ``SamplerSettings``.

        Raises:
            InputError: a distilled checkpoint with guidance or ``fast``, or an overlap that does not fit.
        """
        if distilled and (problem := self.problem_when_distilled()):
            raise InputError(problem)
        tile = self.tile or trained_tile
        choices = {**dict(self.part(SamplingChoices)), "overlap": self.overlap_of(tile)}
        settings = SamplerSettings(**choices, tile=tile, **told)
        return settings.fast() if self.fast else settings


class DrivingSettings(Section):
    """How driving poses are prepared, and frames decoded."""

    alignment: AlignmentMode = Field(
        "robust",
        description="How driving poses are brought onto the reference's body. none: only scaled with the "
        "picture; release: as released; robust: one scale and shift that hidden points do not disturb; "
        "limbs: robust, then each limb as long as the reference's.",
    )
    smoothing_s: float = Field(
        0.0, ge=0, description="Seconds over which jittery driving poses are averaged; 0 leaves them."
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the starting noise.")
    decode_chunk: int = Field(8, ge=1, description="Frames that the temporal decoder sees together.")
    tries: int = Field(
        1,
        ge=1,
        description="Seeds to try, one after the other from the seed on; the judge keeps the film of the "
        "best mean rank.",
    )

    @model_validator(mode="after")
    def _seeds_fit(self) -> Self:
        if (last := self.seed + self.tries - 1) > LARGEST_SEED:
            raise ValueError(f"seed + tries - 1 is {last}; it must be at most {LARGEST_SEED}")
        return self


class RequestSettings(DrivingSettings):
    """What a request says besides its files."""

    person: int = Field(0, ge=0, description="Which person drives; 0 is the main person.")
    size: Size | None = Field(
        None, description="WIDTHxHEIGHT of the result; null: as trained, 576x1024 or 1024x576 as released."
    )
    short_side_px: int | None = Field(
        None, description="Short side of the result at 9:16 or 16:9, a multiple of 64."
    )
    fps: float | None = Field(
        None,
        description="Frames per second of the result, by time; null: the video's, at most as many as the "
        "checkpoint was trained with (15 as released).",
    )
    keep_audio: bool = Field(True, description="Keep the driving video's sound.")


INPUTS: Final = {
    "image": ("uint8", (-1, -1, 3)),
    "reference_pose": ("float32", (NUM_KEYPOINTS, 3)),
    "poses": ("float32", (-1, NUM_KEYPOINTS, 3)),
}
"""What a request to a served model must have: name -> number type and shape."""
PARAMS: Final[Mapping[str, tuple[str, Any]]] = {
    "poses_size_px": ("long", []),
    "alignment": ("string", "robust"),
    "num_steps": ("long", None),
    "guidance_scale": ("double", None),
    "overlap": ("long", None),
    "seed": ("long", 0),
}
"""What it may have: name -> type and default; None leaves it to the checkpoint."""

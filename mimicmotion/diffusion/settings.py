"""How videos are sampled: what a person chooses, and what the sampler is told besides."""

import math
from typing import Annotated, Literal, Self

from pydantic import AllowInfNan, Field

from mimicmotion.settings import Section

Fusion = Literal["progressive", "release", "uniform", "first", "none"]
NoisePrior = Literal["repeated", "independent", "reference"]
FAST_STEPS = 0.32
SMALLEST_TILE = 8
"""Slots of the smallest tile that the sampler chooses itself; fewer frames show no motion."""
FAST_GUIDANCE_SIGMAS = (0.3, 20.0)


class SamplingChoices(Section):
    """What a person chooses; a field of the config's section ``animate`` and an option of the command."""

    num_steps: int = Field(25, ge=1, description="Denoising steps.")
    schedule: Literal["karras", "align_your_steps"] = Field(
        "karras", description="Noise levels: Karras as released, or SVD's Align-Your-Steps table."
    )
    sigma_max: float = Field(700.0, gt=0.002, description="First noise level of the Karras schedule.")
    guidance_scale: float = Field(
        2.0, ge=0, le=100, description="Classifier-free guidance; at most 1 means a single pass."
    )
    overlap: int = Field(
        6,
        ge=0,
        description="Slots that neighbouring tiles share, the reference included; where 6 does not fit, two "
        "less than the tile.",
    )
    fusion: Fusion = Field(
        "progressive",
        description="How predictions of overlapping tiles are joined. progressive: the paper's ramp; "
        "release: the released code's triangle; uniform: their mean; first: the first tile's; none: not at "
        "all, segments without overlap are denoised apart and joined at the end.",
    )
    noise: NoisePrior = Field(
        "repeated",
        description="Starting noise: one tile's over and over, new for every frame, or the reference's.",
    )


class SamplerSettings(SamplingChoices):
    """The choices, with what the checkpoint, the machine and a preset say."""

    guidance_sigmas: tuple[float, Annotated[float, AllowInfNan(True)]] = Field(
        (0.0, math.inf), description="Lowest and highest noise level at which guidance applies."
    )
    tile: int = Field(16, description="Slots of a tile, the reference included; as many as in training.")
    fps: float = Field(7.0, description="Rate the network is told; SVD wants one less, subtracted later.")
    motion_bucket_id: float = Field(127.0, description="How much motion the network is told, at most 255.")
    noise_aug_strength: float = Field(0.0, description="Noise in the reference that the network is told.")
    pose_strength: float = Field(1.0, ge=0, description="Factor on the pose features.")
    tile_batch_size: int = Field(1, description="Tiles in a network call; halved when memory runs out.")
    guidance_in_one_batch: bool = Field(
        True, description="Both branches of guidance in one call; two calls when memory runs out."
    )

    def fast(self) -> Self:
        """Return the settings with about a quarter of the network evaluations, a third without guidance.

        A third of the steps, on SVD's optimised noise levels, and guidance only in the middle of them: at
        higher noise it narrows what can come out, at lower noise it no longer matters (Kynkäänniemi et al.
        2024, arXiv 2404.07724).
        """
        return self.replaced(
            num_steps=max(round(FAST_STEPS * self.num_steps), 1),
            schedule="align_your_steps",
            guidance_sigmas=FAST_GUIDANCE_SIGMAS,
        )

    def smaller_tile(self, num_frames: int) -> Self | None:
        """Return the settings with half the tile, for want of memory; None where it would be too small.

        Args:
            num_frames: slots of the video, which may be shorter than a tile.
        """
        tile = min(self.tile, num_frames) // 2
        return (
            None if tile < SMALLEST_TILE else self.replaced(tile=tile, overlap=min(self.overlap, tile // 2))
        )

    def guided(self, sigma: float) -> bool:
        """Return whether the unconditional pass is needed at this noise level."""
        low, high = self.guidance_sigmas
        return self.guidance_scale > 1 and low <= sigma <= high

"""diffusers' video UNet with pose features added once, right after ``conv_in``.

Only the difference is ours. Upstream's forward hands its flattened sample to ``conv_in`` and to nothing
else, so pose features travel there joined to the sample on channels, and the layer adds them to its own
result. There is no state and no hook, so compiling, sharding, DDP and activation checkpointing see a plain
layer, and parameter names stay those of upstream and of released checkpoints.
"""

from functools import wraps
from typing import Any

import torch

# diffusers' pipelines look for ``ModelMixin`` in the module of a class to learn how to load it.
from diffusers import ModelMixin as ModelMixin
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionOutput
from jaxtyping import Float
from torch import Tensor, nn

from mimicmotion.model.attention import SingleTokenAttention, SplitAttention


class PosedConv(nn.Conv2d):
    """A convolution of the first ``in_channels`` channels, plus the channels behind them, if any."""

    def forward(self, joined: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """Return ``conv(sample) + features`` for (sample, features) joined on channels."""
        if joined.shape[1] == self.in_channels:
            return super().forward(joined)
        sample, features = joined.tensor_split([self.in_channels], dim=1)
        result = super().forward(sample)
        # Under autocast the convolution gives half precision while the joined input was promoted.
        return result + features.to(result.dtype)


class PoseUNet(UNetSpatioTemporalConditionModel):
    """SVD's denoising network, which follows a pose where one is given and is upstream's where none is.

    Arguments and config are upstream's.
    """

    conv_in: nn.Conv2d

    # Upstream's config reads the names of its fields from this signature.
    @wraps(UNetSpatioTemporalConditionModel.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        plain = self.conv_in
        self.conv_in = PosedConv(plain.in_channels, plain.out_channels, kernel_size=3, padding=1)
        self.set_attn_processor(
            {
                name: SingleTokenAttention() if "attn2" in name else SplitAttention()
                for name in self.attn_processors
            }
        )

    def forward(
        self,
        sample: Float[Tensor, "b f c h w"],
        timestep: Tensor | float,
        encoder_hidden_states: Float[Tensor, "b s d"],
        added_time_ids: Float[Tensor, "b 3"],
        pose_latents: Float[Tensor, "bf d h w"] | None = None,
        return_dict: bool = True,
    ) -> UNetSpatioTemporalConditionOutput | tuple[Tensor]:
        """Return the raw output (b, f, 4, h, w), upstream's output class or a tuple of one.

        Args:
            sample: scaled noisy latents and reference latents, joined on channels.
            timestep: c_noise, ln(sigma) / 4; one value or one for each sample.
            encoder_hidden_states: image embeddings.
            added_time_ids: fps - 1, motion bucket, noise augmentation.
            pose_latents: PoseNet's features of all frames of all samples, the frames of a sample in a
                row; None or zeros for no pose.
            return_dict: whether to return upstream's output class.
        """
        if pose_latents is not None:
            features = pose_latents.reshape(*sample.shape[:2], *pose_latents.shape[1:])
            sample = torch.cat([sample, features.to(sample.dtype)], dim=2)
        return super().forward(
            sample, timestep, encoder_hidden_states, added_time_ids, return_dict=return_dict
        )

"""Stable Video Diffusion, the backbone: its classes, kinds of layers and names of parts.

With ``unet.py`` this is what knows SVD's classes; the algebra of its noise and its added ids are in
``diffusion/edm.py``. Another backbone gives the same names.
"""

from collections.abc import Iterator
from typing import Any

from diffusers import AutoencoderKLTemporalDecoder
from diffusers.models.attention import BasicTransformerBlock, TemporalBasicTransformerBlock
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import nn
from transformers import CLIPVisionModelWithProjection

Vae = AutoencoderKLTemporalDecoder
"""Pictures to latents and, in runs of frames, back."""

ImageEncoder = CLIPVisionModelWithProjection
"""The reference picture to one embedding."""

BLOCKS: tuple[type[nn.Module], ...] = (SpatioTemporalResBlock, TransformerSpatioTemporalModel)
"""Residual blocks and whole transformers, none within another: what is compiled."""

LAYERS: tuple[type[nn.Module], ...] = (
    SpatioTemporalResBlock,
    BasicTransformerBlock,
    TemporalBasicTransformerBlock,
)
"""Residual blocks and the blocks within transformers: the finer kinds for activation checkpointing."""

ATTENTION_PARTS = (".attentions.",)
"""In the names of the UNet's transformers, spatial and temporal."""

TEMPORAL_PARTS = (
    "temporal_transformer_blocks.",
    "temporal_res_block.",
    "time_pos_embed.",
    "time_mixer.",
)
"""In the names of what joins frames."""


def is_idle(name: str) -> bool:
    """Return whether a parameter of this name changes nothing that the UNet puts out.

    SVD's cross-attention sees one token, so its weights are one whatever its queries and keys are, and
    whatever norm stands before the queries.
    """
    return "transformer_blocks." in name and any(
        part in name for part in (".attn2.to_q.", ".attn2.to_k.", ".norm2.")
    )


def unet_blocks(unet: Any) -> Iterator[nn.Module]:
    """Yield the UNet's large blocks in the order of the forward pass: the units of FSDP."""
    yield from unet.down_blocks
    yield unet.mid_block
    yield from unet.up_blocks

"""Pictures to latents and latents to pictures, in chunks; decoding streams."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mimicmotion.diffusion.memory import is_out_of_memory
from mimicmotion.diffusion.numbers import check_finite


@torch.no_grad()
def encode_frames(
    vae: Any, images: Float[Tensor, "n 3 height width"], chunk_size: int = 8
) -> Float[Tensor, "n 4 h w"]:
    """Return the mode of the posterior of each picture, **not** scaled, float32, on the VAE's device.

    A half-precision VAE that asks for it (``force_upcast``) encodes in float32.

    Args:
        vae: a ``Vae`` of ``model/svd.py``.
        images: pictures in [-1, 1], RGB, sides divisible by 8.
        chunk_size: pictures encoded at a time.
    """
    dtype = vae.dtype
    upcast = dtype == torch.float16 and vae.config.force_upcast
    if upcast:
        nn.Module.to(vae, torch.float32)  # that of diffusers warns, whatever the network
    try:
        modes = [
            vae.encode(chunk.to(vae.device, vae.dtype)).latent_dist.mode().float()
            for chunk in torch.split(images, chunk_size)
        ]
    finally:
        if upcast:
            nn.Module.to(vae, dtype)
    return torch.cat(modes)


def decode_frames(
    vae: Any, latents: Float[Tensor, "n 4 h w"], chunk_size: int = 8, skip: int = 0
) -> Iterator[np.ndarray]:
    """Yield frames, uint8 (height, width, 3) RGB; only one chunk of them is in memory.

    The temporal decoder sees ``chunk_size`` neighbouring frames at a time, as in the released code. When
    memory runs out, chunks are halved and decoding goes on.

    Args:
        vae: a ``Vae`` of ``model/svd.py``.
        latents: denoised latents times the scaling factor.
        chunk_size: frames decoded together; more of them agree better and take more memory.
        skip: frames at the beginning that are decoded with their neighbours but not given out.
    """
    begin = 0
    while begin < len(latents):
        chunk = latents[begin : begin + chunk_size]
        try:
            frames = _decode(vae, chunk)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(chunk) == 1:
                raise
            chunk_size = len(chunk) // 2
            continue
        yield from frames[max(skip - begin, 0) :]
        begin += len(chunk)


def round_trip(vae: Any, frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Return what the VAE alone makes of frames that it sees together: the best that its models can do."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = encode_frames(vae, pixels) * vae.config.scaling_factor
    return np.stack(list(decode_frames(vae, latents)))


@torch.no_grad()
def _decode(vae: Any, latents: Float[Tensor, "n 4 h w"]) -> np.ndarray:
    unscaled = (latents / vae.config.scaling_factor).to(vae.device, vae.dtype)
    pictures: Tensor = vae.decode(unscaled, num_frames=len(unscaled)).sample
    check_finite(pictures, "what the decoder of pictures gives")
    pixels = ((pictures.float() + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()

"""Image embeddings as SVD computes them: antialiased resize, CLIP normalisation, image encoder."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mimicmotion.video.size import Size


def embed_images(
    images: Float[Tensor, "n 3 h w"], image_encoder: Any, feature_extractor: Any
) -> Float[Tensor, "n 1 d"]:
    """Return one embedding (1, d) for each picture, in the encoder's dtype and on its device.

    Args:
        images: pictures in [-1, 1], RGB, of any size.
        image_encoder: an ``ImageEncoder`` of ``model/svd.py``; pictures are brought to its ``image_size``.
        feature_extractor: a ``CLIPImageProcessor``; its mean and std are used.
    """
    weight = next(image_encoder.parameters())
    side = image_encoder.config.image_size
    resized = resize_antialiased(images.to(weight.device, torch.float32), Size(side, side))
    mean, std = (
        torch.tensor(values, device=weight.device)[:, None, None]
        for values in (feature_extractor.image_mean, feature_extractor.image_std)
    )
    pixels = ((resized + 1) / 2 - mean) / std
    with torch.no_grad():
        embeds: Tensor = image_encoder(pixels.to(weight.dtype)).image_embeds
    return embeds[:, None]


def resize_antialiased(images: Float[Tensor, "n c h w"], size: Size) -> Float[Tensor, "n c H W"]:
    """Return pictures of another size: a Gaussian blur as wide as the shrinking, then bicubic points.

    Equal to what diffusers' SVD pipeline does, corners aligned.

    Args:
        images: pictures; each side at least 2 pixels.
        size: of the result.
    """
    blurred = images
    for dim, target in ((-1, size.width_px), (-2, size.height_px)):
        sigma = max((images.shape[dim] / target - 1) / 2, 0.001)
        blurred = _blur(blurred, dim, sigma)
    return functional.interpolate(blurred, size=size.shape, mode="bicubic", align_corners=True)


def _blur(images: Float[Tensor, "n c h w"], dim: int, sigma: float) -> Float[Tensor, "n c h w"]:
    """Blur along one axis with a window of two sigmas to each side, at least three pixels, always odd."""
    width = math.floor(max(4 * sigma, 3)) // 2 * 2 + 1
    offsets = torch.arange(width, device=images.device, dtype=images.dtype) - width // 2
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    shape, padding = [1, 1, 1, 1], [0, 0, 0, 0]
    shape[dim] = width
    # Padding is listed from the last axis backwards, two numbers for each.
    padding[2 * (-1 - dim)] = padding[2 * (-1 - dim) + 1] = width // 2
    padded = functional.pad(images, padding, mode="reflect").flatten(0, 1)[:, None]
    return functional.conv2d(padded, kernel.reshape(shape)).reshape(images.shape)

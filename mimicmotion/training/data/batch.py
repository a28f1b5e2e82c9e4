"""A batch of samples as tensors, and what the loss needs, from pictures or from stored latents.

What takes the host's time is done when a batch is put together, which a thread does ahead of training; after
that nothing waits for the GPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from mimicmotion.diffusion.edm import added_time_ids
from mimicmotion.training.data.samples import Sample

_ON_LATENTS, _ON_PIXELS = 0, 1


@dataclass(frozen=True)
class Batch:
    """Samples of one size, stacked; see ``Sample`` and ``Draw`` for what each part is.

    Attributes:
        noise: standard normal, for the latents.
        pixel_noise: the same for the reference picture; None where no picture is given or none is noised.
    """

    clip_ids: tuple[str, ...]
    frames: UInt8[Tensor, "b f height width 3"] | None
    latents: Float[Tensor, "b f c h w"] | None
    image_embeds: Float[Tensor, "b 1 d"] | None
    poses: UInt8[Tensor, "b f 3 height width"]
    hand_cells: Bool[Tensor, "b f h w"]
    hand_weights: Float[Tensor, "b f h w"]
    face_weights: Float[Tensor, "b f h w"]
    sigma: Float[Tensor, " b"]
    dropped: Bool[Tensor, " b"]
    reference_noise: Float[Tensor, " b"]
    noise: Float[Tensor, "b f c h w"]
    pixel_noise: Float[Tensor, "b 3 height width"] | None


@dataclass(frozen=True)
class Encoders:
    """The frozen networks, as functions.

    Attributes:
        latents: pictures (n, 3, h, w) in [-1, 1] to unscaled latents (n, c, h/8, w/8).
        embeddings: pictures to image embeddings (n, 1, d).
        pictures: scaled latents of one clip to frames, uint8 (n, h, w, 3).
        scale: what unscaled latents are multiplied by before they are noised.
        channels: of a latent.
    """

    latents: Callable[[Float[Tensor, "n 3 height width"]], Float[Tensor, "n c h w"]]
    embeddings: Callable[[Float[Tensor, "n 3 height width"]], Float[Tensor, "n 1 d"]]
    pictures: Callable[[Float[Tensor, "n c h w"]], UInt8[np.ndarray, "n height width 3"]]
    scale: float
    channels: int


def collate(samples: Sequence[Sample], channels: int) -> Batch:
    """Return the samples as one batch, each with the noise of its own seed.

    Args:
        samples: all of one size.
        channels: of a latent.
    """
    draws = [sample.draw for sample in samples]
    seeds = [draw.noise_seed for draw in draws]
    first = samples[0]
    frames, height, width = first.hand_cells.shape
    noised = first.frames is not None and any(draw.reference_noise for draw in draws)
    return Batch(
        clip_ids=tuple(sample.clip_id for sample in samples),
        frames=_stack([sample.frames for sample in samples]),
        latents=_stack([sample.latents for sample in samples]),
        image_embeds=_stack([sample.image_embedding for sample in samples]),
        poses=torch.from_numpy(np.stack([sample.poses for sample in samples])),
        hand_cells=torch.from_numpy(np.stack([sample.hand_cells for sample in samples])),
        hand_weights=torch.from_numpy(np.stack([sample.hand_weights for sample in samples])),
        face_weights=torch.from_numpy(np.stack([sample.face_weights for sample in samples])),
        sigma=torch.tensor([draw.sigma for draw in draws], dtype=torch.float32),
        dropped=torch.tensor([draw.dropped for draw in draws]),
        reference_noise=torch.tensor([draw.reference_noise for draw in draws], dtype=torch.float32),
        noise=_noise(seeds, _ON_LATENTS, (frames, channels, height, width)),
        pixel_noise=_noise(seeds, _ON_PIXELS, (3, *first.poses.shape[2:])) if noised else None,
    )


def _stack(arrays: Sequence[np.ndarray | None]) -> Tensor | None:
    given = [array for array in arrays if array is not None]
    return torch.from_numpy(np.stack(given)) if given else None


def _noise(seeds: Sequence[int], use: int, shape: tuple[int, ...]) -> Float[Tensor, "b ..."]:
    """Return standard normal noise, drawn on the host: the same for every kind of device."""
    rngs = [np.random.default_rng([seed, use]) for seed in seeds]
    return torch.from_numpy(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs]))


def pinned(batch: Batch, device: torch.device) -> Batch:
    """Return the batch in memory from which a GPU fetches by itself; as it is for a CPU."""
    if device.type != "cuda":
        return batch
    with torch.cuda.device(device):
        values = {field.name: getattr(batch, field.name) for field in fields(batch)}
        moved: dict[str, Any] = {
            name: value.pin_memory() for name, value in values.items() if isinstance(value, Tensor)
        }
    return replace(batch, **moved)


def as_pictures(values: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return bytes as floats in [-1, 1]."""
    return values.float() / 127.5 - 1


@torch.no_grad()
def loss_inputs(
    batch: Batch, encoders: Encoders, device: torch.device, fps: float, motion_bucket: float
) -> dict[str, Any]:
    """Return the keyword arguments of ``denoising_loss`` on the device.

    Args:
        batch: pictures, or latents with embeddings.
        encoders: used for pictures only, but for the scale.
        device: where they go.
        fps: see ``added_time_ids``.
        motion_bucket: see ``added_time_ids``.
    """

    def there(values: Tensor) -> Tensor:
        return values.to(device, non_blocking=True)  # which only pinned memory and a GPU can do

    reference_noise = there(batch.reference_noise)
    if batch.frames is not None:
        frames = as_pictures(there(batch.frames).permute(0, 1, 4, 2, 3))
        reference = frames[:, 0]
        unscaled = encoders.latents(frames.flatten(0, 1))
        unscaled = unscaled.reshape(*frames.shape[:2], *unscaled.shape[1:])
        embeds = encoders.embeddings(reference)
        reference_latents = unscaled[:, 0]
        if batch.pixel_noise is not None:
            noise = there(batch.pixel_noise)
            reference_latents = encoders.latents(reference + noise * reference_noise[:, None, None, None])
    else:
        assert batch.latents is not None
        assert batch.image_embeds is not None
        unscaled, embeds = there(batch.latents), there(batch.image_embeds)
        reference_latents = unscaled[:, 0]
    return {
        "latents": unscaled.float() * encoders.scale,
        "reference_latents": reference_latents.float(),
        "pose_images": as_pictures(there(batch.poses)),
        "image_embeds": embeds.float(),
        "time_ids": added_time_ids(fps, motion_bucket, reference_noise),
        "sigma": there(batch.sigma),
        "noise": there(batch.noise),
        "dropped": there(batch.dropped),
        "hand_cells": there(batch.hand_cells),
        "hand_weights": there(batch.hand_weights),
        "face_weights": there(batch.face_weights),
    }

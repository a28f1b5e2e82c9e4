"""A batch of samples as tensors, and what the loss needs, from pictures or from stored latents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from mimicmotion.training.loss import added_time_ids
from mimicmotion.training.samples import Sample

_ON_LATENTS, _ON_PIXELS = 0, 1


@dataclass(frozen=True)
class Batch:
    """Samples of one size, stacked; see ``Sample`` and ``Draw`` for what each part is."""

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
    noise_seeds: tuple[int, ...]


@dataclass(frozen=True)
class Encoders:
    """The frozen networks, as functions.

    Attributes:
        latents: pictures (n, 3, h, w) in [-1, 1] to unscaled latents (n, c, h/8, w/8).
        embeddings: pictures to image embeddings (n, 1, d).
        pictures: scaled latents of one clip to frames, uint8 (n, h, w, 3).
        scale: what unscaled latents are multiplied by before they are noised.
    """

    latents: Callable[[Float[Tensor, "n 3 height width"]], Float[Tensor, "n c h w"]]
    embeddings: Callable[[Float[Tensor, "n 3 height width"]], Float[Tensor, "n 1 d"]]
    pictures: Callable[[Float[Tensor, "n c h w"]], UInt8[np.ndarray, "n height width 3"]]
    scale: float


def collate(samples: Sequence[Sample]) -> Batch:
    """Return the samples as one batch."""
    draws = [sample.draw for sample in samples]
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
        noise_seeds=tuple(draw.noise_seed for draw in draws),
    )


def _stack(arrays: Sequence[np.ndarray | None]) -> Tensor | None:
    given = [array for array in arrays if array is not None]
    return torch.from_numpy(np.stack(given)) if given else None


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
    reference_noise = batch.reference_noise.to(device)
    if batch.frames is not None:
        frames = as_pictures(batch.frames.to(device).permute(0, 1, 4, 2, 3))
        reference = frames[:, 0]
        unscaled = encoders.latents(frames.flatten(0, 1))
        unscaled = unscaled.reshape(*frames.shape[:2], *unscaled.shape[1:])
        embeds = encoders.embeddings(reference)
        reference_latents = unscaled[:, 0]
        if batch.reference_noise.any():
            noise = _noise(batch, _ON_PIXELS, reference.shape[1:], device)
            reference_latents = encoders.latents(reference + noise * reference_noise[:, None, None, None])
    else:
        assert batch.latents is not None
        assert batch.image_embeds is not None
        unscaled, embeds = batch.latents.to(device), batch.image_embeds.to(device)
        reference_latents = unscaled[:, 0]
    return {
        "latents": unscaled.float() * encoders.scale,
        "reference_latents": reference_latents.float(),
        "pose_images": as_pictures(batch.poses.to(device)),
        "image_embeds": embeds.float(),
        "time_ids": added_time_ids(fps, motion_bucket, reference_noise),
        "sigma": batch.sigma.to(device),
        "noise": _noise(batch, _ON_LATENTS, unscaled.shape[1:], device),
        "dropped": batch.dropped.to(device),
        "hand_cells": batch.hand_cells.to(device),
        "hand_weights": batch.hand_weights.to(device),
        "face_weights": batch.face_weights.to(device),
    }


def _noise(batch: Batch, use: int, shape: Sequence[int], device: torch.device) -> Float[Tensor, "b ..."]:
    """Return standard normal noise, each sample's from its own seed: the same on every kind of device."""
    rngs = [np.random.default_rng([seed, use]) for seed in batch.noise_seeds]
    drawn = np.stack([rng.standard_normal(tuple(shape), dtype=np.float32) for rng in rngs])
    return torch.from_numpy(drawn).to(device)

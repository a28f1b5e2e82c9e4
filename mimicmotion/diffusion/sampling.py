"""Noise levels of a sampling run, the noise it starts from, and Euler's method: pure functions."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Float
from torch import Tensor

from mimicmotion.diffusion.edm import ALIGN_YOUR_STEPS_SVD
from mimicmotion.diffusion.settings import NoisePrior, SamplerSettings
from mimicmotion.errors import InputError


def karras_sigmas(
    num_steps: int, sigma_min: float = 0.002, sigma_max: float = 700.0, rho: float = 7.0
) -> list[float]:
    """Return ``num_steps`` falling noise levels and a final zero: Karras et al. 2022, equation 5.

    Raises:
        InputError: not at least one step.
    """
    _check_steps(num_steps)
    ramp = np.linspace(0, 1, num_steps)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return [*((high + ramp * (low - high)) ** rho).tolist(), 0.0]


def sigmas_of(settings: SamplerSettings) -> list[float]:
    """Return the noise levels of a run and a final zero."""
    if settings.schedule == "align_your_steps":
        return align_your_steps_sigmas(settings.num_steps)
    return karras_sigmas(settings.num_steps, sigma_max=settings.sigma_max)


def align_your_steps_sigmas(num_steps: int = 10) -> list[float]:
    """Return SVD's Align-Your-Steps levels and a final zero; log-linearly interpolated unless 10 steps.

    Raises:
        InputError: not at least one step.
    """
    _check_steps(num_steps)
    anchors = np.log(ALIGN_YOUR_STEPS_SVD)
    places = np.linspace(0, len(anchors) - 1, num_steps + 1)
    return [*np.exp(np.interp(places, np.arange(len(anchors)), anchors))[:-1].tolist(), 0.0]


def _check_steps(num_steps: int) -> None:
    if num_steps < 1:
        raise InputError(f"a sampling run of {num_steps} steps was asked for; it needs at least 1")


def initial_noise(
    prior: NoisePrior,
    num_frames: int,
    tile: int,
    shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
    reference: Float[Tensor, "c h w"] | None = None,
    reference_sigma: float = 12.0,
) -> Float[Tensor, "n c h w"]:
    """Return unit noise (num_frames, c, h, w), float32, to be scaled by the first noise level.

    Args:
        prior: ``repeated``: the noise of one tile over and over, as released. ``independent``: new for
            every frame. ``reference``: the reference diffused to ``reference_sigma`` and brought to unit
            variance, so that background and appearance agree between tiles (after UniAnimate,
            arXiv 2406.01188).
        num_frames: slots, the reference slot among them.
        tile: frames of a tile.
        shape: (c, h, w) of one frame.
        generator: source of randomness; its device may differ from ``device``.
        device: where the result lies.
        reference: scaled latents of the reference; needed by ``reference`` alone.
        reference_sigma: how far the reference is diffused.
    """
    drawn = tile if prior == "repeated" else num_frames
    noise = randn_tensor((drawn, *shape), generator=generator, device=device, dtype=torch.float32)
    if prior == "repeated":
        return repeat_noise(noise, num_frames)
    if prior == "reference":
        if reference is None:
            raise InputError("the noise prior 'reference' needs the reference latents; none were given")
        return (reference.float() + reference_sigma * noise) / math.sqrt(reference_sigma**2 + 1)
    return noise


def repeat_noise(noise: Float[Tensor, "t c h w"], num_frames: int) -> Float[Tensor, "n c h w"]:
    """Return the noise of one tile, repeated over the video and cut to its length."""
    return noise[torch.arange(num_frames, device=noise.device) % len(noise)]


def start(noise: Float[Tensor, "*frame"], sigmas: Sequence[float]) -> Float[Tensor, "*frame"]:
    """Return the noisy latents that a run over these levels starts from.

    The factor is sqrt(sigma^2 + 1), not sigma: it is the spread of noisy data of unit variance, and what the
    released sampler uses.
    """
    return noise * math.sqrt(sigmas[0] ** 2 + 1)


Denoiser = Callable[[Float[Tensor, "*frame"], float, int], Float[Tensor, "*frame"]]
"""Gives denoised latents for (noisy latents, sigma, step)."""

Callback = Callable[[int, float, Tensor], Tensor | None]
"""Called after each step with (step, sigma, latents); what it returns, if anything, goes on."""


def euler(
    denoise: Denoiser,
    noisy: Float[Tensor, "*frame"],
    sigmas: Sequence[float],
    callback: Callback | None = None,
) -> Float[Tensor, "*frame"]:
    """Return the sample that Euler's method reaches along falling noise levels.

    Args:
        denoise: the denoiser.
        noisy: latents at ``sigmas[0]``.
        sigmas: falling levels; the last one is where it ends, usually 0.
        callback: called after each step.
    """
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        noisy = torch.lerp(denoise(noisy, sigma, step), noisy, sigma_next / sigma)
        changed = callback(step, sigma, noisy) if callback is not None else None
        noisy = noisy if changed is None else changed
    return noisy

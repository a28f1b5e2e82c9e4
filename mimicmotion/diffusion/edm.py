"""SVD's EDM parameterisation with sigma_data = 1, its added ids, and the noise levels to train on.

The network gives a raw output F for c_in * noisy; the denoised latents are c_skip * noisy + c_out * F. The
EDM loss weight (sigma^2 + 1) / sigma^2 times c_out^2 is one, so the weighted loss on denoised latents equals
a plain mean squared error between F and ``raw_target``. Formulas: Karras et al. 2022 (arXiv 2206.00364),
table 1, with the v-prediction scaling of generative-models' svd.yaml.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

Sigma = Float[Tensor, "..."]
_ROUNDING = 1e-5


def c_skip(sigma: Sigma) -> Sigma:
    """Return how much of the noisy latents is in the denoised ones."""
    return 1 / (sigma**2 + 1)


def c_out(sigma: Sigma) -> Sigma:
    """Return how much of the raw output is in the denoised latents; negative."""
    return -sigma * torch.rsqrt(sigma**2 + 1)


def c_in(sigma: Sigma) -> Sigma:
    """Return what brings noisy latents to unit variance before they enter the network."""
    return torch.rsqrt(sigma**2 + 1)


def c_noise(sigma: Sigma) -> Sigma:
    """Return the network's ``timestep``."""
    return torch.log(sigma) / 4


def loss_weight(sigma: Sigma) -> Sigma:
    """Return EDM's weight of the squared error of the denoised latents."""
    return (sigma**2 + 1) / sigma**2


def add_noise(
    latents: Float[Tensor, " b *frame"], noise: Float[Tensor, " b *frame"], sigma: Float[Tensor, " b"]
) -> Float[Tensor, " b *frame"]:
    """Return noisy latents ``latents + sigma * noise``, one sigma for each sample."""
    return latents + _per_sample(sigma, latents) * noise


def denoised(
    raw: Float[Tensor, " b *frame"], noisy: Float[Tensor, " b *frame"], sigma: Float[Tensor, " b"]
) -> Float[Tensor, " b *frame"]:
    """Return denoised latents from the network's raw output."""
    s = _per_sample(sigma, noisy)
    return c_skip(s) * noisy + c_out(s) * raw


def raw_target(
    latents: Float[Tensor, " b *frame"], noise: Float[Tensor, " b *frame"], sigma: Float[Tensor, " b"]
) -> Float[Tensor, " b *frame"]:
    """Return the raw output that denoises exactly: ``(noise - sigma * latents) / sqrt(sigma^2 + 1)``."""
    s = _per_sample(sigma, latents)
    return (noise - s * latents) * c_in(s)


def raw_of(
    clean: Float[Tensor, " b *frame"], noisy: Float[Tensor, " b *frame"], sigma: Float[Tensor, " b"]
) -> Float[Tensor, " b *frame"]:
    """Return the raw output that ``denoised`` turns into these clean latents; sigma is above zero."""
    s = _per_sample(sigma, noisy)
    return (clean - c_skip(s) * noisy) / c_out(s)


def euler_step(
    clean: Float[Tensor, " b *frame"],
    noisy: Float[Tensor, " b *frame"],
    sigma: Float[Tensor, " b"],
    sigma_next: Float[Tensor, " b"],
) -> Float[Tensor, " b *frame"]:
    """Return the latents that Euler's method reaches at the next level, given the denoised ones."""
    return torch.lerp(clean, noisy, _per_sample(sigma_next / sigma, noisy).to(noisy.dtype))


def _per_sample(sigma: Float[Tensor, " b"], like: Tensor) -> Tensor:
    return sigma.reshape(-1, *(1,) * (like.ndim - 1))


def added_time_ids(
    fps: float, motion_bucket: float, noise_augmentation: Float[Tensor, " b"]
) -> Float[Tensor, "b 3"]:
    """Return the ids in the order SVD was trained with: fps - 1, motion bucket, noise augmentation.

    Args:
        fps: frames per second that the clip is said to have; the subtraction happens here.
        motion_bucket: at most 255; 127 everywhere in this family.
        noise_augmentation: standard deviation of the noise that each reference picture really got; its number
            type and device are those of the ids.
    """
    ids = torch.empty(
        len(noise_augmentation), 3, device=noise_augmentation.device, dtype=noise_augmentation.dtype
    )
    ids[:, 0] = fps - 1
    ids[:, 1] = motion_bucket
    ids[:, 2] = noise_augmentation
    return ids


class NoiseDistribution(Protocol):
    """Noise levels to train on."""

    def sigmas(self, uniform: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return sigma at these quantiles, growing with them; uniform draws give the distribution."""


@dataclass(frozen=True)
class LogNormal:
    """ln sigma is normal."""

    mean: float
    std: float

    def sigmas(self, uniform: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return sigma at these quantiles."""
        # Quantiles 0 and 1 lie at infinity; float32 draws do contain 0.
        quantiles = uniform.double().clamp(1e-6, 1 - 1e-6)
        return torch.exp(self.mean + self.std * torch.special.ndtri(quantiles)).to(uniform.dtype)


@dataclass(frozen=True)
class CosineInterpolated:
    """The shifted cosine schedule between two picture sizes, as in Hoogeboom et al. 2023 and k-diffusion.

    ln(signal / noise) goes from the schedule of one size to that of the other as the quantile does. In
    k-diffusion (``rand_cosine_interpolated``) low and high are ends of its time, which runs from much noise
    to little; here they are named in the same way.

    Args:
        image_size: side of the picture in latents that the schedule is made for.
        noise_size_low: side whose schedule holds at the highest noise.
        noise_size_high: side whose schedule holds at the lowest noise.
        sigma_data: standard deviation of the data.
        sigma_min: lowest level.
        sigma_max: highest level.
    """

    image_size: float = 64
    noise_size_low: float = 32
    noise_size_high: float = 64
    sigma_data: float = 0.5
    sigma_min: float = 0.002
    sigma_max: float = 700.0

    def sigmas(self, uniform: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return sigma at these quantiles."""
        low = self._log_snr(uniform, self.noise_size_low)
        high = self._log_snr(uniform, self.noise_size_high)
        return torch.exp(-torch.lerp(high, low, uniform) / 2) * self.sigma_data

    def _log_snr(self, uniform: Tensor, noise_size: float) -> Tensor:
        shift = 2 * math.log(noise_size / self.image_size)
        start = math.atan(math.exp(math.log(self.sigma_min / self.sigma_data) + shift / 2))
        end = math.atan(math.exp(math.log(self.sigma_max / self.sigma_data) + shift / 2))
        return -2 * torch.log(torch.tan(start + uniform * (end - start))) + shift


@dataclass(frozen=True)
class LogLinear:
    """Time runs evenly from one level of a table to the next, and ln sigma evenly within each stretch.

    Args:
        table: noise levels, falling.
    """

    table: tuple[float, ...]

    def sigmas(self, uniform: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return sigma at these quantiles, which are times counted from the end of the table."""
        logs = self._logs(uniform)
        place = uniform * (len(logs) - 1)
        below = place.long().clamp(0, len(logs) - 2)
        return torch.exp(torch.lerp(logs[below], logs[below + 1], place - below))

    def after(self, sigma: Float[Tensor, " b"], num_steps: int) -> Float[Tensor, " b"]:
        """Return the level that one of ``num_steps`` even steps through the table reaches from sigma.

        Where the table ends it is zero.
        """
        logs, log = self._logs(sigma), torch.log(sigma)
        below = (torch.searchsorted(logs, log) - 1).clamp(0, len(logs) - 2)
        place = below + (log - logs[below]) / (logs[below + 1] - logs[below])
        time = place / (len(logs) - 1) - 1 / num_steps
        return torch.where(time > _ROUNDING, self.sigmas(time), torch.zeros_like(sigma))

    def _logs(self, like: Tensor) -> Float[Tensor, " levels"]:
        """Logarithms of the table, growing."""
        return torch.tensor(self.table[::-1], device=like.device, dtype=like.dtype).log()


ALIGN_YOUR_STEPS_SVD = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)
"""Optimised for SVD with 10 steps: Sabour et al. 2024 (arXiv 2404.14507), appendix B."""

ALIGN_YOUR_STEPS = LogLinear(ALIGN_YOUR_STEPS_SVD)

NOISE_PRESETS: Mapping[str, NoiseDistribution] = MappingProxyType(
    {"svd": LogNormal(0.7, 1.6), "cosine": CosineInterpolated(), "align_your_steps": ALIGN_YOUR_STEPS}
)
"""``svd``: as SVD was trained. ``cosine``: as StableAnimator and ControlNeXt were. ``align_your_steps``: even
in the time of a sampling run over SVD's Align-Your-Steps levels, for distillation."""

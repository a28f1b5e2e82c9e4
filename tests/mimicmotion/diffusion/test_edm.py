"""Identities of the EDM parameterisation, and the distributions of noise levels."""

import math

import pytest
import torch

from mimicmotion.diffusion import edm
from mimicmotion.diffusion.sampling import align_your_steps_sigmas


def test_weighted_loss_equals_plain_mse_on_raw_output() -> None:
    generator = torch.Generator().manual_seed(0)
    x, noise, raw = (torch.randn(6, 4, 5, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    sigma = torch.tensor([0.002, 0.1, 1.0, 2.0, 50.0, 700.0], dtype=torch.float64)
    noisy = edm.add_noise(x, noise, sigma)
    error = (edm.denoised(raw, noisy, sigma) - x) ** 2
    weighted = error * edm.loss_weight(sigma)[:, None, None, None]
    torch.testing.assert_close(weighted, (raw - edm.raw_target(x, noise, sigma)) ** 2, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(edm.c_out(sigma) ** 2 * edm.loss_weight(sigma), torch.ones(6).double())


def test_raw_target_denoises_exactly() -> None:
    x, noise = torch.ones(3, 4, 2, 2), torch.full((3, 4, 2, 2), -2.0)
    sigma = torch.tensor([0.05, 1.0, 20.0])
    noisy = edm.add_noise(x, noise, sigma)
    torch.testing.assert_close(edm.denoised(edm.raw_target(x, noise, sigma), noisy, sigma), x)


def test_noisy_latents_enter_the_network_with_unit_variance() -> None:
    sigma = torch.tensor([0.5, 700.0])
    torch.testing.assert_close(edm.c_in(sigma) ** 2 * (1 + sigma**2), torch.ones(2))
    torch.testing.assert_close(edm.c_noise(torch.tensor([math.exp(4.0)])), torch.ones(1))


def test_svd_preset_has_the_paper_order_of_mean_and_spread() -> None:
    """The median is e^0.7 = 2.0; with mean and spread swapped it would be 4.95."""
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    sigma = edm.NOISE_PRESETS["svd"].sigmas(uniform)
    logs = sigma.log()
    assert abs(logs.mean() - 0.7) < 0.05
    assert abs(logs.std() - 1.6) < 0.05
    assert torch.isfinite(edm.NOISE_PRESETS["svd"].sigmas(torch.tensor([0.0, 1.0]))).all()


def test_cosine_preset_is_the_published_one() -> None:
    """Against k-diffusion's formula, whose time t falls from 1 to 0 as sigma grows."""

    def published(t: float) -> float:
        most, least = 700 / 0.5, 0.002 / 0.5
        log_snr = []
        for noise_d in (32, 64):
            shift = 2 * math.log(noise_d / 64)
            begin = math.atan(math.exp(math.log(most) + shift / 2))
            end = math.atan(math.exp(math.log(least) + shift / 2))
            log_snr.append(-2 * math.log(math.tan(begin + t * (end - begin))) + shift)
        return 0.5 * math.exp(-((1 - t) * log_snr[0] + t * log_snr[1]) / 2)

    quantiles = [0.05, 0.25, 0.75, 0.95]
    levels = edm.NOISE_PRESETS["cosine"].sigmas(torch.tensor(quantiles, dtype=torch.float64)).tolist()
    assert levels == pytest.approx([published(1 - quantile) for quantile in quantiles], rel=1e-9)
    assert levels == pytest.approx([0.04265, 0.24797, 2.0283, 12.085], rel=1e-3)


def test_cosine_preset_reaches_its_ends_and_grows() -> None:
    levels = edm.NOISE_PRESETS["cosine"].sigmas(torch.linspace(0, 1, 101, dtype=torch.float64))
    torch.testing.assert_close(levels[[0, -1]], torch.tensor([0.002, 700.0]).double())
    assert (levels.diff() > 0).all()


def test_align_your_steps_preset_is_even_in_the_time_of_its_sampling_run() -> None:
    preset = edm.ALIGN_YOUR_STEPS
    levels = preset.sigmas(torch.linspace(0, 1, 11, dtype=torch.float64))
    torch.testing.assert_close(levels, torch.tensor(edm.ALIGN_YOUR_STEPS_SVD[::-1], dtype=torch.float64))
    assert (preset.sigmas(torch.linspace(0, 1, 101)).diff() > 0).all()


@pytest.mark.parametrize("num_steps", [1, 3, 10, 25])
def test_the_level_after_is_the_next_of_the_sampling_run(num_steps: int) -> None:
    levels = torch.tensor(align_your_steps_sigmas(num_steps))
    torch.testing.assert_close(
        edm.ALIGN_YOUR_STEPS.after(levels[:-1], num_steps), levels[1:], rtol=1e-4, atol=0
    )

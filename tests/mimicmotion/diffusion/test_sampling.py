"""Noise levels, starting noise and Euler's method with a denoiser known in closed form."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler

from mimicmotion.diffusion import sampling
from mimicmotion.errors import InputError


# diffusers hands tensors to numpy in a way that numpy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_karras_sigmas_are_those_of_the_released_scheduler() -> None:
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        timestep_spacing="leading",
        timestep_type="continuous",
        steps_offset=1,
    )
    scheduler.set_timesteps(25)
    sigmas = sampling.karras_sigmas(25)
    np.testing.assert_allclose(sigmas, scheduler.sigmas.numpy(), rtol=1e-5)
    noisy = sampling.start(torch.ones(1), sigmas)
    assert noisy.item() == pytest.approx(float(scheduler.init_noise_sigma))


def test_align_your_steps_table_and_its_interpolation() -> None:
    table = sampling.ALIGN_YOUR_STEPS_SVD
    np.testing.assert_allclose(sampling.align_your_steps_sigmas(10), [*table[:-1], 0.0])
    twenty = sampling.align_your_steps_sigmas(20)
    np.testing.assert_allclose(twenty[:-1:2], table[:-1])
    assert twenty[1] == pytest.approx(math.sqrt(table[0] * table[1]))
    assert sampling.align_your_steps_sigmas(1) == [pytest.approx(700.0), 0.0]


@pytest.mark.parametrize("make", [sampling.karras_sigmas, sampling.align_your_steps_sigmas])
def test_zero_steps_are_refused(make: object) -> None:
    with pytest.raises(InputError, match="0 steps"):
        make(0)


def test_euler_converges_to_the_analytic_sample() -> None:
    """For data ~ N(0, s^2) the ODE's solution is x(0) = x(T) s / sqrt(s^2 + T^2)."""
    spread = 0.5
    noisy = torch.tensor([30.0, -70.0, 3.0], dtype=torch.float64)
    exact = noisy * spread / math.sqrt(spread**2 + 80.0**2)

    def denoise(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        return x * spread**2 / (spread**2 + sigma**2)

    errors = []
    for steps in (20, 40, 80):
        sigmas = sampling.karras_sigmas(steps, sigma_max=80.0)
        errors.append(float((sampling.euler(denoise, noisy, sigmas) - exact).abs().max()))
    for coarse, fine in pairwise(errors):
        assert coarse / fine > 1.7
    assert errors[2] < 0.02


def test_euler_ends_exactly_at_the_denoised_latents_and_listens_to_its_callback() -> None:
    seen: list[tuple[int, float]] = []

    def callback(step: int, sigma: float, x: torch.Tensor) -> torch.Tensor | None:
        seen.append((step, sigma))
        return x + 1 if step == 1 else None

    target = torch.tensor([0.25, -3.0])
    sigmas = [700.0, 1.0, 0.0]
    result = sampling.euler(lambda x, sigma, step: target, torch.full((2,), 500.0), sigmas, callback)
    assert torch.equal(result, target + 1)
    assert seen == [(0, 700.0), (1, 1.0)]


def test_noise_priors() -> None:
    def noise(prior: sampling.NoisePrior, frames: int, **more: object) -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        return sampling.initial_noise(prior, frames, 4, (4, 8, 8), generator=generator, **more)

    repeated = noise("repeated", 10)
    assert torch.equal(repeated[:4], repeated[4:8])
    assert torch.equal(repeated[8:], repeated[:2])
    # A longer video starts from the same noise.
    assert torch.equal(noise("repeated", 3), repeated[:3])

    independent = noise("independent", 10)
    assert not torch.equal(independent[:4], independent[4:8])

    reference = torch.full((4, 8, 8), 5.0)
    prior = noise("reference", 200, reference=reference, reference_sigma=12.0)
    assert prior.mean().item() == pytest.approx(5 / math.sqrt(145), abs=0.02)
    assert prior.std().item() == pytest.approx(12 / math.sqrt(145), abs=0.02)
    with pytest.raises(InputError, match="reference latents"):
        noise("reference", 3)

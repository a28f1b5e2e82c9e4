"""Consistency distillation in EDM time: a student of few steps from a teacher of many (arXiv 2303.01469).

The student learns to give the same denoised latents at every level of one sampling run of its teacher. Its
target at one level is its own output, without gradient, one guided Euler step of the teacher later. Where
that step ends at zero, the target is where the teacher ended: at zero ``edm.denoised`` gives its input
back whatever the network says. This is the boundary condition that such a student needs. The student has
the form of its teacher, so it starts as the teacher and is sampled by the same code.

The target is the student as it is, not its moving average (Song and Dhariwal 2023, arXiv 2310.14189, section
3.2): nothing is gained by the average there, and shards need not hold it a second time.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mimicmotion.diffusion.edm import ALIGN_YOUR_STEPS, denoised, euler_step, raw_of
from mimicmotion.training.loss import Denoiser, RawOutput

_LOWEST = 1e-4
"""Level that the network is told where its output plays no part: at zero, whose logarithm is not finite."""


@dataclass(frozen=True)
class Teacher:
    """Gives the student's targets.

    Attributes:
        network: the trained network, frozen.
        guidance_scale: its guidance; at most 1 is a single pass, as in sampling.
        num_steps: of its sampling run.
    """

    network: nn.Module
    guidance_scale: float
    num_steps: int

    @torch.no_grad()
    def target(
        self,
        student: Denoiser,
        raw_output: RawOutput,
        noisy: Float[Tensor, "b f c h w"],
        sigma: Float[Tensor, " b"],
        dropped: Bool[Tensor, " b"],
    ) -> Float[Tensor, "b f c h w"]:
        """Return the raw output that the student shall give at these levels; see ``denoising_loss``."""
        raw = raw_output(self.network, noisy, sigma, dropped)
        if self.guidance_scale > 1:
            without = raw_output(self.network, noisy, sigma, torch.ones_like(dropped))
            raw = torch.lerp(without, raw, self.guidance_scale)
        sigma_next = ALIGN_YOUR_STEPS.after(sigma, self.num_steps)
        later = euler_step(denoised(raw, noisy, sigma), noisy, sigma, sigma_next)
        own = raw_output(student, later, sigma_next.clamp(min=_LOWEST), dropped)
        return raw_of(denoised(own, later, sigma_next), noisy, sigma)

"""Loss on fixed noise and pictures of fixed test clips: the same work at every visit, so visits compare."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mimicmotion.clips.windows import far_frames
from mimicmotion.diffusion.edm import NOISE_PRESETS
from mimicmotion.diffusion.sampler import sample_latents
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.training.data.batch import Encoders, collate, loss_inputs
from mimicmotion.training.data.samples import Clip, Draw, Sample, make_sample
from mimicmotion.training.job import TrainingJob
from mimicmotion.training.loss import Teacher, denoising_loss
from mimicmotion.training.network import PosedDenoiser

_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)


class Validation:
    """Fixed test clips, encoded once.

    Every worker does all of it, since a sharded network needs all workers in every call.

    Args:
        clips: test clips; each stands for itself, whatever its size.
        job: the run.
        encoders: the frozen networks.
        device: where to compute.
    """

    def __init__(self, clips: list[Clip], job: TrainingJob, encoders: Encoders, device: torch.device) -> None:
        self._job = job
        self._encoders = encoders
        self._device = device
        self.samples = [self._sample(number, clip) for number, clip in enumerate(clips)]
        self._inputs = [self._encoded(sample) for sample in self.samples]

    def _sample(self, number: int, clip: Clip) -> Sample:
        far = far_frames(np.array(clip.references), clip.frames[0], clip.frames[-1], clip.reference_distance)
        noise = self._job.settings.told_noise.get("noise_aug_strength", 0.0)
        fixed = Draw(
            clip.frames, int(far[0]), sigma=1.0, reference_noise=noise, dropped=False, noise_seed=number
        )
        return make_sample(replace(clip, latents=None), fixed, self._job.settings)

    def _encoded(self, sample: Sample) -> dict[str, Any]:
        """Inputs of the loss, on the host between visits: drawn poses are large."""
        job = self._job
        batch = collate([sample], self._encoders.channels)
        inputs = loss_inputs(
            batch, self._encoders, self._device, job.settings.fps, job.settings.motion_bucket
        )
        return {name: value.cpu() for name, value in inputs.items()}

    def _fetched(self) -> Iterator[dict[str, Any]]:
        """The inputs of one clip after another, on the device."""
        for inputs in self._inputs:
            yield {name: value.to(self._device) for name, value in inputs.items()}

    @torch.no_grad()
    def loss(self, network: PosedDenoiser, teacher: Teacher | None = None) -> float:
        """Return the mean loss over clips and fixed noise levels, with hand weights."""
        quantiles = torch.tensor(_QUANTILES, dtype=torch.float64)
        levels = NOISE_PRESETS[self._job.settings.noise].sigmas(quantiles).float().to(self._device)
        losses = [
            denoising_loss(network, teacher=teacher, **{**inputs, "sigma": sigma[None]}).total
            for inputs in self._fetched()
            for sigma in levels
        ]
        return float(torch.stack(losses).mean())

    @torch.no_grad()
    def generate(self, network: PosedDenoiser) -> list[np.ndarray]:
        """Return the generated driving frames of each clip, uint8 (f, h, w, 3), without slot 0."""
        return [self._generated(network, inputs) for inputs in self._fetched()]

    def _generated(self, network: PosedDenoiser, inputs: dict[str, Any]) -> np.ndarray:
        num_frames = inputs["latents"].shape[1]
        runtime = self._job.runtime
        choices = {"num_steps": runtime.sample_steps, "guidance_scale": runtime.sample_guidance_scale}
        settings = SamplerSettings(
            **{**choices, **self._job.settings.sampling, **self._job.settings.told_noise},
            tile=num_frames,
            overlap=0,
            # A worker that is short of memory would call a sharded network more often than the others do.
            guidance_in_one_batch=self._job.runtime.strategy != "fsdp",
            fps=self._job.settings.fps,
            motion_bucket_id=self._job.settings.motion_bucket,
        )
        latents = sample_latents(
            network.unet,
            network.pose_net(inputs["pose_images"][0]),
            inputs["image_embeds"],
            inputs["reference_latents"][0],
            num_frames=num_frames,
            settings=settings,
            noise=inputs["noise"][0],
            scaling_factor=self._encoders.scale,
            retiles=self._job.runtime.strategy != "fsdp",
        )
        return self._encoders.pictures(latents)[1:]

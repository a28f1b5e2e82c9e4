"""The released plan of work for a film, to compare ours with: PoseNet for every tile and step, the UNet once
for each branch of guidance."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mimicmotion.diffusion import edm, sampling
from mimicmotion.diffusion.fusion import fusion_weights, tiles
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet


@dataclass
class World:
    """Networks and conditions."""

    unet: PoseUNet
    pose_net: PoseNet
    embeds: Tensor
    reference: Tensor


@torch.no_grad()
def released_plan(world: World, poses: Tensor, noise: Tensor, settings: SamplerSettings) -> Tensor:
    """Return latents by the released order of work, in the network's number type and on its device."""
    num, sigmas = len(poses), sampling.sigmas_of(settings)
    dtype, device = world.unet.dtype, world.unet.device
    parts = tiles(num, settings.tile, settings.overlap)
    weights = fusion_weights(settings.fusion, parts, num).to(device)
    ids = [[settings.fps - 1, settings.motion_bucket_id, settings.noise_aug_strength]]
    time_ids = torch.tensor(ids, device=device, dtype=dtype)

    def denoise(noisy: Tensor, sigma: float, step: int) -> Tensor:
        level = torch.tensor([sigma], device=device)
        raw = torch.zeros_like(noisy)
        for tile, weight in zip(parts, weights, strict=True):
            frames = torch.tensor(tile, device=device)
            scaled = (noisy[frames][None] * edm.c_in(level)).to(dtype)
            outputs = []
            for posed in (0.0, 1.0):
                reference = (world.reference * posed).expand_as(scaled)
                features = world.pose_net(poses[frames]) if posed else None
                sample = torch.cat([scaled, reference], dim=2)
                condition = (edm.c_noise(level), world.embeds * posed, time_ids)
                outputs.append(
                    world.unet(sample, *condition, pose_latents=features, return_dict=False)[0][0].float()
                )
            guided = outputs[0] + settings.guidance_scale * (outputs[1] - outputs[0])
            raw[frames] += guided * weight[:, None, None, None]
        return edm.denoised(raw, noisy, level)

    return sampling.euler(denoise, sampling.start(sampling.repeat_noise(noise, num), sigmas), sigmas)

"""Our sampler against the released plan of work: same run, same weights, same result.

    python benchmarks/sampler.py speed             # network evaluations and seconds, as a table and JSON
    python benchmarks/sampler.py memory            # peak memory at 200 and at 1,000 frames

The released plan calls PoseNet for every tile and step, and the UNet once for each branch of guidance, with
upstream's attention to the image embedding.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor

from mimicmotion.diffusion import edm, sampling
from mimicmotion.diffusion.fusion import fusion_weights, tiles
from mimicmotion.diffusion.sampler import sample_latents
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.model.latents import decode_frames
from mimicmotion.model.pose_features import compute_pose_features
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet

HEIGHT, WIDTH, EMBEDDING = 192, 128, 64
MEMORY_FRAMES = (200, 1000)


@dataclass
class World:
    """Networks of 46 million parameters with random weights, conditions, and counts of their work."""

    unet: PoseUNet
    pose_net: PoseNet
    embeds: Tensor
    reference: Tensor
    unet_samples: int = 0
    pose_frames: int = 0


def make_world(widths: tuple[int, ...], layers: int) -> World:
    """Return networks whose work is counted."""
    torch.manual_seed(0)
    unet = PoseUNet(
        block_out_channels=widths,
        layers_per_block=layers,
        cross_attention_dim=EMBEDDING,
        num_attention_heads=tuple(width // 32 for width in widths),
        addition_time_embed_dim=64,
        projection_class_embeddings_input_dim=192,
    ).eval()
    pose_net = PoseNet(out_channels=widths[0]).eval()
    torch.nn.init.normal_(pose_net.final_proj.weight, std=0.1)
    embeds, reference = torch.randn(1, 1, EMBEDDING), torch.randn(4, HEIGHT // 8, WIDTH // 8)
    world = World(unet, pose_net, embeds, reference)

    def count_unet(_: object, inputs: tuple[Tensor, ...]) -> None:
        world.unet_samples += len(inputs[0])

    def count_pose(_: object, inputs: tuple[Tensor, ...]) -> None:
        world.pose_frames += len(inputs[0])

    unet.register_forward_pre_hook(count_unet)
    pose_net.register_forward_pre_hook(count_pose)
    return world


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


def our_plan(world: World, poses: Tensor, noise: Tensor, settings: SamplerSettings) -> Tensor:
    """Return latents as the project makes them."""
    with compute_pose_features(world.pose_net, poses, (HEIGHT, WIDTH)) as features:
        return sample_latents(
            world.unet,
            features,
            world.embeds,
            world.reference,
            num_frames=len(poses),
            settings=settings,
            noise=noise,
        )


def measure(world: World, work: Callable[[], Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Return a result and what it cost: seconds of CPU (other jobs may run) and network evaluations."""
    world.unet_samples = world.pose_frames = 0
    begin, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - begin,
        "unet_tile_evaluations": world.unet_samples,
        "pose_net_frames": world.pose_frames,
    }


def speed(num_frames: int, num_steps: int, repeats: int) -> dict[str, object]:
    """Return costs of both plans, the best of interleaved repeats, and how far their results differ."""
    world = make_world((64, 128, 192, 256), 2)
    settings = SamplerSettings(num_steps=num_steps, tile=8, overlap=3, fusion="release")
    generator = torch.Generator().manual_seed(0)
    poses = torch.rand(num_frames, 3, HEIGHT, WIDTH, generator=generator) * 2 - 1
    noise = torch.randn(8, 4, HEIGHT // 8, WIDTH // 8, generator=generator)
    ours_processors = dict(world.unet.attn_processors)
    costs: dict[str, dict[str, float]] = {}
    results: dict[str, Tensor] = {}
    for _ in range(repeats):
        for name, plan in (("released", released_plan), ("ours", our_plan)):
            plain = {key: AttnProcessor2_0() for key in ours_processors}
            world.unet.set_attn_processor(plain if name == "released" else dict(ours_processors))
            results[name], cost = measure(world, lambda plan=plan: plan(world, poses, noise, settings))
            if name not in costs or cost["cpu_s"] < costs[name]["cpu_s"]:
                costs[name] = cost
    return {
        "parameters_m": sum(p.numel() for p in world.unet.parameters()) / 1e6,
        "frames": num_frames,
        "steps": num_steps,
        "plans": costs,
        "time_ratio": costs["ours"]["cpu_s"] / costs["released"]["cpu_s"],
        "max_difference": float((results["ours"] - results["released"]).abs().max()),
    }


def peak_of_one_run(num_frames: int) -> float:
    """Return this process's peak memory in MiB after poses went in and frames came out as streams."""
    world = make_world((32, 32, 64, 64), 1)
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4
    )

    def poses() -> Iterator[np.ndarray]:
        source = np.random.default_rng(0)
        for _ in range(num_frames):
            yield source.integers(0, 256, (3, HEIGHT, WIDTH), np.uint8)

    settings = SamplerSettings(num_steps=1, tile=16, overlap=4, guidance_scale=1.0)
    with compute_pose_features(world.pose_net, poses(), (HEIGHT, WIDTH)) as features:
        latents = sample_latents(
            world.unet,
            features,
            world.embeds,
            world.reference,
            num_frames=num_frames,
            settings=settings,
            generator=torch.Generator().manual_seed(0),
        )
    num_decoded = sum(1 for _ in decode_frames(vae, latents, skip=1))
    if num_decoded != num_frames - 1:
        raise RuntimeError(f"{num_decoded} frames came out of {num_frames} slots")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(repeats: int) -> dict[str, float]:
    """Return peak memory in MiB for each length, the median of fresh processes in turn, and their ratio."""
    runs: dict[int, list[float]] = {num_frames: [] for num_frames in MEMORY_FRAMES}
    for _ in range(repeats):
        for num_frames, found in runs.items():
            command = [sys.executable, __file__, "peak", "--frames", str(num_frames)]
            found.append(float(subprocess.check_output(command, text=True)))
    peaks = {num_frames: median(found) for num_frames, found in runs.items()}
    short, long = (peaks[num_frames] for num_frames in MEMORY_FRAMES)
    return {f"peak_mib_{num}": peak for num, peak in peaks.items()} | {"ratio": long / short}


def main() -> None:
    """Print the asked measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory", "peak"))
    parser.add_argument("--frames", type=int, default=18, help="slots of the video, the reference included")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    if asked.what == "peak":
        print(peak_of_one_run(asked.frames))
        return
    if asked.what == "memory":
        print(json.dumps(memory(asked.repeats), indent=1))
        return
    result = speed(asked.frames, asked.steps, asked.repeats)
    plans = result["plans"]
    print(f"{'plan':<10}{'CPU s':>9}{'wall s':>9}{'UNet tiles':>12}{'PoseNet frames':>16}")
    for name, cost in plans.items():
        print(
            f"{name:<10}{cost['cpu_s']:>9.2f}{cost['wall_s']:>9.2f}"
            f"{cost['unet_tile_evaluations']:>12}{cost['pose_net_frames']:>16}"
        )
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

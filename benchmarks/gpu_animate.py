"""A whole animation on a GPU: 72 frames of 576x1024, 25 steps, guidance 2, against the release's plan.

    python benchmarks/gpu_animate.py             # SVD-XT's shape, random weights
    python benchmarks/gpu_animate.py --small     # the same on a CPU, at a size that says nothing about speed

The table adds what the project does step by step: one denoising step each, from which, with PoseNet's own
time, a whole video's time follows (``video_s``). The first, the last and the fast preset also run whole.
Then: roofline of the parts, decoding by chunk, peak memory by length, and what remains as largest costs.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from gpu_machine import (
    DTYPES,
    Machine,
    Row,
    arguments,
    largest_costs,
    measure,
    measure_machine,
    peak_gb,
    reset_peak,
    show,
    time_work,
)
from gpu_networks import Networks, make_networks
from released_plan import World, released_plan
from torch import Tensor, nn

from mimicmotion.diffusion.sampler import sample_latents
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.model.compiling import compile_blocks
from mimicmotion.model.latents import decode_frames
from mimicmotion.model.pose_features import GPU_SHARE, PoseFeatures, compute_pose_features
from mimicmotion.video.size import Size

CARDS_GB = (24, 40, 80)


@dataclass(frozen=True)
class Extent:
    """What is animated: slots, the reference among them; pixels; steps; lengths and chunks that are tried."""

    slots: int
    width: int
    height: int
    settings: SamplerSettings
    lengths: tuple[int, ...]
    chunks: tuple[int, ...]


_LARGE = Extent(73, 576, 1024, SamplerSettings(fusion="release"), (73, 145, 289, 577), (1, 4, 8, 16))
_SMALL_SETTINGS = SamplerSettings(num_steps=2, tile=4, overlap=2, fusion="release")
_SMALL = Extent(7, 64, 64, _SMALL_SETTINGS, (5, 7), (1, 4))


class Bench:
    """Networks and conditions of one number type."""

    def __init__(self, size: Extent, small: bool, device: torch.device, dtype: str) -> None:
        self.size, self.device, self.dtype = size, device, dtype
        self.parts: Networks = make_networks(small, device)
        for part in (self.parts.unet, self.parts.pose_net, self.parts.vae):
            # diffusers' own ``to`` prints about parts that it would keep, of which there are none.
            nn.Module.to(part, DTYPES[dtype])
        self.own = dict(self.parts.unet.attn_processors)
        rng = torch.Generator().manual_seed(0)
        cells = (size.height // 8, size.width // 8)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng).to(device, DTYPES[dtype])

        self.poses = drawn(size.slots, 3, size.height, size.width).clamp_(-1, 1)
        self.noise = torch.randn((size.settings.tile, 4, *cells), generator=rng).to(device)
        embeds = drawn(1, 1, self.parts.unet.config.cross_attention_dim)
        self.world = World(self.parts.unet, self.parts.pose_net, embeds, drawn(4, *cells))

    def upstream_attention(self, upstream: bool) -> None:
        """Attend to the image embedding as upstream does, or as the project does."""
        plain = {name: AttnProcessor2_0() for name in self.own}
        self.parts.unet.set_attn_processor(plain if upstream else dict(self.own))

    def features(self, slots: int | None = None, memory_bytes: int | None = None) -> PoseFeatures:
        """PoseNet's features of all slots, kept as the project keeps them; poses repeat in longer videos."""
        num = slots or self.size.slots
        drawn = (self.poses[slot % len(self.poses)] for slot in range(num))
        size = Size(self.size.width, self.size.height)
        return compute_pose_features(
            self.parts.pose_net, drawn, size, num_frames=num, memory_bytes=memory_bytes
        )

    def released(self, settings: SamplerSettings) -> Tensor:
        """Latents by the release's plan."""
        return released_plan(self.world, self.poses, self.noise, settings)

    def ours(self, features: PoseFeatures, settings: SamplerSettings, slots: int | None = None) -> Tensor:
        """Latents as the project makes them, of all slots that have features or of so many."""
        world = self.world
        return sample_latents(
            world.unet,
            features,
            world.embeds,
            world.reference,
            num_frames=slots or len(features),
            settings=settings,
            noise=self.noise,
        )


def step_row(name: str, bench: Bench, work: Callable[[], object], pose_s: float, repeats: int) -> Row:
    """One denoising step, and the video that it comes to."""
    reset_peak(bench.device)
    row = Row(name, seconds=time_work(work, bench.device, repeats), peak_gb=peak_gb(bench.device))
    video = pose_s + bench.size.settings.num_steps * (row.seconds or 0)
    row.extra = {"video_s": video, "frame_s": video / (bench.size.slots - 1)}
    return row


def whole(name: str, bench: Bench, work: Callable[[], Tensor]) -> tuple[Row, Tensor]:
    """One whole video, once, of networks that have run before."""
    reset_peak(bench.device)
    begin = time.perf_counter()
    latents = work().float().cpu()  # waits for the GPU
    seconds = time.perf_counter() - begin
    row = Row(name, seconds=seconds, peak_gb=peak_gb(bench.device))
    row.extra["frame_s"] = seconds / (bench.size.slots - 1)
    return row, latents


def cosine(ours: Tensor, theirs: Tensor) -> float:
    """Cosine similarity of latents."""
    return float(torch.cosine_similarity(ours.flatten().double(), theirs.flatten().double(), dim=0))


def tables(
    small: bool, size: Extent, device: torch.device, repeats: int
) -> tuple[list[Row], list[Row], Bench]:
    """Return what each step brought, whole videos, and the bench in its last state."""
    rows = list[Row]()
    bench = Bench(size, small, device, "bfloat16" if device.type == "cpu" else "float16")
    one = size.settings.replaced(num_steps=1, guidance_in_one_batch=False)
    bench.upstream_attention(True)
    label = bench.dtype
    rows.append(step_row(f"release's plan, {label}", bench, lambda: bench.released(one), 0.0, repeats))
    pose_s = time_work(bench.features, device, repeats)
    features = bench.features()

    def added(name: str, settings: SamplerSettings, current: Bench, poses: PoseFeatures) -> None:
        rows.append(step_row(name, current, lambda: current.ours(poses, settings), pose_s, repeats))

    released, released_latents = whole("whole, release's plan", bench, lambda: bench.released(size.settings))
    with bench.features(memory_bytes=0) as in_file:
        added("+ PoseNet once, features in a file", one, bench, in_file)
    added("+ features in the device's memory", one, bench, features)
    bench.upstream_attention(False)
    added("+ one-token attention left out", one, bench, features)
    joint = one.replaced(guidance_in_one_batch=True)
    added("+ both branches in one batch", joint, bench, features)
    choices = {1: rows[-1].seconds}
    for tiles in (2, 4):
        added(f"+ {tiles} tiles in one batch", joint.replaced(tile_batch_size=tiles), bench, features)
        choices[tiles] = rows[-1].seconds
    best = min(choices, key=lambda tiles: choices[tiles] or float("inf"))
    joint, label = joint.replaced(tile_batch_size=best), f"{best} tiles in one batch, the fastest"
    if bench.dtype != "bfloat16":
        other = Bench(size, small, device, "bfloat16")
        added(f"{label}, bfloat16", joint, other, other.features())
        del other
        gc.collect()
        torch.cuda.empty_cache()
    for layer in bench.parts.unet.modules():
        if isinstance(layer, nn.Conv2d):  # convolutions over time have weights of five dimensions
            layer.to(memory_format=torch.channels_last)
    added(f"{label}, + channels-last", joint, bench, features)
    # On a CPU the network is traced but no kernels are built, which would take minutes.
    compile_blocks(bench.parts.unet, backend="inductor" if device.type == "cuda" else "eager")
    added(f"{label}, + compile", joint, bench, features)
    # The fast preset also calls the network without guidance: its compiling is not to count.
    bench.ours(features, joint.replaced(guidance_scale=1.0))
    once = size.settings.replaced(tile_batch_size=best)
    ours, latents = whole("whole, ours", bench, lambda: bench.ours(bench.features(), once))
    ours.extra |= {"speed": _ratio(released, ours), "cosine": cosine(latents, released_latents)}
    fast, _ = whole("whole, ours, fast preset", bench, lambda: bench.ours(bench.features(), once.fast()))
    fast.extra["speed"] = _ratio(released, fast)
    return rows, [released, ours, fast], bench


def _ratio(before: Row, after: Row) -> float:
    return (before.seconds or 0.0) / (after.seconds or float("nan"))


def lengths(bench: Bench) -> list[Row]:
    """Peak memory by length, and the longest video on a card by a straight line through it.

    A share of the card is left to pose features, of which the rest lies in a file.
    """
    rows = list[Row]()
    one = bench.size.settings.replaced(num_steps=1)
    for slots in bench.size.lengths:
        # Pose features in a file: with them in memory the peak would follow what happens to be free.
        with bench.features(slots, memory_bytes=0) as features:
            name = f"memory of {slots - 1} frames"
            row, _ = whole(name, bench, lambda held=features: bench.ours(held, one))
        rows.append(Row(row.part, peak_gb=row.peak_gb))
    slope, base = np.polyfit(bench.size.lengths, [row.peak_gb for row in rows], 1)
    for card in CARDS_GB:
        line = Row(f"longest video on {card} GB", note="sampled; decoding has rows of its own")
        if bench.device.type != "cuda" or slope <= 0:
            line.note = "no figure: memory of a CPU's process does not follow the length"
        else:
            line.extra["frames"] = max((card * (1 - 1 / GPU_SHARE) - base) / slope - 1, 0)
        rows.append(line)
    return rows


def part_rows(bench: Bench, machine: Machine, repeats: int) -> list[Row]:
    """Return time, counted work and roofline of each part, and decoding by chunk."""
    size, tile = bench.size, bench.size.settings.tile
    features, one = bench.features(), size.settings.replaced(num_steps=1)
    latents = torch.randn(tile, 4, size.height // 8, size.width // 8, device=bench.device)
    works: dict[str, Callable[[], object]] = {
        "part: UNet, both branches of a tile, eager": lambda: bench.ours(features, one, tile),
        "part: PoseNet, all slots": bench.features,
    }
    for chunk in size.chunks:
        works[f"part: decoding {tile} frames by {chunk}"] = lambda chunk=chunk: list(
            decode_frames(bench.parts.vae, latents, chunk)
        )
    return [
        measure(name, work, machine, bench.device, dtype=bench.dtype, repeats=repeats)
        for name, work in works.items()
    ]


def main() -> None:
    """Measure and print."""
    asked = arguments(__doc__, "gpu_animate").parse_args()
    device = torch.device(asked.device)
    size = _SMALL if asked.small else _LARGE
    machine = measure_machine(device, asked.small)
    rows, wholes, bench = tables(asked.small, size, device, asked.repeats)
    # Counting looks at each operator, so the network runs as it is written.
    with torch.compiler.set_stance("force_eager"):
        measured = part_rows(bench, machine, asked.repeats)
    features, one = bench.features(), size.settings.replaced(num_steps=1)
    costs = largest_costs(lambda: bench.ours(features, one), device)
    show(machine, [*rows, *wholes, *measured, *lengths(bench)], costs, asked.out)


if __name__ == "__main__":
    main()

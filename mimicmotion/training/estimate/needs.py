"""What a training run will need, found without weights and without memory: networks on the meta device.

What the passes hold is counted, not guessed: every tensor of a forward and a backward pass from its making
to its end, in the precisions that a GPU's autocast chooses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet
from mimicmotion.training.distributed.parts import (
    CHECKPOINTED,
    KEPT,
    checkpoint_activations,
    choose_trained,
)
from mimicmotion.training.estimate.live_memory import CudaAutocast, LiveBytes
from mimicmotion.training.network import PosedDenoiser
from mimicmotion.training.settings import ActivationCheckpointing, Optimiser, Strategy, TrainedPart
from mimicmotion.video.size import Size

PEAK_TFLOPS = {"A100": 312.0, "H100": 989.0, "H200": 989.0, "L40S": 362.0, "RTX 4090": 165.0}
"""Dense bfloat16 TFLOP/s as the makers state them."""

MEMORY_GB = {"A100": (40, 80), "H100": (80,), "H200": (141,), "L40S": (48,), "RTX 4090": (24,)}
"""The memories that each of these is sold with."""

_USABLE = 0.85
"""Share of it that an estimate may fill: kernels, fragmentation and the frozen encoders take the rest."""

_FLOAT32, _HALF, _EIGHT_BITS = 4, 2, 1
_DECODED = 8
"""Frames that the VAE's temporal decoder sees at once."""
_SVD_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "layers_per_block": 2,
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What one worker computes at once.

    Attributes:
        unet: config of the UNet; empty for that of SVD.
        size_px: of the pictures.
        num_frames: slots of a clip.
        micro_batch: samples at once.
        accumulation_steps: micro-batches of an optimiser step; from the second on, gradients are held.
        workers: number of workers.
        strategy: how they share the network.
        activation_checkpointing: activations that are forgotten and computed again.
        trained: part that trains.
        optimiser: what keeps the moments.
        extra_passes: forward passes besides; a teacher, held beside the network, does some of them.
    """

    unet: dict[str, Any] = field(hash=False)
    size_px: Size
    num_frames: int
    micro_batch: int
    accumulation_steps: int
    workers: int
    strategy: Strategy
    activation_checkpointing: ActivationCheckpointing
    trained: TrainedPart
    optimiser: Optimiser
    extra_passes: int = 0


@dataclass(frozen=True)
class Estimate:
    """Needs of one worker, in bytes, and of one sample, in floating point operations.

    Attributes:
        parameters: of UNet and PoseNet.
        trained_parameters: those that train.
        weights: in float32, and the blocks that shards gather in half precision; a teacher's too.
        gradients: in float32, once all are there.
        optimiser: two moments, in float32 or eight bits.
        average: the moving average in float32.
        passes: the most that a forward and a backward pass hold at once besides weights: activations, half
            copies of weights, and the gradients that are there by then.
        checkpoint: on disk, over all workers: network, average and moments in float32.
        flops_per_sample: forward, backward, and the forward pass that is done again.
    """

    parameters: int
    trained_parameters: int
    weights: int
    gradients: int
    optimiser: int
    average: int
    passes: int
    checkpoint: int
    flops_per_sample: int

    @property
    def total(self) -> int:
        """The most at once; kernels, fragmentation and the frozen encoders take some more."""
        return self.weights + self.optimiser + self.average + max(self.passes, self.gradients)


def estimate(shape: Shape) -> Estimate:
    """Return what a worker needs; takes seconds and next to no memory at any size."""
    return _estimate(shape, _operations(shape))


def estimates(shape: Shape) -> dict[ActivationCheckpointing, Estimate]:
    """Return what a worker needs at each level of ``activation_checkpointing``, least work first."""
    operations = _operations(shape)
    levels = {level: replace(shape, activation_checkpointing=level) for level in CHECKPOINTED}
    found = {level: _estimate(of_level, operations) for level, of_level in levels.items()}
    return dict(sorted(found.items(), key=lambda one: (one[1].flops_per_sample, one[1].total)))


def _estimate(shape: Shape, operations: Mapping[str, int]) -> Estimate:
    shards = shape.workers if shape.strategy == "fsdp" else 1
    network = _on_meta(shape, torch.bfloat16 if shards > 1 else torch.float32)
    parameters = sum(value.numel() for value in network.parameters())
    trained = sum(value.numel() for value in network.parameters() if value.requires_grad)
    # One block in half precision and the next ahead of it.
    gathered = _HALF * 2 * _largest_block(network) if shards > 1 else 0
    moment = _FLOAT32 if shape.optimiser == "adamw" else _EIGHT_BITS
    return Estimate(
        parameters=parameters,
        trained_parameters=trained,
        weights=(_FLOAT32 * parameters // shards + gathered) * (2 if shape.extra_passes else 1),
        gradients=_FLOAT32 * trained // shards,
        optimiser=2 * moment * trained // shards,
        average=_FLOAT32 * trained // shards,
        passes=_held_by_passes(network, shape, shards),
        checkpoint=_checkpoint(parameters, trained),
        flops_per_sample=_flops(shape, operations) // shape.micro_batch,
    )


def peak_tflops(device: torch.device) -> float | None:
    """Return what ``PEAK_TFLOPS`` says of a GPU; None for others and for processors."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAK_TFLOPS.items() if known in name), None)


def training_flops(unet: Mapping[str, Any], size_px: Size, num_slots: int, extra_passes: int = 0) -> int:
    """Return the operations of one sample's forward and backward pass, without what is computed again.

    A backward pass counts as two forward passes, as is usual for model FLOPs; where parts are frozen it
    takes less.

    Args:
        unet: config of the UNet.
        size_px: of the pictures.
        num_slots: of a clip.
        extra_passes: forward passes besides; see ``TrainingSettings``.
    """
    shape = _plain(dict(unet), size_px, num_slots, 1)
    return _flops(replace(shape, extra_passes=extra_passes), _operations(shape))


def _plain(unet: dict[str, Any], size_px: Size, num_slots: int, micro_batch: int) -> Shape:
    """Return the shape of which forward passes are counted; the rest of a shape does not change them."""
    return Shape(
        unet=unet,
        size_px=size_px,
        num_frames=num_slots,
        micro_batch=micro_batch,
        accumulation_steps=1,
        workers=1,
        strategy="ddp",
        activation_checkpointing="off",
        trained="all",
        optimiser="adamw",
    )


def sample_flops(shape: Shape) -> int:
    """Return the operations of one sample's training, as in ``Estimate``, without reckoning its memory."""
    return _flops(shape, _operations(shape)) // shape.micro_batch


def weight_bytes(shape: Shape) -> tuple[int, int]:
    """Return the bytes of UNet and PoseNet in float32, and those of a checkpoint."""
    values = list(_on_meta(shape, torch.float32).parameters())
    parameters = sum(value.numel() for value in values)
    return _FLOAT32 * parameters, _checkpoint(
        parameters, sum(value.numel() for value in values if value.requires_grad)
    )


def _checkpoint(parameters: int, trained: int) -> int:
    return _FLOAT32 * (parameters + 3 * trained)


def vae_flops(vae: Mapping[str, Any], size_px: Size) -> tuple[int, int]:
    """Return the operations of encoding a picture and of decoding one frame of many.

    Args:
        vae: config of the VAE; empty for that of SVD.
        size_px: of the picture.
    """
    width, height = size_px
    with torch.device("meta"):
        network = AutoencoderKLTemporalDecoder.from_config({**_SVD_VAE, **vae})
    network = network.to("meta")  # once more, as below
    kind: dict[str, Any] = {"device": "meta"}
    latents = torch.empty(_DECODED, network.config.latent_channels, height // 8, width // 8, **kind)
    still = torch.zeros(1, _DECODED, **kind)
    with CudaAutocast(), FlopCounterMode(display=False) as flops:
        network.encoder(torch.empty(1, 3, height, width, **kind))
        encoding = int(flops.get_total_flops())
        network.decoder(latents, image_only_indicator=still, num_frames=_DECODED)
    return encoding, (int(flops.get_total_flops()) - encoding) // _DECODED


def _operations(shape: Shape) -> dict[str, int]:
    """Return the operations of one forward pass of a micro-batch, by kind."""
    return _counted(_plain(shape.unet, shape.size_px, shape.num_frames, shape.micro_batch))


@cache
def _counted(shape: Shape) -> dict[str, int]:
    network = _on_meta(shape, torch.bfloat16)
    with CudaAutocast(), FlopCounterMode(display=False) as flops:
        _forward(network, shape)
    return {str(kind): count for kind, count in flops.get_flop_counts()["Global"].items()}


def _flops(shape: Shape, operations: Mapping[str, int]) -> int:
    """Return the operations of a micro-batch: forward and backward, further passes, what is done again."""
    level = shape.activation_checkpointing
    kept = {str(kind.overloadpacket) for kind in KEPT} if level == "selective" else set()
    again = 0 if level == "off" else sum(count for kind, count in operations.items() if kind not in kept)
    return (3 + shape.extra_passes) * sum(operations.values()) + again


def _held_by_passes(network: PosedDenoiser, shape: Shape, shards: int) -> int:
    """Return the most bytes that the passes of one optimiser step hold at once, parameters left out."""
    autocast = CudaAutocast()
    autocast.reach_into(network, CHECKPOINTED[shape.activation_checkpointing])
    checkpoint_activations(network, shape.activation_checkpointing)
    live = LiveBytes(network)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                lambda value: live.weigh(value.grad, _FLOAT32 * value.numel() // shards)
            )
    with live:
        for _ in range(min(2, shape.accumulation_steps)):
            with autocast:
                loss = _forward(network, shape)
            torch.autograd.backward(loss)
    return live.peak


def _on_meta(shape: Shape, dtype: torch.dtype) -> PosedDenoiser:
    with torch.device("meta"):
        unet = PoseUNet.from_config(shape.unet) if shape.unet else PoseUNet()
        network = PosedDenoiser(unet, PoseNet(out_channels=unet.config.block_out_channels[0]))
    # Once more: upstream builds some parameters with a constructor that no device context reaches.
    network.to("meta", dtype)
    choose_trained(network, shape.trained)
    return network


def _forward(network: PosedDenoiser, shape: Shape) -> Tensor:
    """Return the loss of one micro-batch on the meta device."""
    config: Any = network.unet.config
    batch, frames, (width, height) = shape.micro_batch, shape.num_frames, shape.size_px
    kind: dict[str, Any] = {"device": "meta", "dtype": torch.float32}
    latents = torch.empty(batch, frames, config.out_channels, height // 8, width // 8, **kind)
    output: Tensor = network(
        torch.cat([latents, latents], dim=2),
        torch.empty(batch, **kind),
        torch.empty(batch, 1, config.cross_attention_dim, **kind),
        torch.empty(batch, 3, **kind),
        torch.empty(batch, frames, 3, height, width, **kind),
        torch.empty(batch, device="meta", dtype=torch.bool),
    )
    # The loss compares in float32, with weights.
    return ((output.float() - latents) ** 2 * latents).mean()


def _largest_block(network: PosedDenoiser) -> int:
    """Return the parameters of the largest block that is gathered at once; the next is gathered ahead."""
    unet: Any = network.unet
    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    return max(sum(value.numel() for value in block.parameters()) for block in blocks)


def describe(needs: Estimate, shape: Shape, steps: int, batch: int, gpu: str, utilisation: float) -> str:
    """Return the estimate in words.

    Args:
        needs: of one worker.
        shape: what it was made for.
        steps: optimiser steps of the run.
        batch: samples per optimiser step, over all workers.
        gpu: a name in ``PEAK_TFLOPS``.
        utilisation: share of the peak that is reached.
    """
    seconds = steps * batch * needs.flops_per_sample / shape.workers / (PEAK_TFLOPS[gpu] * 1e12 * utilisation)
    lines = {
        "parameters": f"{needs.parameters / 1e6:,.1f} M, trained {needs.trained_parameters / 1e6:,.1f} M",
        "clip": f"{shape.num_frames} frames of {shape.size_px}",
        "memory per worker": f"{needs.total / 1e9:.1f} GB: weights {needs.weights / 1e9:.1f}, optimiser "
        f"{needs.optimiser / 1e9:.1f}, average {needs.average / 1e9:.1f}, activations with gradients "
        f"{max(needs.passes, needs.gradients) / 1e9:.1f} (gradients alone {needs.gradients / 1e9:.1f})",
        "work": f"{steps:,} steps of {batch} samples, {needs.flops_per_sample / 1e12:.1f} TFLOP a sample",
        "time": f"{seconds / 86400:.2f} days on {shape.workers} x {gpu} at {utilisation:.0%} of its peak, "
        f"{seconds * shape.workers / 3600:,.0f} GPU hours",
        "disk": f"{needs.checkpoint / 1e9:.1f} GB a checkpoint",
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())


def fitting_levels(levels: Mapping[ActivationCheckpointing, Estimate], gpu: str) -> str:
    """Return the level of ``activation_checkpointing`` with the least work that fits into a GPU, in words.

    Args:
        levels: see ``estimates``.
        gpu: a name in ``MEMORY_GB``.
    """
    lines = [
        f"{level:<17}  {one.total / 1e9:.1f} GB, {one.flops_per_sample / 1e12:.1f} TFLOP a sample"
        for level, one in levels.items()
    ]
    for memory in MEMORY_GB[gpu]:
        fits = [level for level, one in levels.items() if one.total <= _USABLE * memory * 1e9]
        lines.append(f"{gpu} of {memory} GB: {fits[0] if fits else 'none of them fits'}")
    return f"activation_checkpointing, with {1 - _USABLE:.0%} of memory left free:\n" + "\n".join(lines)

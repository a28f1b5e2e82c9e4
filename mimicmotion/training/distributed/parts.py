"""What of the network trains, with which memory, and how it is shared between workers."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from mimicmotion.model.svd import ATTENTION_PARTS, BLOCKS, LAYERS, TEMPORAL_PARTS, is_idle, unet_blocks
from mimicmotion.training.distributed.group import World
from mimicmotion.training.network import PosedDenoiser
from mimicmotion.training.settings import ActivationCheckpointing, TrainedPart

CHECKPOINTED: Mapping[ActivationCheckpointing, tuple[type[nn.Module], ...]] = MappingProxyType(
    {
        "off": (),
        "layers": LAYERS,
        "blocks": BLOCKS,
        "selective": LAYERS,
    }
)
"""Kinds of layers whose activations are forgotten, by level."""

_ATEN = torch.ops.aten
KEPT = (
    _ATEN.mm.default,
    _ATEN.addmm.default,
    _ATEN.bmm.default,
    _ATEN._scaled_dot_product_flash_attention.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default,
    _ATEN._scaled_dot_product_efficient_attention.default,
    _ATEN._scaled_dot_product_cudnn_attention.default,
)
"""Matrix products and attention by whichever kernel: what ``selective`` keeps, as dearest to do again."""


def choose_trained(network: PosedDenoiser, part: TrainedPart) -> None:
    """Let a part of the network require gradients, and freeze the rest.

    Args:
        network: UNet and PoseNet; PoseNet always trains.
        part: ``all``; ``attention``: the UNet's transformers, spatial and temporal; ``temporal``: what
            joins frames; ``pose_net``: PoseNet alone. What changes no output never trains: its gradient is
            nothing but rounding, which AdamW would scale up to whole steps.
    """
    for name, parameter in network.unet.named_parameters():
        trains = {
            "all": True,
            "attention": any(part in name for part in ATTENTION_PARTS),
            "temporal": any(part in name for part in TEMPORAL_PARTS),
            "pose_net": False,
        }[part]
        parameter.requires_grad_(trains and not is_idle(name))
    network.pose_net.requires_grad_(True)


def checkpoint_activations(network: nn.Module, level: ActivationCheckpointing) -> None:
    """Let layers forget their activations and compute them again in the backward pass.

    diffusers' own switch leaves out the temporal transformer blocks, which are the largest part in long
    clips; this does not.

    Args:
        network: changed in place; parameter names stay.
        level: ``off``; ``layers``: each residual and transformer block forgets; ``blocks``: each residual
            block and each whole spatio-temporal transformer, which keeps less between and needs more at once;
            ``selective``: as ``layers``, but the results of matrix products and attention are kept.
    """
    how: dict[str, Any] = {"use_reentrant": False}
    if level == "selective":
        how["context_fn"] = partial(create_selective_checkpoint_contexts, [*KEPT])
    for module in network.modules():
        if isinstance(module, CHECKPOINTED[level]):
            module.forward = partial(_checkpointed, module.forward, how)


def _checkpointed(forward: Callable[..., Any], how: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, **how, **kwargs)


def shard(network: PosedDenoiser, half: bool) -> None:
    """Spread parameters, gradients and optimiser over all workers (FSDP2), block by block.

    UNet and PoseNet are each whole for themselves, since sampling calls them one by one.

    Args:
        network: changed in place; parameter names stay.
        half: gather parameters in bfloat16. Autocast chooses the precision of each operation, as without
            shards; inputs are left alone, since half precision would blur the noise level.
    """
    policy = MixedPrecisionPolicy()
    if half:
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    # Torch warns where a block gives out a view, lest it be changed in place; nothing here does that.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
    for block in (*unet_blocks(network.unet), network.unet, network.pose_net):
        fully_shard(block, mp_policy=policy)


def replicate(network: PosedDenoiser, world: World) -> nn.Module:
    """Return the network whose backward pass averages gradients over workers (DDP), in one copy of them."""
    ids = [world.device.index] if world.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=ids, gradient_as_bucket_view=True)


def set_sync(network: nn.Module, last: bool) -> None:
    """Say whether the next backward pass is the last of a step, in which replicas share their gradients.

    Shards share them in every pass: to wait would mean to hold the gradients of the whole network.
    """
    if isinstance(network, DistributedDataParallel):
        network.require_backward_grad_sync = last


def learning_rate(step: int, peak: float, warmup_steps: int) -> float:
    """Return the learning rate of optimiser step ``step`` (from 0): a linear warm-up, then constant."""
    return peak * min(1.0, (step + 1) / max(1, warmup_steps))

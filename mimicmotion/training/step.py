"""One optimiser step as each worker does it: gradients of its micro-batches, the clipped norm, the update."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor

from mimicmotion.training.building import Built, autocast
from mimicmotion.training.data.batch import Batch, loss_inputs
from mimicmotion.training.distributed.group import World
from mimicmotion.training.distributed.parts import set_sync
from mimicmotion.training.job import TrainingJob
from mimicmotion.training.loss import LossParts, denoising_loss
from mimicmotion.training.optimiser import leave_if, set_learning_rate


def accumulate(
    built: Built, batch: Batch, job: TrainingJob, world: World, index: int, accumulation_steps: int
) -> tuple[LossParts, Float[Tensor, " b"]]:
    """Add one round's share to the gradients; returns its loss and the noise levels it drew.

    Args:
        built: what trains.
        batch: the round's samples, still on the host.
        job: the run.
        world: this worker and the others, who share gradients in the last round only.
        index: number of the round within the step, from 0.
        accumulation_steps: micro-batches whose gradients are added up.
    """
    inputs = loss_inputs(batch, built.encoders, world.device, job.settings.fps, job.settings.motion_bucket)
    set_sync(built.shared, last=index == accumulation_steps - 1)
    with autocast(job, world.device):
        parts = denoising_loss(built.shared, teacher=built.teacher, **inputs)
    torch.autograd.backward(parts.total / accumulation_steps)
    return parts, inputs["sigma"]


def clip(built: Built, job: TrainingJob) -> Float[Tensor, ""]:
    """Scale the gradients down to the largest norm allowed; returns the norm they had."""
    return whole(torch.nn.utils.clip_grad_norm_(built.trained, job.settings.clip_norm))


def update(built: Built, rate: float, spoilt: Float[Tensor, ""]) -> None:
    """Let the optimiser do its step at this learning rate and the average follow; gradients are gone then.

    Args:
        built: what trains.
        rate: learning rate.
        spoilt: 1 where weights and moments shall stay as they are, which the device decides by itself.
    """
    set_learning_rate(built.optimiser, rate)
    leave_if(built.optimiser, spoilt)
    built.optimiser.step()
    built.optimiser.zero_grad()
    built.average.update(built.network)


def whole(value: Tensor) -> Tensor:
    """Return a tensor without its gradient, gathered from the workers where they hold shards of it."""
    return value.full_tensor().detach() if isinstance(value, DTensor) else value.detach()

"""AdamW in two sizes, and its moments as tensors that any number of workers can save and load."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mimicmotion.errors import InputError
from mimicmotion.training.settings import Optimiser

_MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimiser(
    kind: Optimiser, trained: Sequence[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return AdamW over these parameters.

    Args:
        kind: ``adamw`` keeps moments in float32; ``adamw_8bit`` (torchao's) in about a byte each, sharded
            or not.
        trained: the parameters that train.
        learning_rate: the first; see ``set_learning_rate``.
        weight_decay: decoupled.

    Raises:
        InputError: torchao is not installed.
    """
    if kind == "adamw":
        return torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay, fused=True)
    try:
        from torchao.optim import AdamW8bit
    except ImportError as error:
        raise InputError(
            "train.optimiser adamw_8bit needs the package torchao, which is not installed "
            f"({error}): install mimicmotion[eight-bit] on every machine, or choose adamw"
        ) from error
    eight_bit: torch.optim.Optimizer = AdamW8bit(trained, lr=learning_rate, weight_decay=weight_decay)
    return eight_bit


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let the next steps have this learning rate."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def leave_if(optimiser: torch.optim.Optimizer, spoilt: Float[Tensor, ""]) -> None:
    """Let the next step change nothing where this is 1; only fused AdamW can, so others wait for the number.

    Raises:
        FloatingPointError: it is 1, and the optimiser would step all the same.
    """
    if isinstance(optimiser, torch.optim.AdamW):
        optimiser.found_inf = spoilt  # type: ignore[attr-defined]  # what fused optimisers ask for, as torch's GradScaler sets it
    elif spoilt.item():
        raise FloatingPointError


def moments(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's moments by name, created where it has none yet.

    Those in float32 are the optimiser's own, not copied. Those in eight bits are copies in float32, since
    their blocks belong to one number of workers; ``set_moments`` brings them back.
    """
    return {
        f"{moment}.{name}": _in_float(state[moment])
        for name, state in _states(network, optimiser)
        for moment in _MOMENTS
    }


def set_moments(
    network: nn.Module, optimiser: torch.optim.Optimizer, values: Mapping[str, Tensor], steps: int
) -> None:
    """Give the optimiser these moments and tell it how many steps they have seen.

    Args:
        network: whose parameters it optimises.
        optimiser: changed in place.
        values: as ``moments`` names them. Eight bits hold them to about a hundredth, float32 exactly.
        steps: optimiser steps done.
    """
    for name, state in _states(network, optimiser):
        state["step"].fill_(steps)
        for moment in _MOMENTS:
            if state[moment] is not values[f"{moment}.{name}"]:
                _local(state[moment]).copy_(_local(values[f"{moment}.{name}"]))


def _states(network: nn.Module, optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names of the trained parameters, each with its state in the optimiser."""
    named = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
    if any(not optimiser.state[parameter] for _, parameter in named):
        _create_states(optimiser, [parameter for _, parameter in named])
    for name, parameter in named:
        yield name, optimiser.state[parameter]


def _create_states(optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> None:
    """Let the optimiser make its moments, by a step without gradient and without a rate."""
    rate = float(optimiser.param_groups[0]["lr"])
    before = [(parameter, parameter.grad) for parameter in parameters]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter, requires_grad=False)
    set_learning_rate(optimiser, 0.0)
    optimiser.step()
    set_learning_rate(optimiser, rate)
    for parameter, gradient in before:
        parameter.grad = gradient
        optimiser.state[parameter]["step"].fill_(0)


def _local(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def _in_float(value: Tensor) -> Tensor:
    local = _local(value)
    if type(local) is Tensor:
        return value
    whole: Tensor = local.dequantize().float()
    if not isinstance(value, DTensor):
        return whole
    return DTensor.from_local(
        whole, value.device_mesh, value.placements, run_check=False, shape=value.shape, stride=value.stride()
    )

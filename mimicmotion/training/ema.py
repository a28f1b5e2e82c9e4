"""The exponential moving average of the trained parameters; validation, pictures and export use it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule


class MovingAverage:
    """Float32 averages of the trainable parameters of a module, by name.

    The decay of update t is ``min(decay, (1 + t) / (10 + t))``, so that short runs are not held back by
    their starting weights.

    Args:
        module: whose parameters that require a gradient are followed.
        decay: weight of the old average in a long run, below 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.averages = {
            name: value.detach().clone().float()
            for name, value in module.named_parameters()
            if value.requires_grad
        }

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the averages towards the module's parameters; call it once per optimiser step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        parameters = dict(module.named_parameters())
        current = [parameters[name].detach().float() for name in self.averages]
        torch._foreach_lerp_(list(self.averages.values()), current, 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Let the module hold the averages within the block, and its own parameters again afterwards."""
        _reshard(module)
        parameters = dict(module.named_parameters())
        own = {name: parameters[name].detach().clone() for name in self.averages}
        _write(parameters, self.averages)
        try:
            yield
        finally:
            _reshard(module)
            _write(parameters, own)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by parameter name, not copied; ``updates`` belongs to them."""
        return self.averages

    def load_state_dict(self, averages: Mapping[str, Tensor], updates: int) -> None:
        """Continue from saved averages.

        Raises:
            KeyError: a followed parameter is missing from ``averages``.
        """
        for name, average in self.averages.items():
            average.copy_(averages[name])
        self.updates = updates


def _reshard(module: nn.Module) -> None:
    """Let FSDP2 forget what it gathered: after a forward pass alone it keeps the roots' own parameters whole,
    and the next pass would compute with those, whatever the shards hold by then."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


@torch.no_grad()
def _write(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)

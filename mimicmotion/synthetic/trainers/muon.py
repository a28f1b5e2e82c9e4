"""Muon for small networks on CPUs: momentum made orthogonal, shared out over the processes.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon), with the step size of Liu et al. 2025
(arXiv 2502.16982), which makes a learning rate mean the same as AdamW's. ``torch.optim.Muon`` takes matrices
only; here a convolution's kernel is the matrix of its outputs by all its inputs.
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5
ADAMW_SHARE = 0.3
"""AdamW's learning rate as a share of Muon's."""


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices (b, n, k) whose singular values are about one, by a Newton-Schulz iteration."""
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Steps of orthogonal momentum; gradients are to be the same in every process."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter; each process works out a share of the directions."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            for p in moved:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 1 - group["momentum"])
            directions = torch.zeros(sum(p.numel() for p in moved))
            shares = list(zip(moved, torch.split(directions, [p.numel() for p in moved]), strict=True))
            self._fill(shares, group["momentum"])
            if dist.is_initialized():
                dist.all_reduce(directions)  # each process filled its own; the rest was zero
            for p, direction in shares:
                p.mul_(1 - group["lr"] * group["weight_decay"])
                longest = max(len(p), p.numel() // len(p))
                p.add_(direction.view_as(p), alpha=-group["lr"] * 0.2 * math.sqrt(longest))

    def _fill(self, shares: list[tuple[Tensor, Tensor]], ahead: float) -> None:
        """Write the directions, looking ahead as Nesterov does; matrices of one shape go together."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for index, (p, direction) in enumerate(shares):
            if index % world == rank and p.grad is not None:
                momentum = p.grad.lerp(self.state[p]["momentum"], ahead)
                shape = (len(p), p.numel() // len(p))
                by_shape[shape].append((momentum.reshape(shape), direction))
        for items in by_shape.values():
            made = orthogonal(torch.stack([momentum for momentum, _ in items]))
            for (_, direction), values in zip(items, made, strict=True):
                direction.copy_(values.flatten())


def optimizers(network: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for matrices and kernels between the ends; fused AdamW for ends, embeddings, norms and biases."""
    inner: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, p in network.named_parameters():
        end = any(word in name for word in ("conv_in", "conv_out", "embedding"))
        (rest if p.ndim < 2 or end else inner).append(p)
    adamw = torch.optim.AdamW(rest, lr=ADAMW_SHARE * lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    return [Muon(inner, lr), adamw]

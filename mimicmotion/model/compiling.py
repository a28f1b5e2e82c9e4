"""Compiling block by block: blocks of one form share what is compiled, and nothing is compiled twice.

SVD's 22 residual blocks have 14 forms, its 16 spatio-temporal transformers 4.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mimicmotion.model.svd import BLOCKS

Backend = str | Callable[..., Any]

_FORMS = 128


def compile_blocks(
    network: nn.Module, kinds: tuple[type[nn.Module], ...] = BLOCKS, backend: Backend = "inductor"
) -> None:
    """Compile the forward pass of all blocks of these kinds, when each is first called.

    Args:
        network: changed in place; parameter names stay.
        kinds: kinds of block, none within another. Where activations are computed again, the kinds that
            forget theirs: torch compiles into such a block, not around it.
        backend: of ``torch.compile``.
    """
    # torch keeps all forms of a kind in one list, and gives up compiling when it is longer than 8. There is
    # one for each size of picture, number of samples, and with and without gradient.
    torch._dynamo.config.recompile_limit = max(_FORMS, torch._dynamo.config.recompile_limit)
    for module in network.modules():
        if isinstance(module, kinds):
            module.forward = torch.compile(module.forward, dynamic=False, backend=backend)

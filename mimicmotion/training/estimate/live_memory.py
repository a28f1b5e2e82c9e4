"""What tensors of a computation hold at once, found on the meta device: no memory, no GPU, no kernel.

``LiveBytes`` follows every tensor from its making to its end. ``CudaAutocast`` makes the meta device choose
the precisions of a GPU, which torch's own autocast does not reach there.
"""

import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_HALF = {functional.linear, functional.conv1d, functional.conv2d, functional.conv3d, torch.matmul, torch.bmm}
_FLOAT32 = {functional.group_norm, functional.layer_norm, functional.softmax}


class CudaAutocast(TorchFunctionMode):
    """Autocast as CUDA does it: products and convolutions in half precision, norms in float32.

    Each parameter has one half copy, which lives until the outermost exit. Attention is the flash kernel;
    the meta device would lay out the whole matrix.

    Args:
        half: the lower precision; float32 casts nothing.
    """

    def __init__(self, half: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self._half = half
        self._depth = 0
        self._copies: dict[int, Tensor] = {}

    def __enter__(self) -> "CudaAutocast":
        super().__enter__()  # type: ignore[no-untyped-call]
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        self._depth -= 1
        if not self._depth:
            self._copies.clear()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            named = (kwargs[name] for name in ("query", "key", "value")[len(args) :])
            query, key, value = (self._lower(tensor) for tensor in (*args[:3], *named))
            return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
        if func in _HALF:
            args, kwargs = tree_map(self._lower, (args, kwargs))
        elif func in _FLOAT32:
            args, kwargs = tree_map(_raised, (args, kwargs))
        return func(*args, **kwargs)

    def reach_into(self, network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
        """Let layers of these kinds enter by themselves: autograd computes them again outside of every mode.

        Args:
            network: changed in place, before ``checkpoint_activations``.
            kinds: what will be computed again.
        """
        for module in network.modules():
            if kinds and isinstance(module, kinds):
                module.forward = partial(self._within, module.forward)

    def _within(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self:
            return forward(*args, **kwargs)

    def _lower(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if not isinstance(value, nn.Parameter):
            return value.to(self._half)
        if id(value) not in self._copies:
            self._copies[id(value)] = value.to(self._half)
        return self._copies[id(value)]


def _raised(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors that live, made while the mode is on; ``peak`` is the most at once.

    Args:
        network: its parameters do not count.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._own = {value.untyped_storage()._cdata for value in network.parameters()}
        self._sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._see(value)
        return result

    def weigh(self, value: Tensor, num_bytes: int) -> None:
        """Let a living tensor count as this many bytes from now on."""
        key = value.untyped_storage()._cdata
        self.now += num_bytes - self._sizes[key]
        self._sizes[key] = num_bytes

    def _see(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self._own or key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._end, key)

    def _end(self, key: int) -> None:
        self.now -= self._sizes.pop(key)

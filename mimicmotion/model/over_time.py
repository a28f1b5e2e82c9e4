"""Convolutions over three frames, as SVD's temporal layers have them, on a CPU.

There libraries compute one in three dimensions at a fraction of the speed of the same sum in two, over
(frame, pixel): in float32 it takes a half to a quarter of the time. The backward pass of the former in
bfloat16 also corrupts memory on a CPU with AMX (torch 2.13, 32 channels: ``double free or corruption``).
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_SHAPE = ((3, 1, 1), (1, 0, 0), (1, 1, 1))
"""Kernel, padding and stride."""


class OverTime(nn.Conv3d):
    """A convolution over three frames, with one of zeros before and after."""

    def forward(self, values: Float[Tensor, "n c f h w"]) -> Float[Tensor, "n d f h w"]:
        """Return upstream's result, on a CPU within rounding."""
        if values.device.type != "cpu":
            return super().forward(values)
        flat = F.conv2d(values.flatten(3), self.weight[..., 0], self.bias, padding=(1, 0))
        return flat.reshape(*flat.shape[:3], *values.shape[3:])


def quicken(network: nn.Module) -> None:
    """Let every convolution over three frames in a network compute as ``OverTime`` does."""
    for layer in network.modules():
        if type(layer) is nn.Conv3d and (layer.kernel_size, layer.padding, layer.stride) == _SHAPE:
            layer.__class__ = OverTime

"""I3D (Carreira and Zisserman 2017) with the tensor names of the published PyTorch port for FVD."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}

Shape3 = tuple[int, int, int]


def _pad_same(x: Tensor, kernel: Shape3, stride: Shape3) -> Tensor:
    """Pad as TensorFlow's SAME does, which the weights were trained with; the odd pixel goes behind."""
    pads: list[int] = []
    for size, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max(k - (s if size % s == 0 else size % s), 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads)


class _Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, channels: int, out: int, kernel: Shape3 = (1, 1, 1), stride: Shape3 = (1, 1, 1)
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv3d = nn.Conv3d(channels, out, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv3d(_pad_same(x, self.kernel, self.stride))))


class _Pool(nn.Module):
    """Largest value in a window; padding is zero, below every activation after a ReLU."""

    def __init__(self, kernel: Shape3, stride: Shape3) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool3d(_pad_same(x, self.kernel, self.stride), self.kernel, self.stride)


class _Mixed(nn.Module):
    """Four branches side by side, joined on channels."""

    def __init__(self, channels: int, out: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = _Unit(channels, out[0])
        self.b1a, self.b1b = _Unit(channels, out[1]), _Unit(out[1], out[2], (3, 3, 3))
        self.b2a, self.b2b = _Unit(channels, out[3]), _Unit(out[3], out[4], (3, 3, 3))
        self.b3a, self.b3b = _Pool((3, 3, 3), (1, 1, 1)), _Unit(channels, out[5])

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))]
        return torch.cat(branches, dim=1)


class _Logits(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d(x)


class I3D(nn.Module):
    """400 Kinetics logits, averaged over time, of videos (b, 3, t, 224, 224) in [-1, 1], t >= 9."""

    def __init__(self, num_classes: int = 400) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, (7, 7, 7), (2, 2, 2))
        self.MaxPool3d_2a_3x3 = _Pool((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = _Unit(64, 64)
        self.Conv3d_2c_3x3 = _Unit(64, 192, (3, 3, 3))
        self.MaxPool3d_3a_3x3 = _Pool((1, 3, 3), (1, 2, 2))
        pools = {
            "Mixed_3c": ("MaxPool3d_4a_3x3", _Pool((3, 3, 3), (2, 2, 2))),
            "Mixed_4f": ("MaxPool3d_5a_2x2", _Pool((2, 2, 2), (2, 2, 2))),
        }
        for name, (channels, out) in _MIXED.items():
            self.add_module(name, _Mixed(channels, out))
            if name in pools:
                self.add_module(*pools[name])
        self.logits = _Logits(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for name, layer in self.named_children():
            if name != "logits":
                x = layer(x)
        pooled = functional.avg_pool3d(x, (2, 7, 7), stride=1)
        return self.logits(pooled).mean(dim=(2, 3, 4))

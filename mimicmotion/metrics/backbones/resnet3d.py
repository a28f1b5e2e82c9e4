"""3D ResNet-50 (Hara et al. 2018) with the tensor names of the published Kinetics weights, for FID-VID."""

from torch import Tensor, nn
from torch.nn import functional

_EXPANSION = 4


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        out = planes * _EXPANSION
        self.conv1, self.bn1 = nn.Conv3d(channels, planes, 1, bias=False), nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3, self.bn3 = nn.Conv3d(planes, out, 1, bias=False), nn.BatchNorm3d(out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            shortcut = nn.Conv3d(channels, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet3D50(nn.Module):
    """2048 pooled features of videos (b, 3, t, 112, 112): RGB in 0..255 minus the training mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        channels = 64
        for i, (planes, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
            layers = []
            for block in range(blocks):
                layers.append(_Bottleneck(channels, planes, 2 if i > 1 and block == 0 else 1))
                channels = planes * _EXPANSION
            self.add_module(f"layer{i}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool3d(functional.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
        return x.mean(dim=(2, 3, 4))

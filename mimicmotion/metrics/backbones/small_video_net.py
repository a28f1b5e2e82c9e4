"""A small 3D network whose features serve Frechet distances in the built-in toy world (``fvd_small``)."""

from torch import Tensor, nn

from mimicmotion.metrics.settings import LEAST_WINDOW
from mimicmotion.video.size import Size

FEATURES = 64
SIZE = Size(64, 96)
"""Of its input."""
WINDOW = LEAST_WINDOW["fvd_small"]
"""Frames of one input window."""


def _block(channels: int, out: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> nn.Module:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    convolution = nn.Conv3d(channels, out, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(out), nn.SiLU())


class SmallVideoNet(nn.Module):
    """64 features of windows (b, 3, 8, 96, 64) in [-1, 1].

    ``mimicmotion/synthetic/trainers/features.py`` trains it on rendered dancers to tell pose, motion and
    person.
    Features keep a coarse map of places, since where a hand is matters here.
    """

    def __init__(self) -> None:
        super().__init__()
        cube = (3, 3, 3)
        self.trunk = nn.Sequential(
            _block(3, 16, (3, 5, 5), (1, 2, 2)),
            _block(16, 32, cube, (1, 2, 2)),
            _block(32, 32, cube, (1, 1, 1)),
            _block(32, 64, cube, (2, 2, 2)),
            _block(64, 96, cube, (2, 2, 2)),
            nn.Conv3d(96, 24, 1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.project = nn.Linear(
            24 * (WINDOW // 4) * (SIZE.width_px // 16) * (SIZE.height_px // 16), FEATURES
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.trunk(x))

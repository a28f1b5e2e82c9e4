"""LPIPS: perceptual distance of frames by a VGG from a file (Zhang et al. 2018).

The ``lpips`` package needs torchvision and fetches weights by itself. The same network is published as one
TorchScript file (StyleGAN2-ADA's ``vgg16.pt``): asked for ``return_lpips``, it gives scaled features whose
squared distance is LPIPS with the VGG backbone, for pictures in 0..255.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mimicmotion.errors import WeightsError
from mimicmotion.metrics.backbones.features import load_torchscript
from mimicmotion.metrics.image import check_pair
from mimicmotion.weights.fetching import file_digest
from mimicmotion.weights.scripts import is_torchscript

METRIC = "lpips"


@dataclass(frozen=True)
class PerceptualDistance:
    """A loaded network that compares frames.

    Attributes:
        sha256: of its file.
        network: maps pixels (b, 3, h, w) in 0..255 to features (b, d).
    """

    sha256: str
    network: Callable[[Tensor], Tensor]
    device: torch.device
    batch_size: int

    @torch.inference_mode()
    def distances(self, true: np.ndarray, generated: np.ndarray) -> np.ndarray:
        """LPIPS of each frame, float64 (n,), at least 0.

        Args:
            true: uint8 (n, h, w, 3) RGB.
            generated: the same shape.
        """
        check_pair(true, generated)
        return np.concatenate(
            [
                self._features(true[i : i + self.batch_size], generated[i : i + self.batch_size])
                for i in range(0, len(true), self.batch_size)
            ]
        )

    def _features(self, true: np.ndarray, generated: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.concatenate([true, generated])).permute(0, 3, 1, 2)
        features = self.network(pixels.float().to(self.device))
        if features.ndim != 2 or len(features) != 2 * len(true):
            raise WeightsError(
                f"the network of {METRIC} gives {tuple(features.shape)} for {2 * len(true)} frames; "
                "expected one vector each: this is another network"
            )
        a, b = features.double().chunk(2)
        return (a - b).square().sum(1).cpu().numpy()


def load_perceptual(path: Path, device: torch.device, batch_size: int = 4) -> PerceptualDistance:
    """The network of LPIPS from its TorchScript file.

    Raises:
        WeightsError: the file is missing or no TorchScript.
    """
    if not path.is_file():
        raise WeightsError(f"the network of {METRIC} is not at {path}: see `mimicmotion weights list`")
    if not is_torchscript(path):
        raise WeightsError(f"{path} is no TorchScript file: {METRIC} needs StyleGAN2-ADA's vgg16.pt")
    network = load_torchscript(path, device, {"resize_images": False, "return_lpips": True})
    return PerceptualDistance(file_digest(path), network, device, batch_size)

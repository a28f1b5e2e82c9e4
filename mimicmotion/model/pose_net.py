"""PoseNet: drawn guidance in, features for the UNet's first layer out."""

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn


class PoseNet(ModelMixin, ConfigMixin):
    """Features of drawn poses at an eighth of their size, to be added once, right after ``conv_in``.

    Parameter names and shapes with the default arguments are those of released checkpoints. A fresh
    network gives zeros (the last layer starts at zero), so it leaves a pretrained UNet as it is.

    Args:
        conditioning_channels: channels of the drawn pose.
        block_out_channels: widths; each but the last halves height and width.
        out_channels: channels of the features, the first of the UNet's ``block_out_channels``.
    """

    _supports_gradient_checkpointing = False

    @register_to_config
    def __init__(
        self,
        conditioning_channels: int = 3,
        block_out_channels: Sequence[int] = (16, 32, 64, 128),
        out_channels: int = 320,
    ) -> None:
        super().__init__()
        width = conditioning_channels
        layers: list[nn.Module] = [nn.Conv2d(width, width, 3, padding=1), nn.SiLU()]
        for wider in block_out_channels[:-1]:
            layers += [nn.Conv2d(width, wider, 4, stride=2, padding=1), nn.SiLU()]
            layers += [nn.Conv2d(wider, wider, 3, padding=1), nn.SiLU()]
            width = wider
        layers += [nn.Conv2d(width, block_out_channels[-1], 3, padding=1), nn.SiLU()]
        self.conv_layers = nn.Sequential(*layers)
        self.final_proj = nn.Conv2d(block_out_channels[-1], out_channels, 1)
        self.scale = nn.Parameter(torch.full((1,), 2.0))
        self._initialise()

    def _initialise(self) -> None:
        """He initialisation, and zeros in the last layer."""
        for layer in self.conv_layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.final_proj.weight)
        nn.init.zeros_(self.final_proj.bias)  # type: ignore[arg-type]

    def forward(self, pose: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n c h w"]:
        """Return features (n, out_channels, height / 8, width / 8).

        Args:
            pose: drawn poses in [-1, 1], RGB.
        """
        features: Tensor = self.final_proj(self.conv_layers(pose)) * self.scale
        return features

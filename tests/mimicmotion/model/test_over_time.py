"""Convolutions over frames in two dimensions: the same results, gradients and names as in three."""

import copy

import pytest
import torch
from torch import nn

from mimicmotion.model.over_time import OverTime, quicken
from mimicmotion.model.svd import Vae
from mimicmotion.model.unet import PoseUNet


def _both(channels: int) -> tuple[nn.Conv3d, nn.Conv3d]:
    torch.manual_seed(0)
    plain = nn.Conv3d(channels, channels + 3, (3, 1, 1), padding=(1, 0, 0))
    quick = nn.ModuleList([copy.deepcopy(plain)])
    quicken(quick)
    assert isinstance(quick[0], OverTime)
    return plain, quick[0]


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_results_and_gradients_are_those_of_three_dimensions(frames: int) -> None:
    """Within rounding, for a single frame too."""
    plain, quick = _both(5)
    seen = []
    for layer in (plain, quick):
        values = torch.randn(2, 5, frames, 4, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        result = layer(values)
        result.square().sum().backward()
        seen.append((result, values.grad, layer.weight.grad, layer.bias.grad))
    for one, other in zip(*seen, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_half_precision_learns_on_a_cpu() -> None:
    """The backward pass in bfloat16 with 32 channels, which in three dimensions corrupts memory."""
    plain, quick = _both(32)
    values = torch.randn(1, 32, 4, 8, 8)
    plain(values).square().sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        quick(values).float().square().sum().backward()
    exact, half = plain.weight.grad, quick.weight.grad
    assert (exact - half).norm() < 0.02 * exact.norm()


def test_other_convolutions_are_left_alone() -> None:
    """Another kernel, padding or stride means another sum."""
    layers = nn.ModuleList(
        [
            nn.Conv3d(2, 2, 3, padding=1),
            nn.Conv3d(2, 2, (3, 1, 1)),
            nn.Conv3d(2, 2, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
        ]
    )
    quicken(layers)
    assert {type(layer) for layer in layers} == {nn.Conv3d}


def test_no_layer_of_the_networks_is_left_in_three_dimensions(tiny_config: dict) -> None:
    """A new version of diffusers that makes these layers otherwise is noticed, since it would be slow."""
    vae = Vae(block_out_channels=(32,), down_block_types=("DownEncoderBlock2D",), layers_per_block=1)
    quicken(vae)
    unet = PoseUNet(**tiny_config)
    quicken(unet)
    for network in (unet, vae):
        layers = [one for one in network.modules() if isinstance(one, nn.Conv3d) and one.kernel_size[0] == 3]
        assert layers
        assert {type(one) for one in layers} == {OverTime}

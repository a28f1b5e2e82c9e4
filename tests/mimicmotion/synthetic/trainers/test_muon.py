"""Muon's directions: orthogonal, of the step size of AdamW's; and what is left to AdamW."""

import pytest
import torch
from torch import nn

from mimicmotion.synthetic.trainers.muon import Muon, optimizers, orthogonal


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 40), (2, 40, 8)])
def test_directions_have_singular_values_of_about_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).float())
    assert 0.6 < values.min() < values.max() < 1.3


def test_a_step_is_as_long_as_one_of_adamw_usually_is_whatever_the_gradient():
    moved = []
    for scale in (1.0, 1e-4):
        torch.manual_seed(0)
        p = nn.Parameter(torch.zeros(12, 4, 3, 3))
        p.grad = scale * torch.randn(12, 4, 3, 3)
        Muon([p], lr=1.0, weight_decay=0.0).step()
        moved.append(p.detach().square().mean().sqrt().item())
    assert moved[0] == pytest.approx(0.2, rel=0.15)
    assert moved[1] == pytest.approx(moved[0], rel=0.05)


def test_ends_norms_and_biases_go_to_adamw_and_every_parameter_to_one():
    network = nn.ModuleDict(
        {"conv_in": nn.Conv2d(3, 4, 3), "inner": nn.Linear(4, 4), "norm": nn.LayerNorm(4)}
    )
    muon, adamw = optimizers(network, 1e-3)
    of_muon = {id(p) for p in muon.param_groups[0]["params"]}
    of_adamw = {id(p) for p in adamw.param_groups[0]["params"]}
    assert of_muon == {id(network["inner"].weight)}
    assert of_muon | of_adamw == {id(p) for p in network.parameters()}
    assert not of_muon & of_adamw

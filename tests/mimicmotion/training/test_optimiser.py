import sys

import pytest
import torch
from torch import nn

from mimicmotion.errors import InputError
from mimicmotion.training.optimiser import make_optimiser, moments, set_learning_rate, set_moments


@pytest.fixture(params=["adamw", "adamw_8bit"])
def kind(request, monkeypatch):
    if request.param == "adamw_8bit":
        pytest.importorskip("torchao", reason="the extra eight-bit is not installed")
        monkeypatch.setattr(torch, "compile", lambda function, **options: function)  # minutes on a CPU
    return request.param


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 2))


def advance(module, optimiser, steps):
    for step in range(steps):
        set_learning_rate(optimiser, 0.01 / (step + 1))
        module(torch.full((3, 64), 0.1 * (step + 1))).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.filterwarnings("ignore::UserWarning:torchao", "ignore::DeprecationWarning")
def test_moments_are_there_from_the_start_and_making_them_changes_nothing(kind):
    module, untouched = network(), network().state_dict()
    optimiser = make_optimiser(kind, list(module.parameters()), 0.01, 0.1)
    made = moments(module, optimiser)
    assert len(made) == 8
    assert not any(value.any() for value in made.values())
    assert all(torch.equal(value, untouched[name]) for name, value in module.state_dict().items())

    fresh = network()
    other = make_optimiser(kind, list(fresh.parameters()), 0.01, 0.1)
    advance(module, optimiser, 3)
    advance(fresh, other, 3)
    for name, value in module.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name
        assert not torch.equal(value, untouched[name]), name


@pytest.mark.filterwarnings("ignore::UserWarning:torchao", "ignore::DeprecationWarning")
def test_given_moments_go_on_where_they_were(kind):
    module = network()
    optimiser = make_optimiser(kind, list(module.parameters()), 0.01, 0.1)
    advance(module, optimiser, 3)
    kept = {name: value.clone() for name, value in moments(module, optimiser).items()}
    second = network()
    second.load_state_dict(module.state_dict())
    resumed = make_optimiser(kind, list(second.parameters()), 0.01, 0.1)
    moments(second, resumed)
    set_moments(second, resumed, kept, 3)
    advance(module, optimiser, 2)
    advance(second, resumed, 2)
    tolerance = 0 if kind == "adamw" else 1e-3
    for name, value in module.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=tolerance, msg=name)


def test_eight_bits_without_the_library_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.optim", None)
    with pytest.raises(InputError, match=r"needs the package torchao.*install mimicmotion\[eight-bit\]"):
        make_optimiser("adamw_8bit", list(network().parameters()), 0.01, 0.1)

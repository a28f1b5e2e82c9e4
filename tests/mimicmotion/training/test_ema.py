import pytest
import torch
from torch import nn

from mimicmotion.training.ema import MovingAverage


def test_it_follows_the_recurrence_and_skips_frozen_parameters():
    module = nn.Linear(1, 1)
    module.bias.requires_grad_(False)
    nn.init.constant_(module.weight, 1.0)
    average = MovingAverage(module, decay=0.15)
    expected = 1.0
    for update, value in enumerate((3.0, 5.0, -2.0), start=1):
        nn.init.constant_(module.weight, value)
        average.update(module)
        decay = min(0.15, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * value
    assert set(average.state_dict()) == {"weight"}
    assert average.state_dict()["weight"].item() == pytest.approx(expected)


def test_applied_swaps_the_weights_and_gives_them_back_even_after_an_error():
    module = nn.Linear(2, 2).to(torch.bfloat16)
    average = MovingAverage(module, decay=0.5)
    before = average.state_dict()["weight"].clone()
    nn.init.constant_(module.weight, 7.0)

    def fail_inside():
        with average.applied(module):
            torch.testing.assert_close(module.weight.float(), before)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert (module.weight == 7).all()


def test_a_saved_average_continues_as_if_never_stopped():
    torch.manual_seed(0)
    module = nn.Linear(2, 2)
    whole, stopped = MovingAverage(module, 0.9), MovingAverage(module, 0.9)
    nn.init.normal_(module.weight)
    whole.update(module)
    stopped.update(module)
    resumed = MovingAverage(module, 0.9)
    resumed.load_state_dict(stopped.state_dict(), stopped.updates)
    nn.init.normal_(module.weight)
    whole.update(module)
    resumed.update(module)
    assert torch.equal(whole.state_dict()["weight"], resumed.state_dict()["weight"])


def test_a_missing_parameter_is_an_error():
    with pytest.raises(KeyError):
        MovingAverage(nn.Linear(1, 1), 0.9).load_state_dict({"bias": torch.zeros(1)}, 3)

import pytest
import torch

from mimicmotion.training.distributed.group import World
from mimicmotion.training.loss import LossParts
from mimicmotion.training.measures import Later, Measures, spoilt

ALONE = World(0, 1, torch.device("cpu"))


def parts(total, per_sample, inside, outside):
    return LossParts(*(torch.tensor(value) for value in (total, per_sample, inside, outside)))


def test_means_by_noise_level_and_hands_since_the_last_report():
    measures = Measures(ALONE.device, None)
    measures.add(parts(2.0, [1.0, 3.0], [8.0, 4.0], [10.0, 40.0]), torch.tensor([0.05, 5.0]), 1e9)
    measures.add(parts(4.0, [5.0], [0.0, 0.0], [5.0, 20.0]), torch.tensor([9.0]), 1e9)
    values = measures.report(ALONE)
    assert values["loss/total"] == 3.0
    assert values["loss/sigma_below_0.1"] == 1.0
    assert values["loss/sigma_2_10"] == 4.0
    assert "loss/sigma_above_10" not in values
    assert values["loss/inside_hands"] == 2.0
    assert values["loss/outside_hands"] == pytest.approx(0.25)
    assert values["speed/samples_per_s"] > 0
    assert values["speed/model_tflops_per_worker"] == pytest.approx(values["speed/samples_per_s"] / 1000)
    assert "speed/model_flops_utilisation" not in values
    assert values["memory/peak_gb"] > 0.01

    measures.add(parts(7.0, [7.0], [0.0, 0.0], [1.0, 1.0]), torch.tensor([1.0]), 1e9)
    again = measures.report(ALONE)
    assert again["loss/total"] == 7.0
    assert "loss/inside_hands" not in again


def test_a_round_brings_nothing_to_the_device(monkeypatch):
    """A copy of a constant would make the host wait for the GPU."""
    measures = Measures(ALONE.device, None)
    round_ = parts(2.0, [1.0], [8.0, 4.0], [10.0, 40.0]), torch.tensor([5.0])
    monkeypatch.setattr(torch, "tensor", None)
    measures.add(*round_, 1e9)


@pytest.mark.parametrize(("bad", "flag"), [(2.0, 0), (float("nan"), 1), (float("inf"), 1)])
def test_one_bad_number_is_noticed(bad, flag):
    found = spoilt([torch.tensor(1.0), torch.tensor(bad), torch.tensor(bad)], ALONE)
    assert Later(found).read() == flag == found


def test_utilisation_is_the_share_of_a_known_peak():
    measures = Measures(ALONE.device, 4.0)
    measures.add(parts(2.0, [1.0, 3.0], [8.0, 4.0], [10.0, 40.0]), torch.tensor([0.05, 5.0]), 5e9)
    values = measures.report(ALONE)
    assert values["speed/model_tflops_per_worker"] == pytest.approx(values["speed/samples_per_s"] * 5e-3)
    share = values["speed/model_tflops_per_worker"] / 4
    assert values["speed/model_flops_utilisation"] == pytest.approx(share)

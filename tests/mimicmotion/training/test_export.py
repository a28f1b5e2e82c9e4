import pytest
import torch
from safetensors.torch import load_file, save_file
from training_world import changed

from mimicmotion.errors import DataError, WeightsError
from mimicmotion.model.weights import load_pipeline
from mimicmotion.training.export import check_export, export, read_checkpoint, read_result
from mimicmotion.training.loop import train


@pytest.fixture
def trained(job, report):
    """A finished run with a checkpoint in its middle."""
    job = changed(job, steps=3, checkpoint_every=2, trained="attention")
    train({"job": job, "report": report})
    return job


def test_any_checkpoint_becomes_a_folder_and_a_released_file(trained, tmp_path):
    network, facts = read_checkpoint(trained.checkpoints / "step-00000002")
    assert facts["step"] == 2
    last, _ = read_checkpoint(trained.checkpoints / "step-00000003")
    result, _ = read_result(trained)
    assert network.keys() == result.keys()
    assert all(torch.equal(last[name], value) for name, value in result.items())
    moved = {name for name, value in network.items() if not torch.equal(value, result[name])}
    assert moved
    assert all(".attentions." in name or name.startswith("pose_net.") for name in moved)

    export(network, trained.settings.base, trained.settings.drawing, tmp_path / "out", {"fps": 7})
    folder = load_pipeline(tmp_path / "out" / "checkpoint")
    assert folder.guidance == trained.settings.drawing.model_dump()
    released = load_file(tmp_path / "out" / "released.safetensors")
    for name, value in folder.unet.state_dict().items():
        assert torch.equal(value, network[f"unet.{name}"])
        assert torch.equal(value, released[f"unet.{name}"])


def test_files_that_put_out_something_else_are_noticed(trained, tmp_path):
    network, _ = read_result(trained)
    export(network, trained.settings.base, trained.settings.drawing, tmp_path, {})
    released = load_file(tmp_path / "released.safetensors")
    released["unet.conv_out.bias"] += 0.5
    save_file(released, tmp_path / "released.safetensors")
    with pytest.raises(WeightsError, match=r"released\.safetensors was written, but loaded again"):
        check_export(network, trained.settings.base, tmp_path)


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path):
    (tmp_path / "step-00000001").mkdir()
    with pytest.raises(DataError, match="step-00000001 is no checkpoint of training"):
        read_checkpoint(tmp_path / "step-00000001")

import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.metadata import BytesStorageMetadata
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from mimicmotion.errors import DataError
from mimicmotion.training.distributed.checkpoints import Checkpoints, training_tensors
from mimicmotion.training.distributed.group import World
from mimicmotion.training.distributed.reading import ALLOWED, TensorsReader
from mimicmotion.training.ema import MovingAverage
from mimicmotion.training.export import read_checkpoint
from mimicmotion.training.optimiser import set_moments

ALONE = World(0, 1, torch.device("cpu"))


def run():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    module[0].requires_grad_(False)
    trained = [value for value in module.parameters() if value.requires_grad]
    return module, torch.optim.AdamW(trained, lr=0.1, fused=True), MovingAverage(module, 0.5)


def advance(module, optimiser, average, steps):
    for step in range(steps):
        module(torch.full((2, 3), float(step + 1))).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        average.update(module)


def steps_kept_by_one_memory(folder, device):
    """What each of three checkpoints holds, begun while the tensor goes on changing."""
    weight, world = torch.zeros(1000, device=device), World(0, 1, device)
    checkpoints = Checkpoints(folder, 3, world)
    saved = []
    for step in (1, 2, 3):
        weight.fill_(step)
        saved.append(checkpoints.save(step, {"weight": weight}, {}))
        weight.fill_(-1)
    checkpoints.wait()
    found = []
    for checkpoint in saved:
        read = {"weight": torch.zeros(1000, device=device)}
        checkpoints.load(checkpoint, read)
        found.append(read["weight"].unique().tolist())
    checkpoints.close()
    return found


def test_the_memory_that_takes_the_copies_serves_one_checkpoint_after_another(tmp_path, monkeypatch):
    kept = DefaultStager(StagingOptions(*[False] * 4))  # as for a GPU, but what a CPU lacks
    monkeypatch.setattr("mimicmotion.training.distributed.checkpoints._pinned_copies", lambda device: kept)
    assert steps_kept_by_one_memory(tmp_path, torch.device("cpu")) == [[1.0], [2.0], [3.0]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_copied_into_pinned_memory(tmp_path):
    assert steps_kept_by_one_memory(tmp_path, torch.device("cuda", 0)) == [[1.0], [2.0], [3.0]]


def test_a_run_goes_on_exactly_where_it_was(tmp_path):
    parts = run()
    advance(*parts, 3)
    checkpoints = Checkpoints(tmp_path, 1, ALONE)
    saved = checkpoints.save(3, training_tensors(*parts), {"seed": 1})
    advance(*parts, 2)  # while a thread writes what was there before
    checkpoints.wait()

    resumed = run()
    tensors = training_tensors(*resumed)
    facts = checkpoints.load(saved, tensors)
    assert facts == {"step": 3, "seed": 1}
    resumed[2].updates = facts["step"]
    set_moments(*resumed[:2], tensors, facts["step"])
    advance(*resumed, 2)
    expected, got = training_tensors(*parts), training_tensors(*resumed)
    assert expected.keys() == got.keys()
    assert any("exp_avg_sq" in name for name in got)
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


def test_the_newest_are_kept_and_what_was_cut_short_is_not_there(tmp_path):
    parts = run()
    checkpoints = Checkpoints(tmp_path, 2, ALONE)
    assert checkpoints.newest() is None
    for step in (1, 2, 3):
        checkpoints.save(step, training_tensors(*parts), {})
    checkpoints.wait()
    (tmp_path / "step-00000009.partial").mkdir()
    (tmp_path / "step-00000008").mkdir()
    assert checkpoints.newest() == tmp_path / "step-00000003"
    checkpoints.save(4, training_tensors(*parts), {})
    checkpoints.close()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["step-00000003", "step-00000004", "step-00000008"]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, 1, ALONE)
    saved = checkpoints.save(1, {"model.a": torch.zeros(2)}, {})
    checkpoints.wait()
    with pytest.raises(DataError, match=r"another network: it differs in model\.a, model\.b of 1"):
        checkpoints.load(saved, {"model.b": torch.zeros(2)})
    with pytest.raises(DataError, match=r"differs in model\.a of 1"):
        checkpoints.load(saved, {"model.a": torch.zeros(3)})


def test_a_checkpoint_that_also_trained_what_changes_nothing_is_gone_on_from(tmp_path):
    idle = "exp_avg.unet.x.transformer_blocks.0.attn2.to_q.weight"
    checkpoints = Checkpoints(tmp_path, 1, ALONE)
    saved = checkpoints.save(1, {"model.a": torch.ones(2), idle: torch.ones(2)}, {})
    checkpoints.wait()
    tensors = {"model.a": torch.zeros(2)}
    checkpoints.load(saved, tensors)
    assert (tensors["model.a"] == 1).all()
    with pytest.raises(DataError, match=r"another network: it differs in model\.b of 2"):
        checkpoints.load(saved, {**tensors, "model.b": torch.zeros(2)})


def test_what_keeps_a_checkpoint_from_being_written_comes_out_where_it_is_waited_for(tmp_path):
    checkpoints = Checkpoints(tmp_path / "here", 1, ALONE)
    checkpoints.save(1, {"a": torch.zeros(2)}, {"not": object()})
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save(2, {"a": torch.zeros(2)}, {})
    assert checkpoints.newest() is None


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    "harm",
    [
        lambda metadata: Harm(),
        lambda metadata: replace(metadata, planner_data=Harm()),
        # Torch reads such bytes as a pickle of its own.
        lambda metadata: replace(metadata, state_dict_metadata={"model.a": BytesStorageMetadata()}),
    ],
)
def test_a_checkpoint_that_would_run_something_is_refused(tmp_path, monkeypatch, harm):
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints(tmp_path, 1, ALONE)
    saved = checkpoints.save(1, {"model.a": torch.zeros(2)}, {})
    checkpoints.wait()
    metadata = TensorsReader(saved).read_metadata()
    (saved / ".metadata").write_bytes(pickle.dumps(harm(metadata)))
    for read in (
        lambda: checkpoints.load(saved, {"model.a": torch.zeros(2)}),
        lambda: read_checkpoint(saved),
    ):
        with pytest.raises(DataError, match="which no checkpoint of training does"):
            read()
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"model.a": 1}), pickle.dumps(None)])
def test_damaged_metadata_is_told(tmp_path, content):
    checkpoints = Checkpoints(tmp_path, 1, ALONE)
    saved = checkpoints.save(1, {"model.a": torch.zeros(2)}, {})
    checkpoints.wait()
    (saved / ".metadata").write_bytes(content)
    with pytest.raises(DataError, match="the checkpoint is damaged; remove its folder"):
        checkpoints.load(saved, {"model.a": torch.zeros(2)})


@pytest.mark.parametrize("name", ["../other.distcp", "/etc/passwd", "__0_0.distcp/../../x"])
def test_metadata_names_no_file_elsewhere(tmp_path, name):
    checkpoints = Checkpoints(tmp_path, 1, ALONE)
    saved = checkpoints.save(1, {"model.a": torch.zeros(2)}, {})
    checkpoints.wait()
    metadata = TensorsReader(saved).read_metadata()
    for place in metadata.storage_data.values():
        place.relative_path = name
    (saved / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(DataError, match="names a file outside of the checkpoint"):
        checkpoints.load(saved, {"model.a": torch.zeros(2)})


def test_libraries_unpickle_only_what_a_checkpoint_needs(tmp_path):
    """Asked of Python itself, which reports every class that an unpickler looks up, whoever calls it."""
    parts = run()
    checkpoints = Checkpoints(tmp_path, 1, ALONE)
    saved = checkpoints.save(1, training_tensors(*parts), {})
    checkpoints.wait()
    looked_up, listens = set(), [True]

    def hook(event, arguments):
        if listens[0] and event == "pickle.find_class":
            looked_up.add(arguments)

    sys.addaudithook(hook)
    checkpoints.load(saved, training_tensors(*parts))
    read_checkpoint(saved)
    pickle.loads(pickle.dumps(Path()))
    listens[0] = False
    assert ("pathlib", Path().__class__.__name__) in looked_up, "the hook sees unpicklers"
    assert ("torch.distributed.checkpoint.metadata", "Metadata") in looked_up
    dtypes = {
        (module, name) for module, name in looked_up if isinstance(getattr(torch, name, None), torch.dtype)
    }
    assert looked_up - dtypes <= ALLOWED


@pytest.mark.parametrize("damage", ["flipped", "emptied", "gone", "facts"])
def test_a_damaged_newest_checkpoint_is_passed_over_for_an_older_one(tmp_path, caplog, damage):
    checkpoints = Checkpoints(tmp_path, 2, ALONE)
    for step in (1, 2):
        checkpoints.save(step, {"a": torch.full((3,), float(step))}, {})
    checkpoints.wait()
    assert checkpoints.newest_sound() == tmp_path / "step-00000002"
    path = tmp_path / "step-00000002" / ("facts.json" if damage == "facts" else "__0_0.distcp")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage != "flipped" else bytes(byte ^ 1 for byte in path.read_bytes()))
    assert checkpoints.newest_sound() == tmp_path / "step-00000001"
    assert "passing over a damaged checkpoint" in caplog.text
    assert str(path if damage != "facts" else path.parent) in caplog.text
    tensors = {"a": torch.zeros(3)}
    assert checkpoints.load(checkpoints.newest_sound(), tensors) == {"step": 1}
    assert tensors["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("keep", [1, 2])
def test_what_is_written_after_damaged_ones_were_passed_over_stays(tmp_path, keep):
    """They count as newer by their steps, and would push out each one that the run writes from now on."""
    for number in (10, 15):
        old = Checkpoints(tmp_path, 9, ALONE)
        old.save(number, {"a": torch.ones(3)}, {})
        old.close()
        (tmp_path / f"step-000000{number}" / "__0_0.distcp").write_bytes(b"")
    checkpoints = Checkpoints(tmp_path, keep, ALONE)
    assert checkpoints.newest_sound() is None
    for step in (5, 7):
        checkpoints.save(step, {"a": torch.ones(3)}, {})
        checkpoints.wait()
        assert checkpoints.newest_sound() == tmp_path / f"step-{step:08d}"
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["step-00000005", "step-00000007"][-keep:]

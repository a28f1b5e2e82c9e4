"""``mimicmotion export`` on a checkpoint of the embedded world's network."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from training_world import make_clip
from typer.testing import CliRunner

from flows import cli
from mimicmotion.animation.checkpoint import read_checkpoint_facts
from mimicmotion.errors import DataError, InputError
from mimicmotion.model.weights import load_pipeline
from mimicmotion.training.distributed.checkpoints import Checkpoints
from mimicmotion.training.distributed.group import World
from mimicmotion.training.job import write_clips
from mimicmotion.training.network import PosedDenoiser
from stages.engine.config import load_config

BASE = Path(__file__).parents[3] / "mimicmotion" / "synthetic" / "weights" / "base"


def test_a_checkpoint_becomes_a_folder_and_a_file(tmp_path: Path) -> None:
    pipeline = load_pipeline(BASE)
    tensors = {
        f"model.{name}": value
        for name, value in PosedDenoiser(pipeline.unet, pipeline.pose_net).state_dict().items()
    }
    average = {"average.pose_net.scale": torch.full_like(tensors["model.pose_net.scale"], 3.0)}
    checkpoints = Checkpoints(tmp_path / "checkpoints", 1, World(0, 1, torch.device("cpu")))
    saved = checkpoints.save(7, {**tensors, **average}, {})
    checkpoints.wait()
    write_clips(tmp_path / "clips.jsonl", [make_clip(tmp_path, "video", (80, 80), 0)])

    arguments = ["export", "demo", str(saved), "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "300"})
    assert shown.exit_code == 0, shown.output
    assert "step 7" in shown.stdout
    assert (tmp_path / "out" / "released.safetensors").is_file()
    exported = load_pipeline(tmp_path / "out" / "checkpoint")
    assert exported.pose_net.scale.item() == 3.0
    assert torch.equal(exported.unet.conv_in.weight, pipeline.unet.conv_in.weight)

    # One that learnt otherwise is not exported as if it had not.
    told = load_config("demo").stages["train"].learnt
    (tmp_path / "out" / "mine.txt").write_text("")
    with pytest.raises(InputError, match="out is there already: name another folder"):
        raise CliRunner().invoke(cli.app, arguments).exception
    arguments[-1] = str(tmp_path / "again")
    for learnt, code in ((told, 0), ({**told, "fps": 5.0}, 1)):
        shutil.rmtree(tmp_path / "again", ignore_errors=True)
        facts = json.loads((saved / "facts.json").read_text())
        (saved / "facts.json").write_text(json.dumps({**facts, "sampling": {}, "learnt": learnt}))
        assert CliRunner().invoke(cli.app, arguments).exit_code == code
    (saved / "facts.json").write_text(json.dumps({name: facts[name] for name in facts if name != "sampling"}))

    # In the folder of its stage a checkpoint of an earlier version is the student's.
    moved = tmp_path / "distill" / "recipe" / "state" / "all" / "checkpoints" / saved.name
    moved.parent.mkdir(parents=True)
    saved.rename(moved)
    write_clips(moved.parents[1] / "clips.jsonl", [make_clip(tmp_path, "video", (80, 80), 0)])
    arguments[2:] = [str(moved), "--out", str(tmp_path / "student")]
    refused = CliRunner().invoke(cli.app, arguments)
    with pytest.raises(InputError, match=r"was written by none of its sections that train \(train\)"):
        raise refused.exception
    arguments[1] = "demo-distilled"
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert read_checkpoint_facts(tmp_path / "student" / "checkpoint").sampling["num_steps"] == 4

    wrong = CliRunner().invoke(cli.app, ["export", "demo", str(tmp_path), "--out", str(tmp_path / "no")])
    with pytest.raises(DataError, match="is no checkpoint of training"):
        raise wrong.exception

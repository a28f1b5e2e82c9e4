"""Ablations: what arms share, what they come to, and how that is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.study import load_study, publish_study
from mimicmotion.errors import ConfigError, InputError, StageError
from stages.adapters.mlflow.client import mlflow_client, tracking_uri
from stages.runner import run_stage

pytestmark = pytest.mark.timeout(900)  # creating MLflow's tables takes long on a busy machine

CONFIG = """\
title: Fakes compared
workspace: space
train: {}
evaluate: {}
ablation:
  seeds: [3, 5]
  seed_fields: [train.seed]
  metrics: [psnr, fvd]
  note: Every arm starts from one base.
  arms:
    - {name: base}
    - {name: + gain, set: [train.gain=0.5]}
    - {name: + bonus, set: [evaluate.bonus=-0.25]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``configs/study.yaml``; the current folder."""
    from fake_study import STAGES

    monkeypatch.setattr("stages.engine.config.STAGES", STAGES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "study.yaml").write_text(CONFIG)
    return tmp_path


def test_the_arms_of_the_paper_share_every_stage_that_does_not_differ() -> None:
    study = load_study("configs/ablation/demo.yaml", ["ablation.seeds=[4]"])
    to_do = {trial.arm: trial.stages for trial in study.trials}
    own = ("train", "animate", "evaluate")
    assert to_do == {
        "base": ("decode", "pose", "clips", *own),
        "+ hand loss": own,
        "+ confidence": own,
        "+ progressive fusion": ("animate", "evaluate"),
    }
    base, hands, confidence, fusion = (trial.config.stages for trial in study.trials)
    assert [arm["train"].hand_weight for arm in (base, hands, confidence, fusion)] == [1, 10, 10, 10]
    assert [arm["train"].drawing.use_confidence for arm in (base, hands, confidence)] == [False, False, True]
    assert [arm["animate"].fusion for arm in (confidence, fusion)] == ["first", "progressive"]
    assert {arm[name].seed for arm in (base, fusion) for name in ("train", "animate")} == {4}


def test_arms_of_the_hard_world_build_on_the_one_they_name() -> None:
    study = load_study("configs/ablation/hard.yaml", ["ablation.seeds=[0]"])
    stages = {trial.arm: trial.config.stages for trial in study.trials}
    gates = {arm: (one["train"].hand_weight, one["train"].hand_threshold) for arm, one in stages.items()}
    assert gates["base"][0] == 1
    assert gates["+ hand loss, ungated"] == (10, 0)
    assert gates["+ hand loss, gated"] == gates["+ confidence"] == (10, 0.6)
    assert not stages["+ hand loss, gated"]["train"].drawing.use_confidence
    folders = {arm: one["pose"].import_folder.name for arm, one in stages.items()}
    assert (folders["oracle confidence"], folders["shuffled confidence"]) == ("oracle", "shuffled")
    assert folders["+ progressive fusion"] == folders["base"] == "detected"
    assert stages["+ calibrated confidence"]["train"].calibration.name == "calibration.json"
    assert stages["oracle confidence"]["train"].calibration is None
    assert {one["animate"].fusion for arm, one in stages.items() if "fusion" not in arm} == {"none"}
    assert study.settings.compared_with()["shuffled confidence"] == "+ confidence"
    # Windows are chosen alike whatever the confidences are.
    limits = {(one["clips"].keypoint_threshold, one["clips"].min_confidence) for one in stages.values()}
    assert limits == {(0, 0)}
    shared = {trial.arm: trial.stages for trial in study.trials}
    assert shared["+ progressive fusion"] == ("animate", "evaluate")


def test_each_arm_of_the_augmentations_changes_the_samples_in_one_way() -> None:
    study = load_study("configs/ablation/augmentation.yaml", ["ablation.seeds=[0]"])
    sections = [trial.config.stages["train"] for trial in study.trials]
    changes = [(one.mirror, one.misalign, one.drop_points) for one in sections]
    assert changes == [(0, 0, 0), (0.5, 0, 0), (0, 0.1, 0), (0, 0, 0.05)]
    assert study.trials[3].stages[0] == "train"


@pytest.mark.parametrize(("name", "whole"), [("demo", "demo"), ("paper", "tiktok-335-340")])
def test_the_last_arm_is_the_whole_method(name: str, whole: str) -> None:
    from stages.engine.config import load_config

    last = load_study(f"configs/ablation/{name}.yaml").trials[3].config
    assert last.digest() == load_config(f"configs/{whole}.yaml").digest()


def test_configs_that_cannot_be_compared(project: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean gain"):
        load_study("study", ["ablation.arms=[{name: a}, {name: b, set: [train.gian=1]}]"])
    with pytest.raises(ConfigError, match="a name of its own"):
        load_study("study", ["ablation.arms=[{name: a}, {name: a}]"])
    with pytest.raises(ConfigError, match="arm b comes after c, which is no arm before it"):
        load_study("study", ["ablation.arms=[{name: a}, {name: b, after: c}]"])
    with pytest.raises(ConfigError, match=r"metrics \['vmaf'\] are unknown"):
        load_study("study", ["ablation.metrics=[vmaf]"])
    with pytest.raises(InputError, match="has no section ablation"):
        load_study("study", ["ablation=null"])


@pytest.mark.usefixtures("alone")
def test_a_table_files_and_nested_runs(project: Path) -> None:
    study = load_study("study")
    with pytest.raises(StageError, match="has no dataset for this config yet"):
        publish_study(study)
    ran = [run_stage(trial.config, name) for trial in study.trials for name in trial.stages]
    assert [result.name for result in ran].count("train") == 4
    assert {result.state for result in ran} == {"published"}
    result = publish_study(study)
    rows = {(row.arm, row.metric): row for row in result.rows}
    assert rows["+ gain", "psnr"].change == pytest.approx(0.5)
    assert rows["+ gain", "psnr"].is_gain
    assert rows["+ bonus", "psnr"].is_gain is False
    assert rows["base", "fvd"].value is None
    assert rows["copy_reference", "psnr"].value == 10.0
    folder = Path(result.folder)
    assert {path.name for path in folder.iterdir()} == {"table.md", "table.json", "chart.png"}
    table = (folder / "table.md").read_text(encoding="utf-8")
    assert "**+0.50" in table
    assert table.endswith("\n\nEvery arm starts from one base.")
    assert len(json.loads((folder / "table.json").read_text())) == len(result.rows)
    again = publish_study(load_study("study"))
    assert again.run_id == result.run_id
    check_runs(study, result.run_id)


def check_runs(study: Any, run_id: str | None) -> None:
    client = mlflow_client(tracking_uri(study.config))
    parent = client.get_run(run_id)
    assert parent.info.run_name == "ablation study"
    assert "| + gain |" in parent.data.tags["mlflow.note.content"]
    assert "Every arm starts from one base." in parent.data.tags["mlflow.note.content"]
    assert {item.path for item in client.list_artifacts(run_id)} == {"table.md", "table.json", "chart.png"}
    below = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    assert {run.info.run_name for run in below} == {"base", "+ gain", "+ bonus"}
    gain = next(run for run in below if run.info.run_name == "+ gain")
    assert gain.data.metrics["psnr/change"] == pytest.approx(0.5)
    assert "`train.gain=0.5`" in gain.data.tags["mlflow.note.content"]


def test_arms_are_shown_side_by_side(tmp_path: Path) -> None:
    from scored_clips import HEIGHT, make_inputs

    from flows.study import write_looks
    from mimicmotion.video.files import iter_frames
    from stages.parts.generated import generated_clips

    by_arm = {}
    for arm in ("base", "+ gain"):
        folder = tmp_path / f"space {arm}"
        folder.mkdir()
        by_arm[arm] = list(generated_clips(make_inputs(folder)))
    write_looks(tmp_path, by_arm)
    assert (tmp_path / "frames.png").stat().st_size > 0
    for clip in by_arm["base"]:
        frames = list(iter_frames(tmp_path / f"{clip.clip_id}.mp4"))
        assert len(frames) == 12
        assert frames[0].shape[1] > 3 * frames[0].shape[0] * 32 / HEIGHT * 0.9

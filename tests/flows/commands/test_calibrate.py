"""The command ``calibrate``, and what a config does with what it made."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.commands import calibrate as calibrating
from mimicmotion.errors import ConfigError, InputError
from mimicmotion.pose.calibration import PARTS, Calibration, Curve
from mimicmotion.video.files import write_preview
from stages.engine.config import load_config
from stages.engine.keys import recipe_key

READERS = ("clips", "train", "animate", "evaluate")


def calibrate(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["calibrate", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_built_in_world_calibrates_the_shipped_model(tmp_path: Path) -> None:
    out = tmp_path / "two words.json"
    text = calibrate("demo", "--number", "16", "--set", f"workspace={tmp_path}", "--out", str(out))
    assert "hands" in text
    used = shlex.split(text.partition("use it: ")[2])
    assert used[1] == "rebuild"
    assert used[3:] == ["--set", f"workspace={tmp_path}", "--set", f"pose.calibration={out}"]
    config = load_config("demo", [f"pose.calibration={out}"])
    assert config.stages["pose"].check() == []
    assert Calibration.read(out).made_from["truth"] == "world"
    assert out.with_suffix(".png").is_file()


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--truth annotations, --annotations FILE and --pictures FOLDER"):
        calibrate("demo", "--truth", "annotations", "--set", f"workspace={tmp_path}")
    for lone in ("--annotations", "--pictures"):
        for truth in ([], ["--truth", "annotations"]):
            with pytest.raises(InputError, match="go together"):
                calibrate("demo", lone, str(tmp_path), *truth, "--set", f"workspace={tmp_path}")
    with pytest.raises(InputError, match="nothing to calibrate"):
        calibrate(
            "demo", "--set", "pose={source: import, import_folder: .}", "--set", "pose.detector=null",
            "--set", "pose.wholebody=null",
        )  # fmt: skip


@pytest.mark.parametrize("name", ["curves.png", "curves", "folder.json"])
def test_a_place_that_the_chart_would_take_is_refused_first(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"must name a file ending in \.json"):
        calibrate("demo", "--set", f"workspace={tmp_path}", "--out", str(tmp_path / name))


def test_a_short_film_is_looked_at_once_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_preview(tmp_path / "v.mp4", list(np.zeros((3, 16, 16, 3), np.uint8)), 12)
    decoded = SimpleNamespace(ids=("a", "b"), path=lambda *_: tmp_path / "v.mp4")
    pipeline = SimpleNamespace(result=lambda name: decoded)
    monkeypatch.setattr(calibrating, "StageGraph", lambda settings: pipeline)
    monkeypatch.setattr(
        "mimicmotion.metrics.confidence.reliability.judge_agreement", lambda _, frames: len([*frames])
    )
    assert calibrating._agreed(None, None, 40) == [3, 3]
    assert calibrating._agreed(None, None, 4) == [2, 2]


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    path = tmp_path / "curves.json"
    Calibration("ab" * 32, dict.fromkeys(PARTS, Curve((0.0, 1.0), (0.1, 0.9)))).write(path)
    return path


def test_every_stage_that_reads_confidences_follows_and_pose_stays(curves: Path) -> None:
    plain, calibrated = load_config("demo"), load_config("demo", [f"pose.calibration={curves}"])
    for name in READERS:
        assert getattr(calibrated.stages[name], "calibration") == curves  # noqa: B009 - not every stage has it
        assert recipe_key(calibrated.stages[name]) != recipe_key(plain.stages[name])
    assert recipe_key(calibrated.stages["pose"]) == recipe_key(plain.stages["pose"])


def test_a_path_is_relative_to_where_it_was_written(
    curves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = Path("configs/demo.yaml").resolve()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(
        f"extends: {demo}\nworkspace: w\npose: {{calibration: {curves.name}}}\n"
    )
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "last.yaml").write_text("extends: ../own.yaml\nclips: {stride: 4}\n")
    for config in (
        load_config("below/last.yaml"),
        load_config("own.yaml", [f"pose.calibration={curves.name}"]),
    ):
        assert {getattr(config.stages[name], "calibration") for name in READERS} == {curves}  # noqa: B009


def test_a_network_is_not_shown_what_it_did_not_learn(curves: Path) -> None:
    with pytest.raises(ConfigError, match=r"animate: calibration is None.*set pose.calibration"):
        load_config("demo", [f"train.calibration={curves}"])


def test_a_calibration_of_another_model_is_found_before_anything_runs(curves: Path) -> None:
    (problem,) = load_config("demo", [f"pose.calibration={curves}"]).stages["pose"].check()
    assert "does not fit poses found by" in problem
    curves.write_text(json.dumps({}))
    (problem,) = load_config("demo", [f"pose.calibration={curves}"]).stages["pose"].check()
    assert "is no calibration" in problem

"""Configs: merged, typed, resolved, and wrong in every way at once."""

import shlex
from pathlib import Path

import pytest
import yaml
from fake_stages import CLASSES

from mimicmotion.errors import ConfigError
from stages.engine.config import PipelineConfig, load_config, redacted, tracking_uri

GOOD = """\
workspace: ../space
letters:
  source: texts
  factor: 2
total:
  offset: 1
  runtime:
    workers: 2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "base.yaml").write_text(GOOD)
    return configs


def load(name: str, *overrides: str) -> PipelineConfig:
    return load_config(name, overrides, CLASSES)


def problems(name: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(name, *overrides)
    return list(caught.value.problems)


def test_a_name_and_a_path_mean_the_same(folder: Path) -> None:
    assert load("base") == load("configs/base.yaml")
    assert load("base").source == "configs/base.yaml"


def test_paths_are_relative_to_their_file_and_overrides_to_the_current_folder(folder: Path) -> None:
    config = load("base")
    assert config.workspace == str(folder.parent / "space")
    assert config.stages["letters"].source == folder / "texts"
    assert load("base", "letters.source=texts").stages["letters"].source == folder.parent / "texts"


def test_a_uri_stays_as_it_is(folder: Path) -> None:
    assert load("base", "workspace=s3://bucket/space?region=x").workspace == "s3://bucket/space?region=x"


def test_a_file_uri_is_the_path_it_names(folder: Path) -> None:
    config = load("base", "workspace=file:///some/a%20space")
    assert config.workspace == "/some/a space"
    assert tracking_uri(config) == "sqlite:////some/a space/mlflow.db"


def test_a_variant_replaces_few_fields_and_paths_stay_with_the_file_that_wrote_them(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "variant.yaml").write_text("extends: ../base.yaml\ntotal:\n  offset: 5\n")
    config = load("configs/sub/variant.yaml")
    assert config.stages["total"].offset == 5
    assert config.stages["total"].runtime.workers == 2
    assert config.stages["letters"].source == folder / "texts"


def test_overrides_are_yaml_and_merge(folder: Path) -> None:
    config = load("base", "total.runtime.workers=3", "total.trains=true", "letters.factor=7")
    total = config.stages["total"]
    assert (total.runtime.workers, total.trains, total.offset) == (3, True, 1)
    assert config.stages["letters"].factor == 7


def test_stages_run_in_their_order_not_in_that_of_the_file(folder: Path) -> None:
    (folder / "turned.yaml").write_text("total: {}\nletters: {source: x}\nworkspace: w\n")
    assert list(load("turned").stages) == ["letters", "total"]


def test_all_problems_at_once_with_file_line_field_and_remedy(folder: Path) -> None:
    (folder / "wrong.yaml").write_text(
        "workspce: x\nletters:\n  sorce: texts\n  factor: 0\n"
        "total:\n  offset: many\n  runtime:\n    wrkers: 2\n"
    )
    found = "\n".join(problems("wrong"))
    assert "configs/wrong.yaml:1: workspce: unknown section; did you mean workspace?" in found
    assert "configs/wrong.yaml:3: letters.sorce: unknown field; did you mean source?" in found
    assert "configs/wrong.yaml:2: letters.source: is required." in found
    assert "configs/wrong.yaml:4: letters.factor: got 0, allowed: greater than or equal to 1." in found
    assert "configs/wrong.yaml:6: total.offset: got 'many', allowed: a valid integer" in found
    assert "configs/wrong.yaml:8: total.runtime.wrkers: unknown field; did you mean workers?" in found
    assert "workspace: is required." in found


def test_an_old_name_of_a_field_ends_with_the_new_one() -> None:
    overrides = ["train.guidance.use_confidence=false", "train.runtime.sharing=shard", "animate.guidance=2"]
    with pytest.raises(ConfigError) as error:
        load_config("demo", overrides)
    first = "--set train.guidance.use_confidence=false: train.guidance: has another name now: write drawing"
    assert first in str(error.value)
    assert "train.runtime.sharing: has another name now: write strategy (ddp for" in str(error.value)
    assert "animate.guidance: has another name now: write guidance_scale instead" in str(error.value)


def test_a_problem_of_an_override_names_the_override(folder: Path) -> None:
    assert problems("base", "total.ofset=1") == [
        "--set total.ofset=1: total.ofset: unknown field; did you mean offset?"
    ]
    assert problems("base", "nonsense", "total.offset=[") == [
        "--set nonsense: write it as section.field=value.",
        "--set total.offset=[: the value is not YAML "
        "(line 1: expected the node content, but found '<stream end>').",
    ]


def test_a_stage_without_what_it_reads(folder: Path) -> None:
    (folder / "alone.yaml").write_text("workspace: w\ntotal: {}\n")
    assert problems("alone") == [
        "configs/alone.yaml:2: total: reads letters, but there is no section letters. Add one."
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workspace: a\nworkspace: b\n", "twice.yaml:2: workspace: stands twice in this section."),
        ("- a\n", "twice.yaml:1: got a list, allowed: sections with fields."),
        ("a: [1\n", "is not YAML"),
        ("1: a\n", "field name 1 is not text"),
        ("extends: twice\n", "extends itself"),
        ("extends: [a]\n", "extends: got ['a'], allowed: one config name."),
        ("workspace: .nan\n", "workspace: got nan"),
        ("workspace: a\n", "configs/twice.yaml: it has no stage. Add a section, letters first."),
    ],
)
def test_files_that_cannot_be_read(folder: Path, text: str, message: str) -> None:
    (folder / "twice.yaml").write_text(text)
    assert message in "\n".join(problems("twice"))


def test_a_folder_of_ones_own_hides_nothing_that_is_shipped(folder: Path) -> None:
    beside = folder.parent / "mine.yaml"
    for mine in (folder / "mine.yaml", beside):
        mine.write_text("extends: demo\nworkspace: here\n")
        assert load_config(str(mine)).stages.keys() == load_config("demo").stages.keys()
    assert load_config("demo").name == "demo"
    assert load_config("mine").workspace == str(folder / "here")
    (folder / "demo.yaml").write_text(GOOD)
    assert load("demo").workspace == str(folder.parent / "space")
    assert {"base", "paper", "ablation/hard"} <= {*problems("qqq")[0].strip(".").split(": ")[-1].split(", ")}


def test_an_unknown_name_gets_the_nearest(folder: Path) -> None:
    assert problems("bas") == ["config bas: there is no file configs/bas.yaml. Did you mean base?"]


def test_not_a_number_is_refused(folder: Path) -> None:
    assert "item_timeout_s: got nan" in problems("base", "total.runtime.item_timeout_s=.nan")[0]


def test_the_resolved_config_reads_back_as_itself(folder: Path) -> None:
    config = load("base")
    (folder / "again.yaml").write_text(config.to_yaml())
    again = load("again")
    assert (again.settings, again.stages) == (config.settings, config.stages)


def test_secrets_stay_out_of_the_resolved_config(folder: Path) -> None:
    config = load("base", "mlflow.tracking_uri=postgresql://user:hunter2@host/db")
    assert config.settings.mlflow.tracking_uri == "postgresql://user:hunter2@host/db"
    assert "hunter2" not in config.to_yaml()
    assert yaml.safe_load(config.to_yaml())["mlflow"]["tracking_uri"] == "postgresql://***@host/db"
    assert redacted("http://host/x") == "http://host/x"


LAUGHS = "\n".join(
    ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
)
"""A kilobyte that comes to more values than any machine can hold."""


@pytest.mark.parametrize("text", [LAUGHS, "a: &a [*a]", "a: &a {b: *a}"])
def test_aliases_that_come_to_very_much_are_refused(folder: Path, text: str) -> None:
    (folder / "much.yaml").write_text(text)
    (problem,) = problems("much")
    assert "its aliases come to more than 10000 values, or go round in a circle" in problem


def test_so_are_those_of_an_override_and_deep_nesting(folder: Path) -> None:
    laughs = "[&a [x, x], &b [*a, *a], &c [" + ", ".join(["*b"] * 3000) + "]]"
    (problem,) = problems("base", f"total.offset={laughs}")
    assert "the value is not YAML (its aliases come to more than" in problem
    (problem,) = problems("base", "total.offset=" + "[" * 5000)
    assert "the value is not YAML" in problem


def test_aliases_are_read(folder: Path) -> None:
    (folder / "twice.yaml").write_text("extends: base\nletters: &same {source: texts, factor: 3}\n")
    (folder / "more.yaml").write_text("extends: twice\ntotal: {offset: &one 4, runtime: {workers: *one}}\n")
    assert load("more").stages["total"].runtime.workers == 4


def test_a_command_repeats_what_was_set_but_secrets(folder: Path) -> None:
    config = load(
        "base",
        "letters.factor=7",
        "mlflow.experiment=two words",
        "mlflow.tracking_uri=postgresql://user:hunter2@host/db",
        "ray.runtime_env={env_vars: {HF_TOKEN: hunter2, A: b}}",
        "ray.runtime_env.env_vars.AWS_SECRET_ACCESS_KEY=hunter2",
    )
    command = config.command("stage total")
    assert "hunter2" not in command
    assert shlex.split(command) == [
        *("mimicmotion", "stage", "total", "configs/base.yaml"),
        *("--set", "letters.factor=7"),
        *("--set", "mlflow.experiment=two words"),
        *("--set", 'mlflow.tracking_uri="postgresql://***@host/db"'),
        *("--set", 'ray.runtime_env={"env_vars": {"HF_TOKEN": "***", "A": "b"}}'),
        *("--set", 'ray.runtime_env.env_vars.AWS_SECRET_ACCESS_KEY="***"'),
    ]


@pytest.mark.parametrize(
    ("overrides", "threshold"),
    [([], 0.5), (["pose.score_threshold=0.6"], 0.6), (["evaluate.score_threshold=0.7"], 0.7)],
)
def test_people_are_found_again_as_the_pose_stage_finds_them(overrides: list[str], threshold: float) -> None:
    assert load_config("demo", overrides).stages["evaluate"].score_threshold == threshold


def test_the_judge_of_animate_finds_people_as_pose_does_where_it_says_nothing_else(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "extends: demo\nworkspace: w\npose: {score_threshold: 0.6, nms_threshold: 0.7}\n"
        "animate: {judge: {score_threshold: 0.4}}\n"
    )
    stages = load_config(str(path)).stages
    assert (stages["animate"].judge.score_threshold, stages["animate"].judge.nms_threshold) == (0.4, 0.7)
    assert stages["evaluate"].score_threshold == 0.6


@pytest.mark.parametrize(("window", "refused"), [(7, True), (8, False)])
def test_a_window_that_a_network_does_not_take_is_refused_before_the_training(window, refused):
    if refused:
        with pytest.raises(ConfigError, match="fvd_small needs windows of at least 8 frames, window is 7"):
            load_config("demo", [f"evaluate.window={window}"])
    else:
        load_config("demo", [f"evaluate.window={window}"])

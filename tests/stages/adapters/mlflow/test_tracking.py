"""Tracking on a real MLflow store in SQLite: runs, pictures, the registry, and a store that is away."""

import json
import pickle
import shutil
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_stages import Letters, Total, make_config, write_texts
from training_world import make_pipeline

from mimicmotion.errors import InputError, StageError
from stages.adapters.mlflow import tracking
from stages.adapters.mlflow.client import ARTIFACTS, begin_experiment, bring_here, mlflow_client, quoted
from stages.adapters.mlflow.registry import download_model
from stages.adapters.mlflow.reports import MlflowReport
from stages.adapters.mlflow.runs import DIGEST_TAG, LONGEST_NOTE, fitted
from stages.adapters.mlflow.tracking import parent_run_id, stage_run
from stages.engine.config import MlflowSettings, PipelineConfig, Settings, tracking_uri
from stages.engine.plan import StageGraph
from stages.runner import run_stage, track_stage

pytestmark = pytest.mark.timeout(900)  # creating the tables takes long on a busy machine


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose store is made once, as that takes seconds."""
    return tmp_path_factory.mktemp("space")


@pytest.fixture
def config(space: Path, tmp_path: Path) -> PipelineConfig:
    source = write_texts(tmp_path / "source", a="one", b="reject it", c="three")
    # The workspace is shared: another factor for each test makes its work its own.
    return make_config(
        space, Letters(source=source, factor=zlib.crc32(tmp_path.name.encode()) % 9973 + 1), Total()
    )


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, alone: None) -> None:
    """Items in this process, MLflow as it is."""
    monkeypatch.setattr(tracking, "stage_run", stage_run)


def client_of(config: PipelineConfig) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(config))


@pytest.mark.usefixtures("here")
def test_a_stage_has_a_run_below_the_run_of_its_config(config: PipelineConfig) -> None:
    letters = run_stage(config, "letters")
    total = run_stage(config, "total")
    client = client_of(config)
    parent = client.get_run(parent_run_id(config))
    experiment = client.get_experiment(parent.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    run = client.get_run(letters.run_id)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert client.get_run(total.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (run.info.status, parent.info.status) == ("FINISHED", "FINISHED")
    assert run.data.params["factor"] == str(config.stages["letters"].factor)
    assert run.data.params["runtime.workers"] == "1"
    assert parent.data.params["letters.factor"] == run.data.params["factor"]
    assert not any("runtime" in name for name in parent.data.params)
    assert {read.dataset.name: read.dataset.digest for read in parent.inputs.dataset_inputs} == {
        "letters": letters.dataset_key,
        "total": total.dataset_key,
    }
    assert run.data.metrics["items_kept"] == 2
    assert run.data.metrics["items_rejected"] == 1
    assert run.data.tags["dataset_key"] == letters.dataset_key
    assert {item.path for item in client.list_artifacts(letters.run_id)} == {"config.yaml", "rejected.json"}
    assert parent.data.tags["dataset.total"] == total.dataset_key
    note = parent.data.tags["mlflow.note.content"]
    assert f"| letters | 2 | 1 | `{letters.dataset_key}` |" in note
    assert "mimicmotion rebuild configs/fake.yaml" in note
    shown = {item.path for item in client.list_artifacts(total.run_id)}
    assert {"images", "note.md", "notes", "config.yaml"} <= shown
    assert client.get_metric_history(total.run_id, "total")[0].step == 1
    assert StageGraph(config).dataset("total").manifest.run_id == total.run_id
    ((read,),) = [client.get_run(total.run_id).inputs.dataset_inputs]
    assert (read.dataset.name, read.dataset.digest) == ("letters", letters.dataset_key)
    assert json.loads(read.dataset.profile)["kept"] == 2


@pytest.mark.usefixtures("here")
def test_a_stage_writes_a_section_on_the_page_of_the_whole_run(config: PipelineConfig) -> None:
    letters = run_stage(config, "letters")
    report = MlflowReport(tracking_uri(config), letters.run_id)
    report.section("Scores", "good")
    report.section("Model", "version 1")
    report.section("Scores", "better", {"psnr": 21.5})
    total = run_stage(config, "total")
    page = client_of(config).get_run(parent_run_id(config)).data
    assert page.metrics == {"psnr": 21.5}
    note = page.tags["mlflow.note.content"]
    assert note.count("## ") == 3
    assert "good" not in note
    # What came out stands above the stages.
    order = ("## Model\n\nversion 1\n", "## Scores\n\nbetter\n", "## Stages\n", f"`{total.dataset_key}`")
    places = [note.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.usefixtures("here")
def test_running_again_joins_the_same_parent_and_another_config_does_not(config: PipelineConfig) -> None:
    run_stage(config, "letters")
    parent = parent_run_id(config)
    run_stage(config, "letters", force=True)
    assert parent_run_id(config) == parent
    note = client_of(config).get_run(parent).data.tags["mlflow.note.content"]
    assert note.count("| letters |") == 1
    letters, total = config.stages["letters"], config.stages["total"]
    assert isinstance(letters, Letters)
    other = make_config(config.workspace, letters.model_copy(update={"factor": 999}), total)
    assert parent_run_id(other) is None
    run_stage(other, "letters")
    assert parent_run_id(other) not in (None, parent)


def test_a_failed_run_and_one_that_was_killed_are_shown_as_such(config: PipelineConfig) -> None:
    stage = config.stages["letters"]
    with pytest.raises(ZeroDivisionError), stage_run(config, stage) as failed:
        1 / 0  # noqa: B018
    client = client_of(config)
    assert client.get_run(failed.run_id).info.status == "FAILED"
    assert "division" in client.get_run(failed.run_id).data.tags["error"]
    open_run = stage_run(config, stage)
    killed = open_run.__enter__()
    assert client.get_run(killed.run_id).info.status == "RUNNING"
    with stage_run(config, stage):
        assert client.get_run(killed.run_id).info.status == "KILLED"
    with pytest.raises(KeyboardInterrupt), stage_run(config, stage) as stopped:
        raise KeyboardInterrupt
    assert client.get_run(stopped.run_id).info.status == "KILLED"


def test_a_report_travels_to_another_process(config: PipelineConfig, tmp_path: Path) -> None:
    with stage_run(config, config.stages["letters"]) as run:
        report = pickle.loads(pickle.dumps(run.report))
        report.metrics({"loss": 0.5, "rate": 2.0}, step=3)
        report.image("sample", np.zeros((8, 8, 3), np.uint8), step=3)
        report.table("scores", pa.table({"metric": ["psnr"], "value": [20.5]}))
    client = client_of(config)
    assert client.get_run(run.run_id).data.metrics == {"loss": 0.5, "rate": 2.0}
    logged = Path(client.download_artifacts(run.run_id, "scores.json", str(tmp_path)))
    assert json.loads(logged.read_text()) == {"columns": ["metric", "value"], "data": [["psnr", 20.5]]}


def test_the_load_of_the_machine_is_logged_while_it_works(config: PipelineConfig, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with stage_run(config, config.stages["letters"]) as run:
        client = client_of(config)
        with run.report.watched("machine-1"):
            for _ in range(600):
                names = client.get_run(run.run_id).data.metrics
                if "system/machine-1/cpu_utilization_percentage" in names:
                    break
                time.sleep(0.1)
        assert "system/machine-1/cpu_utilization_percentage" in names
        assert "system/machine-1/system_memory_usage_megabytes" in names


def test_the_registry_keeps_versions_tags_and_aliases(config: PipelineConfig, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    (checkpoint / "unet").mkdir(parents=True)
    (checkpoint / "unet" / "weights").write_text("w")
    with stage_run(config, config.stages["letters"]) as run:
        registry = run.registry
        assert registry is not None
        assert registry.tags("dancer", "champion") is None
        one, two, made_again = (
            {"checkpoint_key": key, "checkpoint_sha256": sha256}
            for key, sha256 in (("one", "aa"), ("two", "aa"), ("one", "bb"))
        )
        first = registry.register("dancer", checkpoint, one, "the first")
        assert registry.tags("dancer", "champion") is None
        registry.set_alias("dancer", "champion", first)
        again = registry.register("dancer", checkpoint, {**one, "new": "tag"}, "the first")
        second = registry.register("dancer", checkpoint, two, "the second")
    (checkpoint / "unet" / "weights").write_text("v")
    with stage_run(config, config.stages["letters"]) as run:
        third = run.registry.register("dancer", checkpoint, made_again, "other bytes under the first's key")
        named = [run.registry.register("anna's", checkpoint, one, "a name with a quote") for _ in range(2)]
    assert (first, again, second, third) == ("1", "1", "2", "3")
    assert named == ["1", "1"]
    assert registry.tags("dancer", "champion") == {**one, "new": "tag"}
    client = client_of(config)
    for name, text in (
        ("models:/dancer@champion", "w"),
        ("models:/dancer/2", "w"),
        ("models:/dancer/3", "v"),
    ):
        found = download_model(client, name, tmp_path / name.replace("/", "-"))
        assert (found / "unet" / "weights").read_text() == text
    for name in ("models:/dancer@nobody", "models:/nobody/1", "models:/dancer/7"):
        with pytest.raises(InputError, match="has no such model"):
            download_model(client, name, tmp_path / "gone")


def test_a_registered_version_predicts_from_its_uri(
    config: PipelineConfig, tmp_path: Path, monkeypatch
) -> None:
    import mlflow

    make_pipeline().save_pretrained(tmp_path / "checkpoint")
    facts = {"sizes_px": [[64, 64]], "num_frames": 4, "fps": 6, "motion_bucket": 127}
    (tmp_path / "checkpoint" / "training.json").write_text(json.dumps(facts))
    with stage_run(config, config.stages["letters"]) as run:
        assert run.registry is not None
        version = run.registry.register("served", tmp_path / "checkpoint", {"checkpoint_key": "one"}, "")
        run.registry.set_alias("served", "champion", version)
    pose = np.concatenate([np.random.default_rng(0).uniform(0.1, 0.8, (133, 2)), np.ones((133, 1))], axis=1)
    pose = pose.astype(np.float32)
    request = {
        "image": np.zeros((80, 80, 3), np.uint8),
        "reference_pose": pose,
        "poses": np.stack([pose, pose + np.float32([0.03, 0, 0])]),
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(config))
    served = mlflow.pyfunc.load_model("models:/served@champion")
    frames = served.predict(request, params={"num_steps": 2, "guidance_scale": 1.0})
    assert frames.shape == (2, 64, 64, 3)
    assert frames.dtype == np.uint8


@pytest.mark.usefixtures("here")
def test_a_run_says_what_it_is_and_how_to_repeat_it(config: PipelineConfig) -> None:
    result = run_stage(replace(config, overrides=("letters.factor=2", "mlflow.experiment=a b")), "letters")
    client = client_of(config)
    run, parent = client.get_run(result.run_id), client.get_run(parent_run_id(config))
    again = "configs/fake.yaml --set letters.factor=2 --set 'mlflow.experiment=a b'"
    assert run.data.tags["again"] == f"mimicmotion stage letters {again}"
    assert parent.data.tags["again"] == run.data.tags["again"]
    assert f"* all stages: `mimicmotion rebuild {again}`" in parent.data.tags["mlflow.note.content"]
    assert parent.info.run_name == "fake letters.factor=2 mlflow.experiment=a b"
    for shown in (run, parent):
        assert shown.data.tags["overrides"] == "letters.factor=2 mlflow.experiment=a b"
        assert shown.data.tags["run_by"] == "stage"
        # The page that compares runs sorts params by name.
        assert min(shown.data.params) == "_changed"
        assert shown.data.params["_changed"] == shown.data.tags["overrides"]
    again_run = run_stage(replace(config, run_by="rebuild"), "letters", force=True)
    shown = client.get_run(again_run.run_id)
    assert (shown.data.tags["run_by"], shown.data.params["_changed"]) == ("rebuild", "nothing")
    tags = client.get_run(parent.info.run_id).data.tags
    assert (tags["run_by"], tags["again"].split()[:2]) == ("rebuild", ["mimicmotion", "rebuild"])


@pytest.mark.usefixtures("here")
def test_pictures_that_fail_are_tried_again(config: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Letters, "show", broken)
        assert not run_stage(config, "letters").is_shown
        assert track_stage(config, "letters") == "shown without pictures"
    assert track_stage(config, "letters") == "shown"
    assert track_stage(config, "letters") == "was there"


@pytest.mark.usefixtures("here")
def test_without_a_store_the_stage_goes_on(tmp_path: Path, letters: Letters, caplog, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    away = MlflowSettings(tracking_uri="http://user:hunter2@127.0.0.1:9")
    settings = Settings(workspace=str(tmp_path / "space"), mlflow=away)
    result = run_stage(PipelineConfig("fake", "fake.yaml", settings, {"letters": letters}), "letters")
    assert (result.state, result.run_id) == ("published", None)
    assert "letters goes on without MLflow at http://***@127.0.0.1:9" in caplog.text


def test_a_store_that_goes_away_is_left_alone_for_a_while(caplog, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    report = MlflowReport("http://127.0.0.1:9", "run")
    report.metrics({"loss": 1.0})
    report.metrics({"loss": 2.0})
    assert caplog.text.count("MLflow did not take metrics") == 1


def test_an_address_that_mlflow_has_no_store_for_stops_before_the_work(
    tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://user:hunter2@x")
    with pytest.raises(
        InputError, match=r"MLflow cannot use nonsense://\*\*\*@x .*Supported URI schemes"
    ) as stopped:
        run_stage(make_config(tmp_path, letters), "letters")
    assert "hunter2" not in str(stopped.value)
    assert not (tmp_path / "letters").exists() or not list((tmp_path / "letters").glob("*/manifest.json"))


@pytest.mark.usefixtures("here")
def test_a_workspace_may_have_any_name(tmp_path: Path, letters: Letters) -> None:
    workspace = tmp_path / "50% (a%25b)?c=d#e f"
    config = make_config(workspace, letters)
    assert run_stage(config, "letters").run_id is not None
    assert (workspace / "mlflow.db").is_file()
    assert parent_run_id(config) is not None


def test_where_mlflow_is(tmp_path: Path, letters: Letters, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = make_config(tmp_path, letters)
    assert tracking_uri(config) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert tracking_uri(config) == "http://elsewhere"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(InputError, match="MLflow needs an address"):
        tracking_uri(make_config("s3://bucket/space", letters))
    assert DIGEST_TAG.startswith("mimicmotion")


@pytest.mark.usefixtures("here")
def test_a_copied_workspace_has_its_own_pictures_and_leaves_the_originals_alone(
    tmp_path: Path, letters: Letters
) -> None:
    config = make_config(tmp_path / "original", letters, Total())
    for name in config.stages:
        run_stage(config, name)
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    before = {path: path.read_bytes() for path in (tmp_path / "original").rglob("*") if path.is_file()}
    copied = make_config(tmp_path / "copy", letters, Total())
    run_stage(copied, "total", force=True)
    after = {path: path.read_bytes() for path in (tmp_path / "original").rglob("*") if path.is_file()}
    assert after == before
    shutil.rmtree(tmp_path / "original")
    client = client_of(copied)
    (experiment,) = client.search_experiments(filter_string="name = 'test'")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 5, "of each place the parent and total, and letters"
    assert {path.path for run in runs for path in client.list_artifacts(run.info.run_id)} >= {
        "note.md",
        "notes",
    }
    places = [experiment.artifact_location, *(run.info.artifact_uri for run in runs)]
    assert all(place.startswith((tmp_path / "copy" / ARTIFACTS).as_uri()) for place in places)


def test_files_that_a_server_keeps_elsewhere_are_not_said_to_lie_beside_the_database(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow_client(uri)
    kept = client.create_experiment("kept elsewhere", artifact_location="mlflow-artifacts:/7")
    run = client.create_run(kept).info.run_id
    empty = client.create_experiment("empty", artifact_location="mlflow-artifacts:/8")
    here = client.create_experiment("here", artifact_location="mlflow-artifacts:/9")
    client.create_run(here)
    (tmp_path / ARTIFACTS / "9").mkdir(parents=True)
    bring_here.cache_clear()
    client = mlflow_client(uri)
    beside = (tmp_path / ARTIFACTS).as_uri()
    found = [client.get_experiment(one).artifact_location for one in (kept, empty, here)]
    assert found == ["mlflow-artifacts:/7", f"{beside}/8", f"{beside}/9"]
    assert client.get_run(run).info.artifact_uri.startswith("mlflow-artifacts:/7/")


@pytest.mark.parametrize(
    "address", ["{here}/shared/mlflow.db", "shared/mlflow.db", "shared/mlflow.db?timeout=9"]
)
def test_an_experiment_of_any_sqlite_file_keeps_its_files_beside_it(
    address: str, tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bring_here.cache_clear()
    config = make_config(tmp_path / "space", letters)
    uri = f"sqlite:///{address.format(here=tmp_path)}"
    named = config.settings.mlflow.model_copy(update={"tracking_uri": uri})
    config = replace(config, settings=config.settings.model_copy(update={"mlflow": named}))
    begin_experiment(config)
    (found,) = mlflow_client(uri).search_experiments(filter_string="name = 'test'")
    assert found.artifact_location == (tmp_path / "shared" / ARTIFACTS).as_uri()
    (tmp_path / "shared" / "mlflow.db").write_bytes(b"no database" * 100)
    bring_here.cache_clear()
    with pytest.raises(StageError, match="MLflow cannot open sqlite:"):
        begin_experiment(config)


@pytest.mark.usefixtures("here")
def test_what_a_server_began_is_gone_on_with_without_it(tmp_path: Path, letters: Letters) -> None:
    """A server gives experiments an address that its own clients alone can open."""
    config = make_config(tmp_path / "space", letters)
    client = mlflow_client(tracking_uri(config))
    client.create_experiment(config.settings.mlflow.experiment, artifact_location="mlflow-artifacts:/1")
    bring_here.cache_clear()
    run_id = run_stage(config, "letters").run_id
    assert run_id is not None
    beside = tmp_path / "space" / ARTIFACTS / "1"
    assert client.get_run(run_id).info.artifact_uri.startswith(beside.as_uri())
    assert any(beside.rglob("*"))


def test_a_long_page_keeps_its_stages() -> None:
    row = "| number | of | many |\n"
    note = "title\n\n## Scores\n\n" + 400 * row + "\n## Judge\n\nshort\n\n## Stages\n\n| train | fresh |\n"
    assert len(note) > LONGEST_NOTE
    page = fitted(note)
    assert len(page) <= LONGEST_NOTE
    assert "## Scores\n\nToo long for this page: see the files" in page
    assert page.endswith("## Judge\n\nshort\n\n## Stages\n\n| train | fresh |\n")
    assert fitted(page) == page
    study = fitted(f"**Arms.** All from one base.\n\n## Arms compared\n\n{'| x ' * LONGEST_NOTE}\n")
    assert study.startswith("**Arms.** All from one base.\n\n## Arms compared\n\nToo long for this page")


def test_a_quote_in_a_filter() -> None:
    assert (quoted("a"), quoted("a's"), quoted('a"b')) == ("'a'", '"a\'s"', "'a\"b'")
    with pytest.raises(InputError, match="both kinds of quotes"):
        quoted("a'\"")

"""MLflow's server away for a while, and ``mimicmotion track``: a real server is stopped and started again."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from fake_stages import Alone, Letters, Total, write_texts
from operated import free_port, process, wait_for
from typer.testing import CliRunner

from flows.commands.ui import NO_JOBS
from mimicmotion.errors import StageError
from stages.adapters.mlflow import reports, tracking
from stages.adapters.mlflow.client import mlflow_client
from stages.adapters.mlflow.reports import MlflowReport
from stages.adapters.mlflow.tracking import parent_run_id, stage_run
from stages.engine.config import MlflowSettings, PipelineConfig, Settings
from stages.engine.contract import Context, Dataset, DatasetStage, Report
from stages.runner import run_stage, track_stage

# MLflow's server takes ten seconds of a free core to start.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Away:
    """An MLflow server that can be stopped and started, with all it knows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[None]:
        import httpx

        options = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--workers", "1"]
        options += ["--artifacts-destination", str(self.folder / "files"), "--port", str(self.port)]
        environment = {**os.environ, **NO_JOBS, "MLFLOW_DISABLE_TELEMETRY": "true"}

        def is_up() -> bool:
            try:
                return httpx.get(f"{self.uri}/health", timeout=2).is_success
            except httpx.HTTPError:
                return False

        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", *options]
        with process(command, self.folder / "log", env=environment):
            wait_for("MLflow", is_up)
            yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Away:
    return Away(tmp_path_factory.mktemp("mlflow"))


class Curve(DatasetStage):
    """Trains: shows numbers and pictures live, and publishes them as data that it can show again."""

    name: ClassVar[str] = "curve"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("letters",)
    schema: ClassVar[pa.Schema] = pa.schema([("step", pa.int64()), ("loss", pa.float64())])

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        rows = [{"step": step, "loss": 1.0 / (step + 1)} for step in range(4)]
        for row in rows:
            ON_STEP(int(row["step"]))
            self._show(row, context.report)
        (folder / "note.txt").write_text("note")
        return pa.Table.from_pylist(rows, schema=self.schema)

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        for row in dataset.table().to_pylist():
            self._show(row, report)
        report.image("last", np.full((8, 8, 3), 7, np.uint8))
        report.table("curve", dataset.table())
        report.file(dataset.path("all", "note.txt"), "notes/deep")
        report.section("Curve", "falls", {"loss": 0.25})

    def _show(self, row: Mapping[str, Any], report: Report) -> None:
        report.metrics({"loss": row["loss"]}, int(row["step"]))
        report.image("sample/a", np.full((8, 8, 3), 50 * int(row["step"]), np.uint8), int(row["step"]))


ON_STEP: Callable[[int], object] = bool


@pytest.fixture
def config(server: Away, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: None) -> PipelineConfig:
    monkeypatch.setattr(tracking, "stage_run", stage_run)
    monkeypatch.setattr(reports, "_PAUSE_S", 0.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    letters = Letters(source=write_texts(tmp_path / "source", a="one", b="three", c="reject it"))
    settings = Settings(
        workspace=str(tmp_path / "space"), mlflow=MlflowSettings(tracking_uri=server.uri, experiment="test")
    )
    stages = {"letters": letters, "alone": Alone(), "curve": Curve(), "total": Total()}
    return PipelineConfig("fake", "fake.yaml", settings, stages)


def files_of(client: Any, run_id: str, folder: str | None = None) -> set[str]:
    """Files of a run; those of a picture's evolution by name and step alone."""
    found = client.list_artifacts(run_id, folder)
    inside = [files_of(client, run_id, item.path) if item.is_dir else {item.path} for item in found]
    return {path.split("+timestamp")[0] for paths in inside for path in paths}


def shown_of(client: Any, run_id: str) -> dict[str, Any]:
    """What a run shows, but for times."""
    run = client.get_run(run_id)
    names = [name for name in run.data.metrics if name != "seconds"]
    curves = {name: [(p.step, p.value) for p in client.get_metric_history(run_id, name)] for name in names}
    return {
        "curves": curves,
        "params": run.data.params,
        "files": files_of(client, run_id),
        "reads": [read.dataset.digest for read in run.inputs.dataset_inputs],
        "status": run.info.status,
        "dataset": run.data.tags["dataset_key"],
    }


def track(config: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the command says of each stage."""
    from flows.cli import app

    monkeypatch.setattr("flows.commands.track.load_config", lambda *arguments: config)
    done = CliRunner().invoke(app, ["track", "fake.yaml"])
    assert done.exit_code == 0, done.output
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def test_what_mlflow_missed_is_shown_from_the_datasets(
    server: Away, config: PipelineConfig, caplog, monkeypatch
) -> None:
    client = mlflow_client(server.uri)
    with ExitStack() as up:
        up.enter_context(server.running())
        before = {name: run_stage(config, name) for name in ("letters", "total", "curve")}
        expected = {name: shown_of(client, result.run_id) for name, result in before.items()}
        assert expected["curve"]["curves"]["loss"] == [(0, 1.0), (1, 0.5), (2, 1 / 3), (3, 0.25)]
        assert len([name for name in expected["curve"]["files"] if "sample~a+step" in name]) == 4
        assert track(config, monkeypatch) == {**dict.fromkeys(before, "was there"), "alone": "is missing"}
        # Away in the middle of a stage.
        away_at_two = {2: lambda: up.pop_all().close()}
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules[__name__], "ON_STEP", lambda step: away_at_two.get(step, bool)())
            after = {"curve": run_stage(config, "curve", force=True)}
    assert "curve: MLflow lacks some of it; show it later: mimicmotion track fake.yaml" in caplog.text
    # Away from the start: the stages go on without a run.
    after |= {name: run_stage(config, name, force=True) for name in ("letters", "total")}
    assert [after[name].run_id for name in ("letters", "total")] == [None, None]
    with pytest.raises(StageError, match="does not answer"):
        track_stage(config, "curve")
    with server.running():
        half = client.get_run(after["curve"].run_id)
        assert (half.info.status, half.data.metrics["loss"]) == ("RUNNING", 0.5)
        # Another stage is at work meanwhile, and stays so.
        with stage_run(config, config.stages["alone"]) as at_work:
            assert track(config, monkeypatch) == {**dict.fromkeys(before, "shown"), "alone": "is missing"}
            parent_id = parent_run_id(config)
            assert client.get_run(at_work.run_id).info.status == "RUNNING"
            assert client.get_run(parent_id).info.status == "RUNNING"
        assert client.get_run(at_work.run_id).info.status == "FINISHED"
        parent = client.get_run(parent_id)
        assert parent.info.status == "FINISHED"
        assert "## Curve\n\nfalls\n" in parent.data.tags["mlflow.note.content"]
        for name, result in after.items():
            runs = client.search_runs([parent.info.experiment_id], f"tags.`mimicmotion.stage` = '{name}'")
            (made,) = [run for run in runs if run.info.run_id != before[name].run_id]
            assert result.run_id in (None, made.info.run_id)
            assert shown_of(client, made.info.run_id) == expected[name]
            assert made.data.tags["mlflow.parentRunId"] == parent_id
            assert 0 < made.info.end_time - made.info.start_time < 60_000
            assert parent.data.tags[f"dataset.{name}"] == result.dataset_key
            row = f"`{result.dataset_key}` | {made.info.run_id} |"
            assert row in parent.data.tags["mlflow.note.content"]
        assert set(track(config, monkeypatch).values()) == {"was there", "is missing"}


def test_what_mlflow_refuses_is_no_outage(server: Away, caplog) -> None:
    report = MlflowReport(f"sqlite:///{server.folder}/mlflow.db", "0" * 32)
    report.metrics({"loss": 1.0})
    assert "MLflow refuses metrics" in caplog.text
    assert report.is_whole

"""MLflow's server away for a while, from a real server that is stopped and started again."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fake_stages import Letters, Total, write_texts
from operated import free_port, process, wait_for
from typer.testing import CliRunner

from flows.commands.ui import NO_JOBS
from stages.adapters.mlflow import tracking
from stages.adapters.mlflow.outbox import kept
from stages.adapters.mlflow.tracking import MlflowReport, mlflow_client, parent_run_id, send_later, stage_run
from stages.engine.config import MlflowSettings, PipelineConfig, Settings
from stages.runner import run_stage

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


@pytest.fixture
def config(server: Away, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: None) -> PipelineConfig:
    monkeypatch.setattr(tracking, "stage_run", stage_run)
    monkeypatch.setattr(tracking, "_PAUSE_S", 0.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    letters = Letters(source=write_texts(tmp_path / "source", a="one", b="three"))
    settings = Settings(
        workspace=str(tmp_path / "space"), mlflow=MlflowSettings(tracking_uri=server.uri, experiment="test")
    )
    return PipelineConfig("fake", "fake.yaml", settings, {"letters": letters, "total": Total()})


def test_what_happens_while_it_is_away_is_kept_and_sent(
    server: Away, config: PipelineConfig, tmp_path: Path, caplog, monkeypatch
) -> None:
    workspace = config.workspace
    with server.running():
        first = run_stage(config, "letters")
        assert first.run_id is not None
        assert kept(workspace) == {}
    # Away in the middle of a run: everything about it is kept.
    report = MlflowReport(server.uri, first.run_id, workspace)
    for step in range(3):
        report.metrics({"loss": 1.0 / (step + 1)}, step=step)
    report.image("sample", np.full((8, 8, 3), 7, np.uint8))
    report.table("scores", pa.table({"metric": ["psnr"], "value": [20.5]}))
    note = tmp_path / "note.txt"
    note.write_text("note")
    report.file(note, "notes")
    note.unlink()
    assert len(kept(workspace)[first.run_id]) == 6
    # Away from the start: the stage goes on, and says what to do.
    second = run_stage(config, "total")
    assert (second.state, second.run_id) == ("published", None)
    assert "are not in MLflow yet, but kept in the workspace: `mimicmotion track fake.yaml`" in caplog.text
    with server.running():
        monkeypatch.setattr("flows.commands.track.load_config", lambda *arguments: config)
        from flows.cli import app

        done = CliRunner().invoke(app, ["track", "fake.yaml"])
        assert done.exit_code == 0, done.output
        assert "left 0" in done.stdout
        assert kept(workspace) == {}
        client = mlflow_client(server.uri)
        history = client.get_metric_history(first.run_id, "loss")
        assert [(point.step, point.value) for point in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
        shown = {item.path for item in client.list_artifacts(first.run_id)}
        assert {"sample.png", "scores.json", "notes"} <= shown
        experiment = client.get_experiment_by_name("test").experiment_id
        (made,) = client.search_runs([experiment], "tags.`mimicmotion.stage` = 'total'")
        assert made.info.status == "FINISHED"
        assert made.data.metrics["total"] == 8.0
        assert made.data.tags["dataset_key"] == second.dataset_key
        assert made.data.tags["mlflow.parentRunId"] == parent_run_id(config)
        assert made.data.params["offset"] == "0"
        assert [read.dataset.digest for read in made.inputs.dataset_inputs] == [first.dataset_key]
        # What the page of the config says: the stage's row and dataset, and that nothing is at work.
        parent = client.get_run(parent_run_id(config))
        assert parent.info.status == "FINISHED"
        assert parent.data.tags["dataset.total"] == second.dataset_key
        note = parent.data.tags["mlflow.note.content"]
        assert f"| total | 1 | 0 | `{second.dataset_key}` | {made.info.run_id} |" in note
        # Sending again changes nothing.
        assert send_later(config) == (0, 0)


def test_a_run_that_is_sent_later_leaves_the_one_at_work_alone(
    server: Away, config: PipelineConfig, tmp_path: Path
) -> None:
    stage = config.stages["letters"]
    with stage_run(config, stage) as away:
        away.report.metrics({"loss": 1.0})
    assert away.run_id is None
    with server.running():
        client = mlflow_client(server.uri)
        with stage_run(config, stage) as at_work:  # sends what is kept when it opens
            assert kept(config.workspace) == {}
            assert client.get_run(at_work.run_id).info.status == "RUNNING"
            parent_id = parent_run_id(config)
            assert client.get_run(parent_id).info.status == "RUNNING"
        assert client.get_run(at_work.run_id).info.status == "FINISHED"
        assert client.get_run(parent_id).info.status == "FINISHED"


def test_what_mlflow_refuses_is_not_kept_for_ever(server: Away, config: PipelineConfig, caplog) -> None:
    report = MlflowReport(f"sqlite:///{server.folder}/mlflow.db", "0" * 32, config.workspace)
    report.metrics({"loss": 1.0})
    assert "MLflow refuses metrics" in caplog.text
    assert kept(config.workspace) == {}

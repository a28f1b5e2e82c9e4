"""A stage is run with secrets in every kind of address; then all that was written is searched for them."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fake_stages import Letters, Total, write_texts
from typer.testing import CliRunner

from flows.cli import app
from flows.settings import check_parameters
from mimicmotion.errors import InputError, MimicMotionError
from mimicmotion.redaction import CleanRecord
from stages.engine.config import PipelineConfig, load_config
from stages.engine.item_task import ItemTask
from stages.runner import run_stage

SECRET = "hunter2"
AWAY = [
    f"http://user:{SECRET}@127.0.0.1:9",
    f"http://user:a%2F{SECRET}%40@127.0.0.1:9",
    f"http://user:a/{SECRET}@127.0.0.1:9",
    f"http://user:a@{SECRET}@127.0.0.1:9",
    f"http://127.0.0.1:9/mlflow?sig={SECRET}",
    f"http://127.0.0.1:9/mlflow?pwd={SECRET}&token={SECRET}",
    f"postgresql://user:{SECRET}@127.0.0.1:9/mlflow",
]
"""Addresses of an MLflow that is not there."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stages run in this process; lines of logs are written as programs of this project write them."""
    from stages.adapters.ray import workers

    def map_here(task: ItemTask, stage: str, work: list, *_: object) -> Iterator:
        task.load()
        yield from (task.run(*one) for one in work)

    before = logging.getLogRecordFactory()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(workers, "connect", lambda settings: None)
    monkeypatch.setattr(workers, "map_items", map_here)
    logging.setLogRecordFactory(CleanRecord)
    yield
    logging.setLogRecordFactory(before)


def config_with(folder: Path, **changed: object) -> PipelineConfig:
    """A config of two fake stages, from a file that is full of secrets."""
    values: dict[str, object] = {
        "workspace": "space",
        "letters": {"source": str(write_texts(folder / "source", a="one", b="reject"))},
        "total": {},
        "ray": {
            "runtime_env": {
                "pip": [f"https://user:{SECRET}@host/simple"],
                "env_vars": {"HF_TOKEN": SECRET, "DB_PASS": SECRET, "STORE": f"s3://k:{SECRET}@b", "A": "b"},
            }
        },
        **changed,
    }
    (folder / "fake.yaml").write_text(yaml.safe_dump(values))
    return load_config(folder / "fake.yaml", classes={"letters": Letters, "total": Total})


def written(folder: Path) -> list[Path]:
    """Files below a folder that hold the secret."""
    files = [path for path in (folder / "space").rglob("*") if path.is_file()]
    assert files
    return [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("address", [None, *AWAY])
def test_no_file_and_no_line_holds_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], address: str | None
) -> None:
    caplog.set_level(logging.DEBUG, logger="stages")
    config = config_with(tmp_path, mlflow={"tracking_uri": address} if address else {})
    said = ""
    for name in ("letters", "total"):
        try:
            run_stage(config, name)
        except MimicMotionError as error:
            said += str(error)
    assert written(tmp_path) == []
    assert SECRET not in caplog.text + said + "".join(capfd.readouterr())
    assert config.resolved()["ray"]["runtime_env"]["env_vars"]["A"] == "b"


@pytest.mark.parametrize(
    "override",
    [
        f"mlflow.tracking_uri=http://user:{SECRET}@host",
        f"workspace=s3://key:{SECRET}@bucket/x",
        f"ray.runtime_env.env_vars.HF_TOKEN={SECRET}",
    ],
)
def test_prefect_is_given_no_secret_to_keep(override: str) -> None:
    with pytest.raises(InputError, match="Prefect would keep what is hidden") as error:
        check_parameters(["train.steps=2", override])
    assert SECRET not in str(error.value)
    check_parameters(["train.steps=2", "workspace=s3://bucket/x?endpoint_override=host:9000&scheme=http"])


def test_a_rebuild_hands_on_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.servers.start_prefect", lambda settings: pytest.fail("it went on"))
    changed = [f"workspace={tmp_path}", f"mlflow.tracking_uri=http://user:{SECRET}@host"]
    done = CliRunner().invoke(app, ["rebuild", "demo", *(f"--set={field}" for field in changed)])
    assert isinstance(done.exception, InputError)

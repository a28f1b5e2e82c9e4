"""Fixtures of the flows' tests: a config of fake stages, and one temporary Prefect server for all of them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_stages import write_texts

from stages.engine.config import PipelineConfig, Settings
from stages.engine.contract import Item
from stages.engine.item_task import ItemTask
from stages.engine.records import ItemState

CONFIG = """\
title: Fakes under the names of real stages
workspace: space
decode: {source: source}
pose: {}
clips: {offset: 1}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``configs/fake.yaml`` of three fake stages and two texts; the current folder."""
    from fake_pipeline import STAGES

    monkeypatch.setattr("stages.engine.config.STAGES", STAGES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    write_texts(tmp_path / "configs" / "source", a="one", b="three")
    (tmp_path / "configs" / "fake.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run in this process, without Ray and MLflow, which have tests of their own."""
    from stages.adapters.mlflow import tracking
    from stages.adapters.ray import workers as ray_adapter

    def map_here(
        task: ItemTask, stage: str, work: Sequence[tuple[Item, str]], *_: object
    ) -> Iterator[ItemState]:
        task.load()
        for item, key in work:
            yield task.run(item, key)

    @contextmanager
    def no_run(config: object, stage: object) -> Iterator[tracking.StageRun]:
        yield tracking.StageRun("", None)

    monkeypatch.setattr(ray_adapter, "connect", lambda settings: None)
    monkeypatch.setattr(ray_adapter, "map_items", map_here)
    monkeypatch.setattr(tracking, "stage_run", no_run)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The temporary Prefect server of a rebuild; flows of this process use it."""
    from flows.servers import start_prefect

    workspace = tmp_path_factory.mktemp("prefect")
    before = dict(os.environ)
    start_prefect(PipelineConfig("fake", "fake.yaml", Settings(workspace=str(workspace)), {}))
    yield
    os.environ.clear()
    os.environ.update(before)

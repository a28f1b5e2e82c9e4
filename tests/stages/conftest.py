"""Fixtures of the machinery's tests."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from fake_stages import Letters, write_texts

from stages.engine.contract import Item
from stages.engine.item_task import ItemTask
from stages.engine.records import ItemState
from stages.engine.storage.object_workspace import ObjectWorkspace


@pytest.fixture
def letters(tmp_path: Path) -> Letters:
    """A stage over two texts."""
    return Letters(source=write_texts(tmp_path / "source", a="one", b="three"))


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


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], ObjectWorkspace]:
    """Opens an object store's workspace, which lies in ``bucket``, as the node of a name, e.g. ``cache``.

    Pipelines and tasks find it as the node ``cache``.
    """
    from stages.engine import item_task
    from stages.engine import plan as pipeline

    (tmp_path / "bucket").mkdir()
    files = pafs.SubTreeFileSystem(str(tmp_path / "bucket"), pafs.LocalFileSystem())

    def opened(node: str) -> ObjectWorkspace:
        return ObjectWorkspace("s3://bucket/space", files, "space", tmp_path / node)

    for module in (item_task, pipeline):
        monkeypatch.setattr(module, "open_workspace", lambda uri: opened("cache"))
    return opened

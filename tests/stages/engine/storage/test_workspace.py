"""Both kinds of workspace keep the same promises."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from mimicmotion.errors import InputError, MachineError
from stages.engine.storage.object_workspace import ObjectWorkspace
from stages.engine.storage.opening import open_workspace
from stages.engine.storage.workspace import (
    DAY_S,
    LocalWorkspace,
    Workspace,
    staged,
    version,
)


@pytest.fixture(params=["local", "object"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    (tmp_path / "space").mkdir()
    if request.param == "local":
        return LocalWorkspace(tmp_path / "space")
    store = pafs.SubTreeFileSystem(str(tmp_path / "space"), pafs.LocalFileSystem())
    return ObjectWorkspace("s3://bucket/prefix", store, "prefix", tmp_path / "cache")


def publish(workspace: Workspace, name: str, text: str) -> None:
    with staged(workspace, "stage") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file.txt").write_text(text)
        (folder / "record.json").write_text("{}")
        workspace.publish(folder, name, "record.json")


def test_two_that_publish_one_name_at_once_leave_it_whole(workspace: Workspace) -> None:
    def often(text: str) -> None:
        for _ in range(100):
            publish(workspace, "stage/items/one", text)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(often, "abcd"))
    assert workspace.fetch("stage/items/one/sub/file.txt").read_text() in set("abcd")
    assert workspace.published("stage/items", "record.json").keys() == {"one"}


def test_a_written_file_reads_back(workspace: Workspace) -> None:
    assert workspace.read("a/b.txt") is None
    workspace.write("a/b.txt", b"one")
    workspace.write("a/b.txt", b"two")
    assert workspace.read("a/b.txt") == b"two"
    workspace.remove("a")
    workspace.remove("a")
    assert workspace.read("a/b.txt") is None


def test_a_published_folder_is_there_with_its_files(workspace: Workspace) -> None:
    assert workspace.published("stage/items", "record.json") == {}
    publish(workspace, "stage/items/one", "1")
    publish(workspace, "stage/items/two", "2")
    found = workspace.published("stage/items", "record.json")
    assert sorted(found) == workspace.folders("stage/items") == ["one", "two"]
    assert all(time_s > 1e9 for time_s in found.values())
    assert (workspace.fetch("stage/items/one/sub/file.txt")).read_text() == "1"
    assert (workspace.fetch("stage/items/two/sub") / "file.txt").read_text() == "2"


def test_publishing_again_replaces(workspace: Workspace) -> None:
    publish(workspace, "stage/items/one", "old")
    assert workspace.fetch("stage/items/one/sub/file.txt").read_text() == "old"
    publish(workspace, "stage/items/one", "new")
    assert workspace.fetch("stage/items/one/sub/file.txt").read_text() == "new"


def test_a_folder_without_its_record_does_not_count(workspace: Workspace) -> None:
    publish(workspace, "stage/items/one", "1")
    workspace.remove("stage/items/one/record.json")
    assert workspace.published("stage/items", "record.json") == {}


def test_what_was_not_published_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    with staged(workspace, "stage") as folder:
        (folder / "half.txt").write_text("half")
    assert not list(tmp_path.rglob("half.txt"))
    (workspace.staging("stage") / "left.txt").write_text("of a killed run")
    workspace.clear_staging("stage")
    assert not list(tmp_path.rglob("left.txt"))


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    store = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    workspace = ObjectWorkspace("s3://bucket/prefix", store, "prefix", tmp_path / "cache")
    with pytest.raises(InputError, match="holds no prefix/stage/gone"):
        workspace.fetch("stage/gone")


def test_a_path_of_a_remote_file_is_where_it_will_lie(workspace: Workspace) -> None:
    publish(workspace, "stage/items/one", "1")
    place = workspace.path("stage/items/one/sub/file.txt")
    assert workspace.fetch("stage/items/one/sub/file.txt") == place
    assert place.is_relative_to(workspace.path(""))


def test_opening(tmp_path: Path) -> None:
    assert open_workspace(str(tmp_path)).uri == str(tmp_path)
    assert open_workspace(tmp_path.as_uri()).uri == str(tmp_path)
    assert open_workspace((tmp_path / "a b").as_uri()).uri == str(tmp_path / "a b")
    assert (open_workspace(str(tmp_path / "new")).free_bytes() or 0) > 0
    with pytest.raises(InputError, match="workspace nonsense://x: cannot be opened"):
        open_workspace("nonsense://x")


def test_a_folder_comes_whole_after_one_of_its_files_came_alone(workspace: Workspace) -> None:
    publish(workspace, "stage/items/one", "1")
    workspace.fetch("stage/items/one/record.json")
    folder = workspace.fetch("stage/items/one")
    assert (folder / "sub" / "file.txt").read_text() == "1"
    assert workspace.fetch("stage/items/one/sub") == folder / "sub"
    publish(workspace, "stage/items/one", "2")
    assert (workspace.fetch("stage/items/one") / "sub" / "file.txt").read_text() == "2"


def test_what_was_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "space").mkdir()
    store = pafs.SubTreeFileSystem(str(tmp_path / "space"), pafs.LocalFileSystem())
    workspace = ObjectWorkspace("s3://bucket/prefix", store, "prefix", tmp_path / "cache")
    publish(workspace, "stage/items/one", "1")
    folder = workspace.fetch("stage/items/one")
    store.delete_dir("prefix")
    assert workspace.fetch("stage/items/one/sub/file.txt").read_text() == "1"
    assert workspace.fetch("stage/items/one/sub") == folder / "sub"


def test_a_version_is_a_place_of_its_own_where_files_are_fetched(workspace: Workspace) -> None:
    publish(workspace, "stage/items/one", "1")
    first, second = (version("stage/items/one", record) for record in (b"first", b"second"))
    file = workspace.fetch(f"{first}/sub/file.txt")
    assert file == workspace.path(f"{first}/sub/file.txt")
    assert file.read_text() == workspace.fetch(f"{second}/sub/file.txt").read_text() == "1"
    assert (workspace.path(first) == workspace.path(second)) == isinstance(workspace, LocalWorkspace)
    assert (workspace.fetch(first) / "record.json").is_file()
    publish(workspace, "stage/items/one", "2")
    assert workspace.fetch(f"{first}/sub/file.txt").read_text() == "2"


def test_what_somebody_deleted_from_the_cache_is_fetched_again(workspace: Workspace, tmp_path: Path) -> None:
    publish(workspace, "stage/items/one", "1")
    workspace.fetch("stage/items/one")
    shutil.rmtree(tmp_path / "cache" / "files", ignore_errors=True)
    assert (workspace.fetch("stage/items/one") / "sub" / "file.txt").read_text() == "1"


def test_a_fetch_that_breaks_leaves_nothing_half_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    workspace = ObjectWorkspace("s3://bucket/prefix", store, "prefix", tmp_path / "cache")
    publish(workspace, "stage/items/one", "1")

    def full(source: str, target: str, *stores: pafs.FileSystem) -> None:
        Path(target).write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pafs, "copy_files", full)
    with pytest.raises(OSError, match="No space left"):
        workspace.fetch("stage/items/one")
    assert not list((tmp_path / "cache").rglob("staging/*/*"))


class Away:
    """A store that nobody reaches, as Arrow reports it."""

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: object, **__: object) -> None:
            raise OSError("When reading information: AWS Error NETWORK_CONNECTION: curlCode: 7")

        return refuse


def test_a_store_that_does_not_answer_is_named(tmp_path: Path) -> None:
    store: Any = Away()
    workspace = ObjectWorkspace("s3://me:secret@bucket/prefix", store, "prefix", tmp_path / "cache")
    said = r"workspace s3://.*bucket/prefix: the store does not answer, or refuses \(.*NETWORK_CONNECTION"
    with staged(workspace, "stage") as folder:
        (folder / "record.json").write_text("{}")
        asks: list[Callable[[], object]] = [
            lambda: workspace.read("a"),
            lambda: workspace.write("a", b""),
            lambda: workspace.remove("a"),
            lambda: workspace.folders("a"),
            lambda: workspace.published("a", "record.json"),
            lambda: workspace.publish(folder, "a", "record.json"),
            lambda: workspace.fetch("a"),
        ]
        for ask in asks:
            with pytest.raises(MachineError, match=said) as error:
                ask()
            assert "secret" not in str(error.value)
    workspace.doubt("a", "record.json")


def test_what_is_left_aside_is_cleared_when_nobody_can_be_at_work_in_it(workspace: Workspace) -> None:
    left, busy = workspace.staging("stage"), workspace.staging("stage")
    (busy / "file.txt").write_text("written just now")
    fetched = workspace.staging("fetched")
    for folder in (left, busy, fetched):
        os.utime(folder, (time.time() - 2 * DAY_S,) * 2)
    fetching = workspace.staging("fetched")
    workspace.clear_staging("stage", DAY_S)
    assert [folder.is_dir() for folder in (left, busy, fetching)] == [False, True, True]
    assert fetched.is_dir() == isinstance(workspace, LocalWorkspace)  # which fetches nothing
    workspace.clear_staging("stage")
    assert [folder.is_dir() for folder in (busy, fetching)] == [False, True]


def test_the_free_space_of_an_object_store_is_that_of_the_cache(tmp_path: Path) -> None:
    store = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    workspace = ObjectWorkspace("s3://user:hidden@bucket", store, "prefix", tmp_path / "cache")
    assert workspace.free_bytes() > 0
    assert workspace.disk.startswith(
        f"the disk of {tmp_path}/cache, the cache of s3://***@bucket (MIMICMOTION_"
    )

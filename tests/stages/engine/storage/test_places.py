"""Workspaces in awkward places: a real S3 server, and a disk that is really full."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from fake_people import FakeDetector, FakeWholeBody
from fake_stages import Letters, Shouts, Total, make_config, write_texts

from mimicmotion.errors import StageError
from mimicmotion.pose.models.estimator import TopDownEstimator
from mimicmotion.video.files import write_preview
from stages.decode import Decode
from stages.engine import item_task
from stages.engine.contract import Item
from stages.engine.plan import StageGraph
from stages.engine.status import status
from stages.engine.storage.object_workspace import ObjectWorkspace
from stages.engine.storage.workspace import CACHE_VARIABLE, DAY_S
from stages.pose import Pose
from stages.runner import run_stage

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """URI of a prefix in an empty bucket of a local S3 server."""
    command = shutil.which("moto_server")
    if command is None:
        pytest.skip("no local S3 server: install moto[server]")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [command, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    try:
        if not _answers(server, port):
            pytest.skip("the local S3 server does not start")
        endpoint = {"endpoint_override": f"127.0.0.1:{port}", "scheme": "http", "region": "us-east-1"}
        pafs.S3FileSystem(allow_bucket_creation=True, **endpoint).create_dir("bucket")
        yield "s3://bucket/space?" + "&".join(f"{name}={value}" for name, value in endpoint.items())
    finally:
        server.terminate()
        server.wait()


def _answers(server: subprocess.Popen, port: int) -> bool:
    end_s = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < end_s:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return True
    return False


def test_an_object_store_holds_the_same_as_a_folder(bucket: str, tmp_path: Path) -> None:
    source = write_texts(tmp_path / "source", a="one", b="reject it", c="three")
    stages = (Letters(source=source), Shouts(), Total())
    remote, local = make_config(bucket, *stages), make_config(tmp_path / "local", *stages)
    for name in remote.stages:
        there, here = run_stage(remote, name), run_stage(local, name)
        assert there.dataset_key == here.dataset_key
    there, here = StageGraph(remote), StageGraph(local)
    for name in remote.stages:
        dataset = there.dataset(name)
        assert dataset.table().equals(here.dataset(name).table())
        for item_id in dataset.ids:
            path, other = (data.path(item_id, "table.parquet") for data in (dataset, here.dataset(name)))
            assert path.read_bytes() == other.read_bytes()
    assert (there.dataset("total").path("all", "parts") / "note.txt").read_text() == "note"
    assert {line.state for line in status(remote)} == {"fresh"}
    assert run_stage(remote, "shouts").state == "fresh"
    write_texts(source, d="new")
    assert run_stage(remote, "letters").processed == 1


@pytest.mark.usefixtures("object_store")
def test_a_node_that_has_nothing_yet_fetches_the_videos_it_finds_poses_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    write_preview(tmp_path / "in/a.mp4", [np.full((96, 64, 3), 100 + k, np.uint8) for k in range(4)], 12)
    for name in ("detector", "wholebody"):
        (tmp_path / name).write_text(name)
    models = TopDownEstimator(FakeDetector(), FakeWholeBody())
    monkeypatch.setattr(Pose, "load", lambda self: models)
    pose = Pose(detector=tmp_path / "detector", wholebody=tmp_path / "wholebody")
    config = make_config("s3://bucket/space", Decode(source=str(tmp_path / "in")), pose)
    run_stage(config, "decode")
    shutil.rmtree(tmp_path / "cache")
    assert run_stage(config, "pose").kept == 1
    assert StageGraph(config).dataset("pose").table().num_rows == 4


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, object_store: Callable[[str], ObjectWorkspace]) -> Callable:
    """Moves the work on items to another node; stages are planned on the node ``cache``."""

    def use(name: str) -> None:
        monkeypatch.setattr(item_task, "open_workspace", lambda uri: object_store(name))

    return use


def test_every_node_reads_an_item_that_was_made_again(
    letters: Letters, node: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("s3://bucket/space", letters, Shouts())

    def run(name: str, stage: str) -> list[str]:
        node(name)
        run_stage(config, stage, force=True)
        return StageGraph(config).dataset("shouts").table()["shout"].to_pylist() if stage == "shouts" else []

    def copies() -> list[str]:
        dataset = StageGraph(config).dataset("letters")
        return [dataset.path(item_id, "copy.txt").read_text() for item_id in dataset.ids]

    run("one", "letters")
    assert run("two", "shouts") == ["ONE!", "THREE!"]
    assert copies() == ["one", "three"]
    # Other bytes of the same length, under the same key.
    real = Letters.process

    def reversed_copy(self: Letters, loaded: str, item: Item, folder: Path) -> pa.Table:
        table = real(self, loaded, item, folder)
        (folder / "copy.txt").write_text((folder / "copy.txt").read_text()[::-1])
        return table

    monkeypatch.setattr(Letters, "process", reversed_copy)
    run("one", "letters")
    assert run("two", "shouts") == ["ENO!", "EERHT!"]
    assert copies() == ["eno", "eerht"]


def test_damage_in_a_store_is_found_by_whoever_fetches_it_and_made_again(
    letters: Letters, node: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config("s3://bucket/space", letters, Shouts())
    node("one")
    run_stage(config, "letters")
    for file in (tmp_path / "bucket").rglob("copy.txt"):
        stat = file.stat()
        file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run_stage(config, "shouts").kept == 2
    assert StageGraph(config).dataset("shouts").table()["shout"].to_pylist() == ["ONE!", "THREE!"]
    assert caplog.text.count("making again what is damaged") == 2


def test_damage_in_the_cache_is_fetched_again(letters: Letters, node: Callable, tmp_path: Path) -> None:
    config = make_config("s3://bucket/space", letters, Shouts())
    node("one")
    run_stage(config, "letters")
    run_stage(config, "shouts")
    (copy, *_) = (tmp_path / "one" / "files").rglob("copy.txt")
    copy.write_text("cut")
    assert run_stage(config, "shouts", force=True).kept == 2
    assert StageGraph(config).dataset("shouts").table()["shout"].to_pylist() == ["ONE!", "THREE!"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], stderr=subprocess.DEVNULL
    )
    if not mounted:
        pytest.skip("a small disk cannot be mounted here: needs root")
    yield folder
    subprocess.check_call(["umount", str(folder)])


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Gives the place where a folder can be read and not written."""
    mounts: list[Path] = []

    def mounted(folder: Path) -> Path:
        place = tmp_path / "read-only"
        place.mkdir()
        if os.geteuid() or subprocess.call(
            ["mount", "-o", "bind,ro", folder, place], stderr=subprocess.DEVNULL
        ):
            pytest.skip("a folder cannot be mounted read only here: needs root")
        mounts.append(place)
        return place

    yield mounted
    for place in mounts:
        subprocess.check_call(["umount", str(place)])


def test_a_workspace_that_cannot_be_written_can_be_read(
    tmp_path: Path, letters: Letters, read_only: Callable[[Path], Path]
) -> None:
    stages = (letters, Shouts(), Total())
    config = make_config(tmp_path / "space", *stages)
    for name in config.stages:
        run_stage(config, name)
    (tmp_path / "space" / "index" / "hashes.jsonl").unlink(missing_ok=True)
    config = make_config(read_only(tmp_path / "space"), *stages)
    assert {line.state for line in status(config)} == {"fresh"}
    assert (StageGraph(config).result("total").path("all", "parts") / "note.txt").read_text() == "note"
    assert StageGraph(config).dataset("shouts").table().num_rows == 2
    assert run_stage(config, "total").state == "fresh"
    with pytest.raises(
        StageError, match=r"stage total .* cannot start: .*lock.json cannot be written \(Read-only"
    ):
        run_stage(config, "total", force=True)


def test_a_full_disk_stops_with_one_message_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    source = write_texts(tmp_path / "source", a="small", b="large " * 200_000, c="tiny")
    config = make_config(small_disk / "space", Letters(source=source))
    with pytest.raises(StageError, match=r"item b\.txt \(b\): the disk of workspace .* is full \(free: "):
        run_stage(config, "letters")
    assert not list((small_disk / "space").rglob("staging/*"))
    write_texts(source, b="fits")
    assert run_stage(config, "letters").processed == 2


def test_a_full_cache_is_not_blamed_on_the_store(
    small_disk: Path, letters: Letters, node: Callable, object_store: Callable[[str], ObjectWorkspace]
) -> None:
    write_texts(letters.source, b="large " * 200_000)
    config = make_config("s3://bucket/space", letters, Shouts())
    run_stage(config, "letters")
    node(small_disk.name)
    with pytest.raises(StageError, match=r"\(b\): the disk of .*/small, the cache of s3.* is full \(free: "):
        run_stage(config, "shouts")
    assert not list(small_disk.rglob("staging/fetched/*"))


def test_a_worker_clears_what_killed_ones_left(
    letters: Letters, node: Callable, object_store: Callable[[str], ObjectWorkspace]
) -> None:
    config = make_config("s3://bucket/space", letters)
    node("one")
    top = StageGraph(config).store("letters").top
    old, new = object_store("one").staging(top), object_store("one").staging(top)
    os.utime(old, (time.time() - 2 * DAY_S,) * 2)
    run_stage(config, "letters")
    assert (old.exists(), new.exists()) == (False, True)

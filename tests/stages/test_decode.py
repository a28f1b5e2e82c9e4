"""The decode stage as a plain function: items, facts, duplicates, rejects."""

import errno
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from mimicmotion.errors import InputError, MachineError, RejectedItem
from mimicmotion.video.files import write_preview
from mimicmotion.video.reader import open_video
from stages.clip_rows import VIDEO_FILE
from stages.decode import VIDEOS_SCHEMA, Decode
from stages.engine.contract import Item
from stages.engine.keys import FileHashes, recipe_key, remembering


def write_video(path: Path, shade: int, count: int = 12, size: tuple[int, int] = (48, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_preview(path, [np.full((*size, 3), shade + k, np.uint8) for k in range(count)], 12)
    return path


def items(source: Path | str, **fields: object) -> list[Item]:
    return list(Decode(source=str(source), **fields).items({}))


def decode(item: Item, folder: Path, **fields: object) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    table = Decode(source="unused", **fields).process(None, item, folder)
    assert table.schema == VIDEOS_SCHEMA
    (row,) = table.to_pylist()
    return row


def test_item_is_named_by_content_and_keyed_by_what_its_row_says(tmp_path: Path) -> None:
    write_video(tmp_path / "in/a.mp4", 10)
    (item,) = items(tmp_path / "in")
    assert len(item.id) == 16
    assert item.label == "a.mp4"
    assert item.inputs["content"].startswith(item.id)
    (tmp_path / "in/a.mp4").rename(tmp_path / "in/b.mp4")
    (renamed,) = items(tmp_path / "in")
    assert renamed.id == item.id
    assert renamed.inputs != item.inputs
    json.dumps(dict(renamed.payload))


def test_place_of_the_source_is_no_part_of_the_recipe(tmp_path: Path) -> None:
    keys = {recipe_key(Decode(source=source)) for source in ("here", "there")}
    assert len(keys) == 1
    assert recipe_key(Decode(source="here", short_side_px=64)) not in keys
    assert Decode(source="here", runtime={"item_timeout_s": 5}).runtime.item_timeout_s == 5


def test_facts_and_file(tmp_path: Path) -> None:
    write_video(tmp_path / "in/sub/a.mp4", 10, size=(96, 64))
    (item,) = items(tmp_path / "in")
    row = decode(item, tmp_path / "out", short_side_px=32)
    expected = {
        "video_id": item.id,
        "source": "sub/a.mp4",
        "sha256": item.inputs["content"],
        "codec": "h264",
        "width_px": 32,
        "height_px": 48,
        "source_width_px": 64,
        "fps": 12.0,
        "num_frames": 12,
        "duration_s": 1.0,
        "rotation_deg": 0,
        "has_audio": False,
        "scene_cuts": [],
        "fades": [],
        "bad_frames": [],
        "split": None,
        "given_id": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert [path.name for path in (tmp_path / "out").iterdir()] == [VIDEO_FILE]
    assert open_video(tmp_path / "out" / VIDEO_FILE).num_frames == 12


def test_duplicates_are_named_and_not_decoded(tmp_path: Path) -> None:
    # Written once: an encoder on a busy machine need not give the same bytes twice.
    write_video(tmp_path / "in/c.mp4", 10)
    for name in ("in/a.mp4", "in/b.mp4"):
        shutil.copyfile(tmp_path / "in/c.mp4", tmp_path / name)
    first, *copies = items(tmp_path / "in")
    assert [item.label for item in (first, *copies)] == ["a.mp4", "b.mp4", "c.mp4"]
    assert [item.id for item in copies] == [f"{first.id}-dup1", f"{first.id}-dup2"]
    for item in copies:
        with pytest.raises(RejectedItem) as caught:
            decode(item, tmp_path / item.id)
        assert caught.value.code == "duplicate"
        assert caught.value.sentence == f"{item.label} has the same content as a.mp4"
        assert list((tmp_path / item.id).iterdir()) == []


def test_rejects_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/text.mp4").write_text("no video")
    (tmp_path / "in/zero.mp4").write_bytes(b"")
    write_video(tmp_path / "in/short.mp4", 10, count=3)
    codes = {}
    for item in items(tmp_path / "in"):
        with pytest.raises(RejectedItem) as caught:
            decode(item, tmp_path / item.id, min_num_frames=5)
        codes[item.label] = caught.value.code
        assert list((tmp_path / item.id).iterdir()) == []
    assert codes == {"text.mp4": "unreadable", "zero.mp4": "unreadable", "short.mp4": "too_short"}


@pytest.mark.parametrize(("number", "kind"), [(errno.ESTALE, MachineError), (errno.EIO, None)])
def test_a_share_that_is_away_loses_no_film(
    tmp_path: Path, monkeypatch, number: int, kind: type | None
) -> None:
    write_video(tmp_path / "in/a.mp4", 10)

    def refuse(path: Path) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("stages.engine.keys.file_digest", refuse)
    with pytest.raises(kind, match="cannot be read now") if kind else nullcontext():
        (item,) = items(tmp_path / "in")
        assert "unreadable" in item.payload


def test_a_file_that_cannot_be_read_is_rejected_until_it_can(tmp_path: Path) -> None:
    write_video(tmp_path / "in/a.mp4", 10)
    (tmp_path / "in/dead.mp4").symlink_to(tmp_path / "in/gone.mp4")
    good, dead = items(tmp_path / "in")
    assert (good.label, dead.label) == ("a.mp4", "dead.mp4")
    with pytest.raises(RejectedItem, match=r"unreadable: dead\.mp4 cannot be read: No such file"):
        decode(dead, tmp_path / "out")
    write_video(tmp_path / "in/gone.mp4", 90)
    dead_then, gone = items(tmp_path / "in")[1:]
    assert dead_then.inputs != dead.inputs
    assert decode(dead_then, tmp_path / "out2")["source"] == "dead.mp4"
    assert gone.payload["duplicate_of"] == "dead.mp4"


def test_time_limit_is_the_one_of_the_runtime(tmp_path: Path) -> None:
    write_video(tmp_path / "in/a.mp4", 10)
    (item,) = items(tmp_path / "in")
    with pytest.raises(RejectedItem, match=r"timeout: a.mp4 took longer than 0.00095 s"):
        decode(item, tmp_path / "out", runtime={"item_timeout_s": 0.001})


def test_list_gives_split_and_id(tmp_path: Path) -> None:
    write_video(tmp_path / "v/a.mp4", 10)
    write_video(tmp_path / "v/b.mp4", 90)
    (tmp_path / "list.csv").write_text("path,split,id\nv/b.mp4,test,007\nv/a.mp4,,\n")
    rows = [decode(item, tmp_path / item.id) for item in items(tmp_path / "list.csv")]
    assert [(row["source"], row["split"], row["given_id"]) for row in rows] == [
        ("v/b.mp4", "test", "007"),
        ("v/a.mp4", None, None),
    ]


def test_other_files_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_video(tmp_path / "in/a.mp4", 10)
    (tmp_path / "in/notes.txt").write_text("x")
    with caplog.at_level("INFO"):
        assert len(items(tmp_path / "in")) == 1
    assert "1 other files (1 .txt)" in caplog.text
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no video in"):
        items(tmp_path / "empty")


def test_source_in_a_store_is_hashed_once_and_fetched(tmp_path: Path) -> None:
    write_video(tmp_path / "in/a.mp4", 10)
    uri = f"file://{tmp_path}/in"
    with remembering(FileHashes(tmp_path / "hashes.jsonl")):
        (item,) = items(uri)
        (again,) = items(uri)
    assert (item.id, item.inputs) == (again.id, again.inputs)
    assert len((tmp_path / "hashes.jsonl").read_text().splitlines()) == 1
    (local,) = items(tmp_path / "in")
    assert local.id == item.id
    assert local.inputs == item.inputs
    assert decode(item, tmp_path / "out")["num_frames"] == 12


ODD_NAMES = ("a b.mp4", "c#1.mp4", "d?.mp4", "e%20.mp4", "f/ü+&=.mp4")


def test_any_name_in_a_store_is_read_under_itself(tmp_path: Path) -> None:
    for shade, name in enumerate(ODD_NAMES):
        write_video(tmp_path / "in" / name, 40 * shade)
    found = items(f"file://{tmp_path}/in")
    assert [item.label for item in found] == list(ODD_NAMES)
    assert [item.inputs for item in found] == [item.inputs for item in items(tmp_path / "in")]
    for item in found:
        assert decode(item, tmp_path / item.id)["source"] == item.label


def test_every_video_is_read_from_the_store_of_its_source_and_no_password_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = []

    class Store:
        @staticmethod
        def from_uri(uri: str) -> tuple[pafs.FileSystem, str]:
            opened.append(uri)
            parts = urlsplit(uri)
            files = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
            return files, f"{parts.hostname}{unquote(parts.path)}"

    monkeypatch.setattr(pafs, "FileSystem", Store)
    write_video(tmp_path / "bucket/in/a b.mp4", 10)
    (tmp_path / "bucket/in/notes.txt").write_text("x")
    (tmp_path / "bucket/none").mkdir()
    start, query = "s3://user:hidden@bucket/in", "endpoint_override=localhost:9&scheme=http&secret_key=hidden"
    with caplog.at_level("INFO"), remembering(FileHashes(tmp_path / "hashes.jsonl")):
        (item,) = items(f"{start}?{query}")
    assert decode(item, tmp_path / "out")["num_frames"] == 12
    assert opened == [f"{start}?{query}", *[f"{start}/a%20b.mp4?{query}"] * 2]
    told = [item.label, item.inputs, caplog.text, (tmp_path / "hashes.jsonl").read_text()]
    with pytest.raises(InputError, match=r"no video in s3://\*\*\*@bucket/none") as caught:
        items(f"s3://user:hidden@bucket/none?{query}")
    assert "hidden" not in str([*told, caught.value])


class FakeDataset:
    """Decoded videos in a folder, one subfolder per video."""

    key = "k"

    def __init__(self, folder: Path, tables: dict[str, pa.Table]) -> None:
        self._folder, self._tables = folder, tables
        self.ids = tuple(sorted(tables))

    def item_key(self, item_id: str) -> str:
        return f"key-{item_id}"

    def path(self, item_id: str, name: str) -> Path:
        return self._folder / item_id / name

    def item_table(self, item_id: str) -> pa.Table:
        return self._tables[item_id]

    def table(self) -> pa.Table:
        return pa.concat_tables(self._tables[item_id] for item_id in self.ids)


class FakeReport:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}
        self.images: dict[str, np.ndarray] = {}
        self.tables: dict[str, pa.Table] = {}

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.numbers |= values

    def image(self, name: str, image: np.ndarray, step: int | None = None) -> None:
        self.images[name] = image

    def table(self, name: str, table: pa.Table) -> None:
        self.tables[name] = table


def test_show(tmp_path: Path) -> None:
    report = FakeReport()
    for k in range(7):
        write_video(tmp_path / f"in/{k}.mp4", 20 * k)
    stage, tables = Decode(source=str(tmp_path / "in")), {}
    for item in stage.items({}):
        (tmp_path / item.id).mkdir()
        tables[item.id] = stage.process(None, item, tmp_path / item.id)
    stage.show(FakeDataset(tmp_path, tables), {}, report)
    assert report.numbers["videos"] == 7
    assert report.numbers["hours"] == pytest.approx(7 / 3600)
    assert report.tables["videos"].num_rows == 7
    assert report.images["videos"].dtype == np.uint8

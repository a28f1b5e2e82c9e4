"""Hashes are remembered while a file is the same, and never where it may not be."""

import os
import time
from pathlib import Path

import pytest

from stages.engine.keys import file_sha256, remembering
from stages.engine.storage import hashes
from stages.engine.storage.hashes import FileHashes

SETTLE_S = 0.05
"""Longer than a file must have been left alone to be remembered."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("one")
    time.sleep(SETTLE_S)
    return path


@pytest.fixture
def index(tmp_path: Path, file: Path) -> Path:
    """An index that knows the file."""
    place = tmp_path / "index" / "hashes.jsonl"
    FileHashes(place).sha256(file)
    assert place.read_text().count("\n") == 1
    return place


def test_a_known_file_is_not_read(file: Path, index: Path, monkeypatch) -> None:
    one = FileHashes(index).sha256(file)
    monkeypatch.setattr(hashes, "file_digest", None)
    assert FileHashes(index).sha256(file) == one
    with remembering(FileHashes(index)):
        assert file_sha256(file) == one


def test_other_content_is_seen_where_size_and_time_of_writing_are_kept(file: Path, index: Path) -> None:
    one, stat = FileHashes(index).sha256(file), file.stat()
    file.write_text("two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    two = FileHashes(index).sha256(file)
    assert two != one
    other = file.with_name("other")
    other.write_text("six")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(file)
    assert FileHashes(index).sha256(file) not in (one, two)


def test_a_file_that_was_only_just_written_is_read_each_time(tmp_path: Path) -> None:
    index = FileHashes(tmp_path / "hashes.jsonl")
    found = set()
    for text in ("one", "two"):
        (tmp_path / "file").write_text(text)
        found.add(index.sha256(tmp_path / "file"))
    assert len(found) == 2


@pytest.mark.parametrize("garbage", ['["12 3 4', "5", "[[1], 2, 3]", "{}", "\0\0\0", "[" * 100_000])
def test_a_garbage_line_hurts_nothing(file: Path, index: Path, garbage: str, monkeypatch) -> None:
    one = FileHashes(index).sha256(file)
    index.write_text(f"{garbage}\n{index.read_text()}{garbage}")
    monkeypatch.setattr(hashes, "file_digest", None)
    assert FileHashes(index).sha256(file) == one


def test_an_index_that_cannot_be_written_is_no_fault_of_the_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    assert len(FileHashes(tmp_path / "taken" / "hashes.jsonl").sha256(file)) == 64

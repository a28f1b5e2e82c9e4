"""Locks: one holder, named to the other; the dead hold nothing."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mimicmotion.errors import MachineError, StageError
from stages.engine.storage.locks import FORGOTTEN_S, file_lock, record_lock

HOLDER = """
import sys, time
from pathlib import Path
from stages.engine.storage.locks import file_lock
with file_lock(Path(sys.argv[1]), "stage pose"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / "lock", "stage pose"),
        pytest.raises(StageError, match=r"stage pose is already running: process \d+ on .* since 20"),
        file_lock(tmp_path / "lock", "stage pose"),
    ):
        pass
    with file_lock(tmp_path / "lock", "stage pose"):
        pass


def test_a_killed_holder_does_not_block(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(StageError, match=f"process {child.pid} "), file_lock(lock, "stage pose"):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    with file_lock(lock, "stage pose"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StageError, match=r"stage pose cannot start: .*/pose/lock cannot be written \(Not a"),
        file_lock(tmp_path / "file" / "pose" / "lock", "stage pose"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_warning(tmp_path: Path, monkeypatch, caplog, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with file_lock(tmp_path / "lock", "stage pose") as alone:
        assert not alone
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"knows no locks ({os.strerror(number)})" in caplog.text


def test_a_lock_that_a_disk_refuses_is_named(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(MachineError, match="cannot be locked"), file_lock(tmp_path / "lock", "stage pose"):
        pass


class Records(dict):
    """Lock records in memory."""

    def read(self, name: str) -> bytes | None:
        return self.get(name)

    def write(self, name: str, data: bytes) -> None:
        self[name] = data

    def remove(self, name: str) -> None:
        self.pop(name, None)


Lock = Callable[..., AbstractContextManager[bool]]


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    """Locks ``records`` on the machine whose cache has a name."""
    return lambda records, cache="cache": record_lock(records, "lock.json", "it", tmp_path / cache / "lock")


def test_a_store_is_held_once_and_left_without_a_record(lock: Lock) -> None:
    records = Records()
    for cache in ("cache", "other"):
        with (
            lock(records),
            pytest.raises(StageError, match=r"it is already running: process \d+ on .* since 20"),
            lock(records, cache),
        ):
            pass
        assert not records


def test_what_a_dead_process_of_this_machine_left_is_taken_over_at_once(lock: Lock) -> None:
    records = Records()
    with lock(records):
        left = json.loads(records["lock.json"]) | {"pid": 4_000_000}
    records["lock.json"] = json.dumps(left).encode()
    with lock(records):
        assert json.loads(records["lock.json"])["pid"] != 4_000_000


def test_nothing_that_a_record_says_of_host_and_process_lets_another_container_take_it(lock: Lock) -> None:
    """Two containers may have one host name, and a process number of one means nothing in the other."""
    records = Records()
    with lock(records):
        held = json.loads(records["lock.json"])
    records["lock.json"] = json.dumps(held | {"pid": 4_000_000}).encode()
    with pytest.raises(StageError, match="process 4000000 on"), lock(records, "other"):
        pass
    assert json.loads(records["lock.json"])["cache"] == held["cache"]


@pytest.mark.parametrize("left", ["old", "garbage"])
def test_what_nobody_can_have_held_for_so_long_is_taken_over(lock: Lock, left: str) -> None:
    since = datetime.now(UTC) - timedelta(seconds=FORGOTTEN_S + 60)
    old = json.dumps({"host": "elsewhere", "pid": 1, "since": since.isoformat()}).encode()
    records = Records({"lock.json": old if left == "old" else b"[garbage"})
    with lock(records):
        assert json.loads(records["lock.json"])["host"] != "elsewhere"


def test_the_record_of_whoever_took_it_over_is_left_alone(lock: Lock) -> None:
    records = Records()
    with lock(records):
        records["lock.json"] = b"of another"
    assert records == {"lock.json": b"of another"}


def test_a_record_without_a_lock_file_behind_it_is_not_held_alone(lock: Lock, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    records = Records()
    with lock(records) as alone:
        assert alone
    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock(records) as alone:
        assert not alone

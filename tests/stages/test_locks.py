"""Locks: one holder, named to the other; the dead hold nothing."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mimicmotion.errors import StageError
from stages.locks import file_lock, record_lock
from stages.workspace import LocalWorkspace

HOLDER = """
import sys, time
from pathlib import Path
from stages.locks import file_lock
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


def test_a_record_lock_is_taken_over_from_the_dead_of_this_host_only(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    with (
        record_lock(workspace, "lock.json", "stage pose"),
        pytest.raises(StageError, match="already running"),
        record_lock(workspace, "lock.json", "stage pose"),
    ):
        pass
    assert workspace.read("lock.json") is None
    with record_lock(workspace, "lock.json", "stage pose"):
        held = json.loads(workspace.read("lock.json") or b"")
    workspace.write("lock.json", json.dumps({**held, "started": "earlier"}).encode())
    with record_lock(workspace, "lock.json", "stage pose"):
        pass
    workspace.write("lock.json", json.dumps({**held, "host": "elsewhere", "pid": 1}).encode())
    with pytest.raises(StageError, match="process 1 on elsewhere"), record_lock(workspace, "lock.json", "it"):
        pass


def test_a_clock_that_is_set_does_not_make_a_holder_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process's time of start counts from the machine's, which moves with the clock."""
    workspace = LocalWorkspace(tmp_path)
    with record_lock(workspace, "lock.json", "stage pose"):
        real = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) - 86_400)
        with (
            pytest.raises(StageError, match="already running"),
            record_lock(workspace, "lock.json", "stage pose"),
        ):
            pass

"""Locks: one holder, named to the other; the dead hold nothing."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from mimicmotion.errors import StageError
from stages.engine.storage.locks import file_lock, record_lock
from stages.engine.storage.workspace import LocalWorkspace

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


class Records(dict):
    """Lock records in memory."""

    def read(self, name: str) -> bytes | None:
        return self.get(name)

    def write(self, name: str, data: bytes) -> None:
        self[name] = data

    def remove(self, name: str) -> None:
        self.pop(name, None)


def record_of_elsewhere(renewed: datetime) -> bytes:
    content = {
        "host": "elsewhere",
        "pid": 1,
        "since": "earlier",
        "token": "t",
        "renewed": renewed.isoformat(),
    }
    return json.dumps(content).encode()


LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


def test_a_holder_renews_its_record_and_leaves_none() -> None:
    records = Records()
    with record_lock(records, "lock.json", "stage pose", renew_s=0.01) as check:
        first = records["lock.json"]
        for _ in range(500):
            if records["lock.json"] != first:
                break
            time.sleep(0.01)
        assert json.loads(records["lock.json"])["renewed"] > json.loads(first)["renewed"]
        check()
    assert not records


def test_what_nobody_renews_is_taken_over_after_it_was_watched() -> None:
    records = Records({"lock.json": record_of_elsewhere(LONG_AGO)})
    with record_lock(records, "lock.json", "stage pose", renew_s=0.01):
        assert json.loads(records["lock.json"])["host"] != "elsewhere"
    records["lock.json"] = record_of_elsewhere(datetime.now(UTC))
    said = r"process 1 on elsewhere .* showed life at 20.*Z and is taken over 600 s after it last did"
    with pytest.raises(StageError, match=said), record_lock(records, "lock.json", "stage pose", renew_s=0.01):
        pass


def test_a_holder_whose_clock_is_wrong_is_seen_to_live() -> None:
    class Renewed(Records):
        """Renewed between any two reads."""

        ages = iter(range(10))

        def read(self, name: str) -> bytes:
            return record_of_elsewhere(LONG_AGO + timedelta(seconds=next(self.ages)))

    with (
        pytest.raises(StageError, match="already running"),
        record_lock(Renewed(), "lock.json", "stage pose", renew_s=0.01),
    ):
        pass


def test_a_holder_that_was_replaced_stops_and_leaves_the_others_record() -> None:
    records = Records()
    taken = record_of_elsewhere(datetime.now(UTC))
    with record_lock(records, "lock.json", "stage pose") as check:
        records["lock.json"] = taken
        with pytest.raises(
            StageError, match=r"stage pose stopped before .* process 1 on elsewhere has taken"
        ):
            check()
    assert records == {"lock.json": taken}

"""One holder at a time for a piece of a workspace, and a message that names the holder."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil

from mimicmotion.errors import StageError


class LockRecords(Protocol):
    """Where a workspace without file locks keeps who holds what."""

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Store a file, whole or not at all."""

    def remove(self, name: str) -> None:
        """Delete a file or folder, if it is there."""


@contextmanager
def file_lock(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file of a local folder.

    The operating system drops the lock with the process, however it ends, so a killed holder never blocks.

    Raises:
        StageError: somebody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise _taken(what, str(path), file.read()) from error
        file.truncate(0)
        file.write(_holder())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextmanager
def record_lock(records: LockRecords, name: str, what: str) -> Iterator[None]:
    """Hold a lock that is only a record, for stores that know no file locks.

    The record of a process of this host that has ended is taken over; one of another host must be removed by
    a person, who alone can know that the process is gone. Two processes that start within the same moment
    may both get it: object stores offer nothing stronger through pyarrow.

    Raises:
        StageError: somebody else holds it.
    """
    found = records.read(name)
    if found is not None and not _is_gone(found.decode(errors="replace")):
        raise _taken(what, name, found.decode(errors="replace"))
    records.write(name, _holder().encode())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            records.remove(name)


def _holder() -> str:
    return json.dumps(
        {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )


def _started(pid: int) -> str:
    """What tells a process from an earlier one of the same number, also after the clock was set.

    Raises:
        NoSuchProcess: there is no such process.
    """
    process = psutil.Process(pid)
    try:
        # Linux: ticks since this start of the machine, which no clock changes.
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {ticks}"
    except FileNotFoundError:
        return f"{process.create_time():.2f}"


def _parsed(text: str) -> dict[str, Any]:
    try:
        holder = json.loads(text)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_gone(text: str) -> bool:
    holder = _parsed(text)
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    try:
        # A pid may have been given to another process since; its start tells them apart.
        return bool(holder.get("started") != _started(holder["pid"]))
    except psutil.NoSuchProcess:
        return True


def _taken(what: str, name: str, text: str) -> StageError:
    holder = _parsed(text)
    return StageError(
        f"{what} is already running: process {holder.get('pid', '?')} on {holder.get('host', '?')} has held "
        f"{name} since {holder.get('since', '?')}. Wait for it or stop it; if it is surely gone, "
        "delete that file."
    )

"""One holder at a time for a piece of a workspace, and a message that names the holder."""

import contextlib
import fcntl
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psutil

from mimicmotion.errors import StageError

log = logging.getLogger(__name__)

Check = Callable[[], None]
"""Raises a StageError where the lock is held by another by now."""

_RENEW_S, _STALE_S = 60.0, 600.0


class LockRecords(Protocol):
    """Where a workspace without file locks keeps who holds what."""

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Store a file, whole or not at all."""

    def remove(self, name: str) -> None:
        """Delete a file or folder, if it is there."""


@contextmanager
def file_lock(path: Path, what: str) -> Iterator[Check]:
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
            yield lambda: None
        finally:
            file.truncate(0)


@contextmanager
def record_lock(
    records: LockRecords, name: str, what: str, renew_s: float = _RENEW_S, stale_s: float = _STALE_S
) -> Iterator[Check]:
    """Hold a lock that is only a record, for stores that know no file locks.

    A thread renews the time in the record. The record of a process of this host that has ended is taken over
    at once. One of another host is taken over when its time is long past and then nothing renews it while
    this process watches, so that a clock which is wrong on either machine makes nobody alive look dead. Two
    processes that start within the same moment may both get it: object stores offer nothing stronger through
    pyarrow.

    Args:
        renew_s: seconds between renewals; two of them are watched.
        stale_s: age of a record, by this machine's clock, from which on it is watched.

    Raises:
        StageError: somebody else holds it; says when it will be taken over.
    """
    found = records.read(name)
    if found is not None:
        text = found.decode(errors="replace")
        if not _is_gone(text) and not _is_silent(records, name, found, renew_s, stale_s):
            raise _taken(what, name, text, stale_s)
    held = _HeldRecord(records, name, what)
    held.write()
    thread = threading.Thread(target=held.keep, args=(renew_s,), name=f"renews {name}", daemon=True)
    thread.start()
    try:
        yield held.check
    finally:
        held.end.set()
        thread.join()
        with contextlib.suppress(OSError):
            if not held.other():
                records.remove(name)


class _HeldRecord:
    """A record that this process wrote, known again by a random token."""

    def __init__(self, records: LockRecords, name: str, what: str) -> None:
        self.end = threading.Event()
        self._records, self._name, self._what = records, name, what
        self._content = {**json.loads(_holder()), "token": secrets.token_hex(8)}

    def write(self) -> None:
        """Write the record with the present time."""
        content = {**self._content, "renewed": datetime.now(UTC).isoformat(timespec="milliseconds")}
        self._records.write(self._name, json.dumps(content).encode())

    def other(self) -> dict[str, Any] | None:
        """Who has taken it over, if anybody has."""
        data = self._records.read(self._name)
        holder = _parsed(data.decode(errors="replace")) if data is not None else self._content
        return None if holder.get("token") == self._content["token"] else holder

    def keep(self, renew_s: float) -> None:
        """Renew the record until the end, or until another has taken it over."""
        while not self.end.wait(renew_s):
            try:
                if self.other():
                    log.error("%s: %s was taken over by another process", self._what, self._name)
                    return
                self.write()
            except Exception as error:  # the store may be away for a while
                log.warning("%s: %s was not renewed: %s", self._what, self._name, error)

    def check(self) -> None:
        """Refuse to go on without the lock."""
        other = self.other()
        if other is not None:
            raise StageError(
                f"{self._what} stopped before it published: process {other.get('pid', '?')} on "
                f"{other.get('host', '?')} has taken over {self._name} since {other.get('since', '?')}, as "
                "this one had not renewed it in time. Finished items are kept; run it again when the other "
                "has ended."
            )


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


def _is_silent(records: LockRecords, name: str, found: bytes, renew_s: float, stale_s: float) -> bool:
    """Whether a record's time is long past, and nothing renews it while this process watches."""
    renewed = _renewed(_parsed(found.decode(errors="replace")))
    if renewed is None or abs((datetime.now(UTC) - renewed).total_seconds()) <= stale_s:
        return False
    log.info("%s was renewed last at %s: watching it for %g s", name, renewed.isoformat(), 2 * renew_s)
    time.sleep(2 * renew_s)
    return records.read(name) in (found, None)


def _renewed(holder: dict[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(holder["renewed"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return None


def _taken(what: str, name: str, text: str, stale_s: float = _STALE_S) -> StageError:
    holder = _parsed(text)
    renewed = _renewed(holder)
    takeover = (
        "Wait for it or stop it; if it is surely gone, "
        if renewed is None
        else f"It showed life at {renewed:%Y-%m-%dT%H:%M:%SZ} and is taken over {stale_s:g} s after it last "
        "did. Wait for it or stop it; if it is surely gone and you cannot wait, "
    )
    return StageError(
        f"{what} is already running: process {holder.get('pid', '?')} on {holder.get('host', '?')} has held "
        f"{name} since {holder.get('since', '?')}. {takeover}delete that file."
    )

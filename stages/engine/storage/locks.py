"""One holder at a time for a piece of a workspace, and a message that names the holder.

A lock saves work and guards no data: publication is keyed by content, so two holders make the same twice.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from mimicmotion.errors import MachineError, StageError

log = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What Lustre without ``flock``, NFS without its lock service and some shares say."""
FORGOTTEN_S = 24 * 3600.0
"""Age from which on the record of another machine, which nobody here can see alive or dead, is taken over."""


class LockRecords(Protocol):
    """Where a workspace without file locks keeps who holds what."""

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Store a file, whole or not at all."""

    def remove(self, name: str) -> None:
        """Delete a file or folder, if it is there."""


@contextmanager
def file_lock(path: Path, what: str) -> Iterator[bool]:
    """Hold a lock file of a local folder; false where its file system knows no locks, so that others may run.

    The operating system drops the lock with the process, however it ends, so a killed holder never blocks.
    A file system without locks gets a warning.

    Raises:
        StageError: somebody else holds it, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StageError(
            f"{what} cannot start: {path} cannot be written ({error.strerror or error}). Let this user write "
            "there, or name another workspace; what is published there can be read as it is."
        ) from error
    with file:
        held = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise _taken(what, str(path), _parsed(file.read().encode())) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise MachineError(
                    f"{what} cannot start: {path} cannot be locked ({error.strerror})"
                ) from error
            log.warning(
                "%s: the file system of %s knows no locks (%s), so nothing keeps a second run out: it "
                "would do the same work twice",
                what,
                path.parent,
                error.strerror,
            )
            held = False
        file.truncate(0)
        file.write(json.dumps(_holder()))
        file.flush()
        try:
            yield held
        finally:
            file.truncate(0)


@contextmanager
def record_lock(records: LockRecords, name: str, what: str, here: Path) -> Iterator[bool]:
    """Hold a lock that is a record in a store, which knows no file locks.

    Whoever holds the lock file in this machine's cache knows that a record written through the same cache was
    left by a process that ended. Any other record is respected, whatever host or process it names, until it
    is a day old. Two machines that start within the same moment may both get it.

    Args:
        here: lock file in the cache of this machine.

    Raises:
        StageError: somebody else holds it.
    """
    with file_lock(here, what) as held:
        ours = {**_holder(), "cache": _cache_id(here.parent)}
        found = _parsed(records.read(name))
        if found and found.get("cache") != ours["cache"]:
            if _age_s(found) < FORGOTTEN_S:
                raise _taken(what, name, found)
            log.warning("%s: taking over %s, which %s left a day ago", what, name, found.get("host", "?"))
        content = json.dumps(ours).encode()
        records.write(name, content)
        try:
            yield held
        finally:
            with contextlib.suppress(StageError):
                if records.read(name) == content:
                    records.remove(name)


def _holder() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since}


def _cache_id(folder: Path) -> str:
    """What tells this cache from that of any other machine or container, also of one of the same name."""
    place = folder / "id"
    with contextlib.suppress(FileExistsError), place.open("x") as file:
        file.write(secrets.token_hex(16))
    return place.read_text()


def _parsed(data: bytes | None) -> dict[str, Any]:
    try:
        holder = json.loads(data or b"")
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _age_s(holder: dict[str, Any]) -> float:
    try:
        return time.time() - datetime.fromisoformat(holder["since"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return FORGOTTEN_S


def _taken(what: str, name: str, holder: dict[str, Any]) -> StageError:
    return StageError(
        f"{what} is already running: process {holder.get('pid', '?')} on {holder.get('host', '?')} has held "
        f"{name} since {holder.get('since', '?')}. Wait for it or stop it; if it is surely gone, delete that "
        "file."
    )

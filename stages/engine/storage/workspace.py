"""The place where datasets are kept: a local folder, or anything that pyarrow opens by its URI.

What is published is there whole or not at all, also after a power cut. A local folder is written to a staging
folder and renamed; ``object_workspace.py`` is the other kind.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mimicmotion.durable import make_folder, put_in_place, write_file
from mimicmotion.errors import redacted as redacted
from stages.engine.storage.hashes import FileHashes
from stages.engine.storage.locks import file_lock

CACHE_VARIABLE = "MIMICMOTION_CACHE"
"""Environment variable: local folder for what is fetched from a workspace that is not local."""

DAY_S = 24 * 3600.0
_VERSION_LENGTH = 16
_VERSION = re.compile(rf"(?<=[^/])@[0-9a-f]{{{_VERSION_LENGTH}}}(?=/|$)")


class Workspace(ABC):
    """Files by name (``stage/recipe/...``) in one place. A worker opens it again from its ``uri``.

    ``path`` and ``fetch`` also take names with a folder's ``version`` in them, so that what was fetched
    before the folder was published anew is not taken for what it holds now.
    """

    uri: str

    @property
    def shown(self) -> str:
        """Its address for messages, without a password."""
        return redacted(self.uri)

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Content of a file, or None where there is none."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Store a file, whole or not at all."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file or folder, if it is there."""

    @abstractmethod
    def folders(self, name: str) -> list[str]:
        """Names of the folders in a folder, sorted; empty where there is none."""

    @abstractmethod
    def published(self, name: str, record: str) -> dict[str, float]:
        """The folders in a folder that hold their record, with the time of the last change (s since 1970).

        Anything that changes, appears or goes in such a folder afterwards gives it another time.
        """

    @abstractmethod
    def publish(self, staging: Path, name: str, record: str) -> None:
        """Put a staging folder in its place, the record last; replaces what is there."""

    @abstractmethod
    def path(self, name: str) -> Path:
        """Where a file or folder lies, or will lie once fetched, on this machine."""

    @abstractmethod
    def fetch(self, name: str) -> Path:
        """Local path of a file or folder that is there, brought here if need be."""

    @abstractmethod
    def forget(self, name: str) -> None:
        """Delete what was fetched of a folder, in any version."""

    @abstractmethod
    def doubt(self, name: str, record: str) -> None:
        """Let a published folder with a damaged file be looked at again before it counts, if possible."""

    @abstractmethod
    def staging(self, name: str) -> Path:
        """A new empty local folder to write to before publishing in ``name``."""

    @abstractmethod
    def clear_staging(self, name: str, older_than_s: float = 0) -> None:
        """Delete staging folders that killed runs left in ``name``, unchanged for so many seconds."""

    @abstractmethod
    def scratch(self, name: str) -> Path:
        """A local folder that stays until it is removed, e.g. for the state of a long training."""

    @property
    @abstractmethod
    def disk(self) -> str:
        """What a message calls the disk of this machine that it writes to."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Free space of that disk."""

    @abstractmethod
    def lock(self, name: str, what: str) -> AbstractContextManager[bool]:
        """Hold a lock while a block runs; false where the place knows no locks, so that others may run.

        Raises:
            StageError: somebody else holds it; names the holder.
        """

    @abstractmethod
    def index(self, name: str) -> Path:
        """A local file for look-ups that may be lost without harm; its folder may not be there."""

    @cached_property
    def hashes(self) -> FileHashes:
        """What is known of the content of files on this machine."""
        return FileHashes(self.index("hashes.jsonl"))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "hashes"}


class LocalWorkspace(Workspace):
    """A folder of this machine, or one that all machines of a cluster mount at the same path."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.uri = str(root)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        write_file(self._root / name, data)

    def remove(self, name: str) -> None:
        target = self._root / name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def folders(self, name: str) -> list[str]:
        folder = self._root / name
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if folder.is_dir() else []

    def published(self, name: str, record: str) -> dict[str, float]:
        found, top = {}, self._root / name
        for folder in sorted(os.scandir(top), key=lambda entry: entry.name) if top.is_dir() else ():
            try:
                if folder.is_dir() and record in (times := _changed_s(folder)):
                    found[folder.name] = max(times.values())
            except FileNotFoundError:
                continue  # somebody deleted the record, or the folder, to have the item made again
            except OSError:
                found[folder.name] = (
                    0.0  # of no item that was ever listed: whoever reads it meets the error again
                )
        return found

    def publish(self, staging: Path, name: str, record: str) -> None:
        target = self._root / name
        make_folder(target.parent)
        # A folder cannot be renamed over a full one. Killed in between, the item is only made again.
        while True:
            old = staging.with_name(f"{staging.name}.{secrets.token_hex(2)}.old")
            with contextlib.suppress(FileNotFoundError):
                target.rename(old)
            try:
                put_in_place(staging, target)
            except OSError as error:
                # A worker that was given up on may publish the same in between; the last one counts.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                return
            finally:
                shutil.rmtree(old, ignore_errors=True)

    def path(self, name: str) -> Path:
        return self._root / without_versions(name)

    def fetch(self, name: str) -> Path:
        return self.path(name)

    def forget(self, name: str) -> None:
        """Nothing is fetched."""

    def doubt(self, name: str, record: str) -> None:
        with contextlib.suppress(OSError):
            os.utime(self._root / name)

    def index(self, name: str) -> Path:
        return self._root / "index" / name

    def staging(self, name: str) -> Path:
        folder = self._root / name / "staging" / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder

    def clear_staging(self, name: str, older_than_s: float = 0) -> None:
        clear_old(self._root / name / "staging", older_than_s)

    def scratch(self, name: str) -> Path:
        folder = self._root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def disk(self) -> str:
        return f"the disk of workspace {self.shown}"

    def free_bytes(self) -> int:
        return free_bytes_at(self._root)

    def lock(self, name: str, what: str) -> AbstractContextManager[bool]:
        return file_lock(self._root / name, what)


def _changed_s(folder: os.DirEntry[str]) -> dict[str, float]:
    """When a folder (``.``) and what it holds changed last, also where the time of writing was set back."""
    with os.scandir(folder) as entries:
        times = {
            entry.name: max(_changed_s(entry).values()) if entry.is_dir() else entry.stat().st_ctime
            for entry in entries
        }
    return {".": folder.stat().st_mtime, **times}


def clear_old(folder: Path, older_than_s: float) -> None:
    """Delete the folders in a folder in which nothing changed for so many seconds."""
    for staging in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # a neighbour is at work in it
            changed_s = max(path.stat().st_mtime for path in (staging, *staging.rglob("*")))
            if not older_than_s or time.time() - changed_s > older_than_s:
                shutil.rmtree(staging, ignore_errors=True)


def free_bytes_at(folder: Path) -> int:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free


def version(folder: str, record: bytes) -> str:
    """Name of a folder as its record describes it: a place of its own among what was fetched."""
    return f"{folder}@{hashlib.sha256(record).hexdigest()[:_VERSION_LENGTH]}"


def without_versions(name: str) -> str:
    return _VERSION.sub("", name)


def is_remote(uri: str) -> bool:
    """Whether a URI names something else than a local folder."""
    return urlsplit(uri).scheme not in ("", "file")


def local_path(uri: str) -> str:
    """The path that a ``file:`` URI names; anything else as it is."""
    return unquote(urlsplit(uri).path) if uri.startswith("file:/") else uri


@contextmanager
def staged(workspace: Workspace, name: str) -> Iterator[Path]:
    """A folder to write to; whatever was not published from it is deleted afterwards."""
    folder = workspace.staging(name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

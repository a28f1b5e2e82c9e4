"""The place where datasets are kept: a local folder, or anything that pyarrow opens by its URI.

What is published is there whole or not at all. A local folder is written aside and renamed; on an object
store each file is one PUT and the record that makes the rest count is the last of them.
"""

import glob
import hashlib
import os
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from mimicmotion.errors import InputError
from mimicmotion.errors import redacted as redacted
from stages.locks import Check, file_lock, record_lock

CACHE_VARIABLE = "MIMICMOTION_CACHE"
"""Environment variable: local folder for what is fetched from a workspace that is not local."""

_BLOCK_BYTES = 1 << 22
_WHOLE = ".whole"
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
        """The folders in a folder that hold their record, with the time it was written (s since 1970)."""

    @abstractmethod
    def publish(self, aside: Path, name: str, record: str) -> None:
        """Put a folder that was written aside in its place, the record last; replaces what is there."""

    @abstractmethod
    def path(self, name: str) -> Path:
        """Where a file or folder lies, or will lie once fetched, on this machine."""

    @abstractmethod
    def fetch(self, name: str) -> Path:
        """Local path of a file or folder that is there, brought here if need be."""

    @abstractmethod
    def aside(self, name: str) -> Path:
        """A new empty local folder to write to before publishing in ``name``."""

    @abstractmethod
    def clear_asides(self, name: str) -> None:
        """Delete what killed runs left aside in ``name``."""

    @abstractmethod
    def scratch(self, name: str) -> Path:
        """A local folder that stays until it is removed, e.g. for the state of a long training."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Free space; None where nobody can tell."""

    @abstractmethod
    def lock(self, name: str, what: str) -> AbstractContextManager[Check]:
        """Hold a lock while a block runs, which gets a check that it is still held.

        Raises:
            StageError: somebody else holds it; names the holder.
        """

    def index(self, name: str) -> Path:
        """A local file for look-ups that may be lost without harm."""
        return self.scratch("index") / name


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
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            aside.write_bytes(data)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)

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
        found = {}
        for folder in self.folders(name):
            try:
                found[folder] = (self._root / name / folder / record).stat().st_mtime
            except FileNotFoundError:
                continue  # somebody deleted the record to have the item made again
        return found

    def publish(self, aside: Path, name: str, record: str) -> None:
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            # A folder cannot be renamed over a full one. Killed in between, the item is only made again.
            old = aside.with_name(aside.name + ".old")
            target.rename(old)
            aside.rename(target)
            shutil.rmtree(old)
        else:
            aside.rename(target)

    def path(self, name: str) -> Path:
        return self._root / _without_versions(name)

    def fetch(self, name: str) -> Path:
        return self.path(name)

    def aside(self, name: str) -> Path:
        folder = self._root / name / "aside" / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder

    def clear_asides(self, name: str) -> None:
        shutil.rmtree(self._root / name / "aside", ignore_errors=True)

    def scratch(self, name: str) -> Path:
        folder = self._root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def free_bytes(self) -> int | None:
        there = next(folder for folder in (self._root, *self._root.parents) if folder.exists())
        return shutil.disk_usage(there).free

    def lock(self, name: str, what: str) -> AbstractContextManager[Check]:
        return file_lock(self._root / name, what)


class ObjectWorkspace(Workspace):
    """A prefix of an object store, with a local folder for what is fetched and what is being written.

    Args:
        uri: the address it is opened by.
        files: the store, as pyarrow opens it.
        prefix: path in the store under which everything lies.
        cache: local folder.
    """

    def __init__(self, uri: str, files: pafs.FileSystem, prefix: str, cache: Path) -> None:
        self.uri = uri
        self._files = files
        self._prefix = prefix.rstrip("/")
        self._cache = cache

    def read(self, name: str) -> bytes | None:
        try:
            with self._files.open_input_stream(self._object(name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        with self._output(self._object(name)) as stream:
            stream.write(data)

    def remove(self, name: str) -> None:
        found = self._files.get_file_info(self._object(name))
        if found.type == pafs.FileType.Directory:
            self._files.delete_dir(found.path)
        elif found.type == pafs.FileType.File:
            self._files.delete_file(found.path)
        self._forget(name)

    def folders(self, name: str) -> list[str]:
        selector = pafs.FileSelector(self._object(name), allow_not_found=True)
        found = self._files.get_file_info(selector)
        return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)

    def published(self, name: str, record: str) -> dict[str, float]:
        top = self._object(name)
        found = self._files.get_file_info(pafs.FileSelector(top, allow_not_found=True, recursive=True))
        published = {}
        for info in found:
            parts = info.path[len(top) :].strip("/").split("/")
            if len(parts) == 2 and parts[1] == record:
                published[parts[0]] = info.mtime.timestamp() if info.mtime else 0.0
        return published

    def publish(self, aside: Path, name: str, record: str) -> None:
        # Without its record the old content no longer counts while the new one arrives.
        self.remove(f"{name}/{record}")
        names = sorted(file.relative_to(aside).as_posix() for file in aside.rglob("*") if file.is_file())
        for file in sorted(names, key=lambda file: file == record):
            with (aside / file).open("rb") as source, self._output(self._object(f"{name}/{file}")) as target:
                shutil.copyfileobj(source, target, _BLOCK_BYTES)
        self._forget(name)
        shutil.rmtree(aside)

    def _forget(self, name: str) -> None:
        """Delete what was fetched of a folder, in any version."""
        for fetched in (self._cache / "whole" / name, self._cache / "files" / name):
            for place in (fetched, *fetched.parent.glob(f"{glob.escape(fetched.name)}@*")):
                shutil.rmtree(place, ignore_errors=True)

    def path(self, name: str) -> Path:
        return self._cache / "files" / name

    def fetch(self, name: str) -> Path:
        target, asked = self.path(name), PurePosixPath(name)
        # A folder is there as soon as one of its files was fetched alone; a mark says that it is there whole.
        whole = [self._cache / "whole" / folder / _WHOLE for folder in (asked, *asked.parents)]
        if not target.is_file() and not (target.is_dir() and any(mark.exists() for mark in whole)):
            aside = self.aside("fetched") / "content"
            self._download(self._object(_without_versions(name)), aside)
            for file in (aside, *aside.rglob("*")):
                if file.is_file():
                    place = target / file.relative_to(aside)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    file.replace(place)  # another worker may have put the same there
            if target.is_dir():
                whole[0].parent.mkdir(parents=True, exist_ok=True)
                whole[0].touch()
            shutil.rmtree(aside.parent)
        return target

    def _download(self, source: str, target: Path) -> None:
        found = self._files.get_file_info(source)
        if found.type == pafs.FileType.NotFound:
            raise InputError(f"{self.shown}: holds no {source}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if found.type == pafs.FileType.File:
            pafs.copy_files(source, str(target), self._files, pafs.LocalFileSystem())
            return
        for info in self._files.get_file_info(pafs.FileSelector(source)):
            self._download(info.path, target / info.base_name)

    def aside(self, name: str) -> Path:
        folder = self._cache / "aside" / name / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder

    def clear_asides(self, name: str) -> None:
        shutil.rmtree(self._cache / "aside" / name, ignore_errors=True)

    def scratch(self, name: str) -> Path:
        folder = self._cache / "scratch" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def free_bytes(self) -> int | None:
        return None

    def lock(self, name: str, what: str) -> AbstractContextManager[Check]:
        return record_lock(self, name, what)

    def _output(self, target: str) -> pa.NativeFile:
        try:
            return self._files.open_output_stream(target)
        except FileNotFoundError:  # a store that has real folders, as object stores do not
            self._files.create_dir(target.rpartition("/")[0], recursive=True)
            return self._files.open_output_stream(target)

    def _object(self, name: str) -> str:
        return f"{self._prefix}/{name}"


def version(folder: str, record: bytes) -> str:
    """Name of a folder as its record describes it: a place of its own among what was fetched."""
    return f"{folder}@{hashlib.sha256(record).hexdigest()[:_VERSION_LENGTH]}"


def _without_versions(name: str) -> str:
    return _VERSION.sub("", name)


def is_remote(uri: str) -> bool:
    """Whether a URI names something else than a local folder."""
    return urlsplit(uri).scheme not in ("", "file")


def local_path(uri: str) -> str:
    """The path that a ``file:`` URI names; anything else as it is."""
    return unquote(urlsplit(uri).path) if uri.startswith("file:/") else uri


def open_workspace(uri: str) -> Workspace:
    """The workspace at a local folder, or at a URI such as ``s3://bucket/prefix?endpoint_override=...``.

    Raises:
        InputError: the URI cannot be opened.
    """
    if not is_remote(uri):
        return LocalWorkspace(Path(local_path(uri)).absolute())
    try:
        files, prefix = pafs.FileSystem.from_uri(_with_single_puts(uri))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"workspace {redacted(uri)}: cannot be opened ({redacted(error)})") from error
    default = Path.home() / ".cache" / "mimicmotion"
    cache = Path(os.environ.get(CACHE_VARIABLE, default)) / hashlib.sha256(uri.encode()).hexdigest()[:16]
    return ObjectWorkspace(uri, files, prefix, cache)


def _with_single_puts(uri: str) -> str:
    """The URI with Arrow's option to store a small file in one PUT instead of a multipart upload."""
    if urlsplit(uri).scheme != "s3" or "allow_delayed_open=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"


@contextmanager
def written_aside(workspace: Workspace, name: str) -> Iterator[Path]:
    """A folder to write to; whatever was not published from it is deleted afterwards."""
    folder = workspace.aside(name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

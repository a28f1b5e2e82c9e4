"""A workspace in an object store.

Each file is one PUT, and the record that makes the rest of a folder count is the last of them. What is
fetched stays in a local folder, the cache::

    <cache>/files/<name>      what was fetched, a folder that was made again in another version
    <cache>/whole/<name>      marks of folders that were fetched whole
    <cache>/staging/<name>      what is being fetched or written; killed workers leave it
    <cache>/locks/<name>      locks of the processes of this machine
    <cache>/scratch/<name>    what stays until it is removed, e.g. checkpoints of a training
"""

import contextlib
import glob
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs as pafs

from mimicmotion.errors import InputError, MachineError, StageError, redacted
from mimicmotion.foreign import says_disk_full
from stages.engine.storage.locks import record_lock
from stages.engine.storage.workspace import (
    CACHE_VARIABLE,
    DAY_S,
    Workspace,
    clear_old,
    free_bytes_at,
    staged,
    without_versions,
)

_BLOCK_BYTES = 1 << 22
_WHOLE, _FETCHED = ".whole", "fetched"


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
            with self._asking(), self._files.open_input_stream(self._object(name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        with self._asking(), self._output(self._object(name)) as stream:
            stream.write(data)

    def remove(self, name: str) -> None:
        with self._asking(), contextlib.suppress(FileNotFoundError):  # somebody else was sooner
            found = self._files.get_file_info(self._object(name))
            if found.type == pafs.FileType.Directory:
                self._files.delete_dir(found.path)
            elif found.type == pafs.FileType.File:
                self._files.delete_file(found.path)
        self.forget(name)

    def folders(self, name: str) -> list[str]:
        found = self._listed(name)
        return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)

    def published(self, name: str, record: str) -> dict[str, float]:
        top, found = self._object(name), self._listed(name, recursive=True)
        records, changed_s = set(), dict[str, float]()
        for info in found:
            folder, _, file = info.path[len(top) :].strip("/").partition("/")
            if file == record:
                records.add(folder)
            if info.type == pafs.FileType.File and info.mtime:
                changed_s[folder] = max(info.mtime.timestamp(), changed_s.get(folder, 0.0))
        return {folder: changed_s.get(folder, 0.0) for folder in records}

    def publish(self, staging: Path, name: str, record: str) -> None:
        # Without its record the old content no longer counts while the new one arrives.
        self.remove(f"{name}/{record}")
        names = sorted(file.relative_to(staging).as_posix() for file in staging.rglob("*") if file.is_file())
        for file in sorted(names, key=lambda file: file == record):
            with (
                self._asking(),
                (staging / file).open("rb") as source,
                self._output(self._object(f"{name}/{file}")) as target,
            ):
                shutil.copyfileobj(source, target, _BLOCK_BYTES)
        self.forget(name)
        shutil.rmtree(staging)

    def doubt(self, name: str, record: str) -> None:
        with contextlib.suppress(StageError):
            self.remove(f"{name}/{record}")

    def forget(self, name: str) -> None:
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
            with staged(self, _FETCHED) as staging:
                with self._asking():
                    self._download(self._object(without_versions(name)), staging / "content")
                for file in (staging / "content", *staging.rglob("content/**/*")):
                    if file.is_file():
                        place = target / file.relative_to(staging / "content")
                        place.parent.mkdir(parents=True, exist_ok=True)
                        file.replace(place)  # another worker may have put the same there
            if target.is_dir():
                whole[0].parent.mkdir(parents=True, exist_ok=True)
                whole[0].touch()
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

    def staging(self, name: str) -> Path:
        folder = self._cache / "staging" / name / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder

    def clear_staging(self, name: str, older_than_s: float = 0) -> None:
        clear_old(self._cache / "staging" / name, older_than_s)
        # Every stage of this machine fetches there, also now.
        clear_old(self._cache / "staging" / _FETCHED, max(older_than_s, DAY_S))

    def scratch(self, name: str) -> Path:
        folder = self._cache / "scratch" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def index(self, name: str) -> Path:
        return self._cache / "scratch" / "index" / name

    @property
    def disk(self) -> str:
        return (
            f"the disk of {self._cache}, the cache of {self.shown} ({CACHE_VARIABLE} names another folder),"
        )

    def free_bytes(self) -> int:
        return free_bytes_at(self._cache)

    def lock(self, name: str, what: str) -> AbstractContextManager[bool]:
        return record_lock(self, name, what, self._cache / "locks" / name.replace("/", "-"))

    def _output(self, target: str) -> pa.NativeFile:
        try:
            return self._files.open_output_stream(target)
        except FileNotFoundError:  # a store that has real folders, as object stores do not
            self._files.create_dir(target.rpartition("/")[0], recursive=True)
            return self._files.open_output_stream(target)

    def _listed(self, name: str, recursive: bool = False) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self._object(name), allow_not_found=True, recursive=recursive)
        with self._asking():
            found: list[pafs.FileInfo] = self._files.get_file_info(selector)
        return found

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Give the store's silence and its refusals a form for people; a missing object stays an error."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            if says_disk_full(error):
                raise
            raise MachineError(
                f"workspace {self.shown}: the store does not answer, or refuses ({redacted(error)}). Look at "
                "its address, the network and the credentials, then run it again; what is there is kept."
            ) from error

    def _object(self, name: str) -> str:
        return f"{self._prefix}/{name}"

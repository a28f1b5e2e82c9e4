"""Content keys: what an outcome depends on, as a short hash.

Keys are derived from what goes in, not from what comes out, so that a changed config or source tells what
becomes stale before anything runs.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

from mimicmotion.errors import InputError, WeightsError
from stages.engine.contract import Stage

KEY_LENGTH = 20
"""Hex digits of a key: 80 bits, so that a hundred thousand items never meet."""

_BLOCK_BYTES = 1 << 20


class FileHashes:
    """Remembers the sha256 of files by path, size and time of change.

    Args:
        index: file of JSON lines that keeps the hashes between runs; lines are only ever appended, so a
            killed run keeps what it has and two runs may share it.
    """

    def __init__(self, index: Path) -> None:
        self._index = index
        self._known: dict[str, tuple[int, int, str]] = {}
        for line in _lines(index):
            try:
                path, size, mtime_ns, digest = json.loads(line)
            except ValueError:
                continue  # the last line of a killed run; its file is hashed again
            self._known[path] = (size, mtime_ns, digest)

    def sha256(self, path: Path) -> str:
        """Sha256 of a file's content, as 64 hex digits."""
        stat = path.stat()
        return self.remembered(
            str(path.resolve()), stat.st_size, stat.st_mtime_ns, lambda: _read_sha256(path)
        )

    def remembered(self, name: str, size: int, mtime_ns: int, compute: Callable[[], str]) -> str:
        """The sha256 known for this name, size and time of change, or else computed now."""
        known_size, known_mtime_ns, digest = self._known.get(name, (-1, -1, ""))
        if (known_size, known_mtime_ns) != (size, mtime_ns):
            digest = compute()
            self._known[name] = (size, mtime_ns, digest)
            self._append(json.dumps([name, size, mtime_ns, digest]))
        return digest

    def _append(self, line: str) -> None:
        self._index.parent.mkdir(parents=True, exist_ok=True)
        with self._index.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


_active: ContextVar[FileHashes | None] = ContextVar("active_file_hashes", default=None)


@contextmanager
def remembering(hashes: FileHashes) -> Iterator[None]:
    """Let ``file_sha256`` look up and remember its results in an index while the block runs."""
    token = _active.set(hashes)
    try:
        yield
    finally:
        _active.reset(token)


def file_sha256(path: Path) -> str:
    """Sha256 of a file's content, as 64 hex digits; remembered between runs where an index is active.

    Raises:
        InputError: the file cannot be read.
    """
    hashes = _active.get()
    try:
        return hashes.sha256(path) if hashes else _read_sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def remembered_sha256(name: str, size: int, mtime_ns: int, compute: Callable[[], str]) -> str:
    """Sha256 of a file that is not local, computed where no active index knows this name, size and time."""
    hashes = _active.get()
    return hashes.remembered(name, size, mtime_ns, compute) if hashes else compute()


def content_sha256(path: Path) -> str:
    """Sha256 of a file, or of a folder's sorted relative names and the sha256 of each file in it.

    Raises:
        InputError: it is not there or cannot be read.
    """
    if not path.is_dir():
        return file_sha256(path)
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    if not names:
        raise InputError(f"{path}: the folder holds no file")
    return _sha256({name: file_sha256(path / name) for name in names})


def key_fields(stage: Stage) -> dict[str, Any]:
    """Everything of a stage's section that can change its result, as plain JSON values.

    A path becomes the sha256 of what it points to, so the same weights in another place give the same key.

    Raises:
        WeightsError: a weight file is not there.
        InputError: another file that a field names cannot be read.
    """
    left_out = {"runtime", *stage.source_fields, *stage.idle_fields()}
    fields = stage.model_dump(mode="python", exclude=left_out)
    for name, path in sorted(stage.weight_files().items()):
        if not path.exists():
            raise WeightsError(
                f"{stage.name}.{name}: there is no file or folder {path}. "
                "Correct the path, or see `mimicmotion weights list CONFIG` for where weights come from."
            )
        _replace(fields, name.split("."), {"sha256": content_sha256(path)})
    plain = _plain(fields)
    assert isinstance(plain, dict)
    return plain


def recipe_key(stage: Stage) -> str:
    """Key of how a stage works: its name, version, result-changing fields and weights."""
    return _key({"stage": stage.name, "version": stage.version, "fields": key_fields(stage)})


def item_key(recipe: str, inputs: Mapping[str, str]) -> str:
    """Key of one outcome: how it is made, and the content keys of what it is made from."""
    return _key({"recipe": recipe, "inputs": dict(inputs)})


def dataset_key(items: Iterable[tuple[str, str, str]]) -> str:
    """Key of a dataset from the (id, item key, state) of all its items, kept and rejected, in any order."""
    return _key(sorted(items))


def _key(value: Any) -> str:
    return _sha256(value)[:KEY_LENGTH]


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _replace(fields: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        fields = fields.setdefault(name, {})
    fields[path[-1]] = value


def _plain(value: Any) -> Any:
    if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Path):
        return {"sha256": content_sha256(value)}
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    raise TypeError(f"a field of a stage holds a {type(value).__name__}, which has no content key")


def _read_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []

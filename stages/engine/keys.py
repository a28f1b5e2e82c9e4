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

from mimicmotion.errors import AWAY, InputError, MachineError, WeightsError
from mimicmotion.names import is_hidden
from mimicmotion.weights.fetching import file_digest
from stages.engine.contract import Stage
from stages.engine.storage.hashes import FileHashes

KEY_LENGTH = 20
"""Hex digits of a key: 80 bits, so that a hundred thousand items never meet."""

_active: ContextVar[FileHashes | None] = ContextVar("active_file_hashes", default=None)


@contextmanager
def remembering(hashes: FileHashes | None) -> Iterator[None]:
    """Let ``file_sha256`` look up and remember its results in an index, or in none, while the block runs."""
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
        return hashes.sha256(path) if hashes else file_digest(path)
    except OSError as error:
        if error.errno in AWAY:
            raise MachineError(f"{path}: cannot be read now ({error.strerror})") from error
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def remembered_sha256(name: str, compute: Callable[[], str]) -> str:
    """Sha256 of a file that is not local, computed where no active index knows this name.

    Args:
        name: its address with whatever tells that it changed, e.g. size and time.
        compute: reads it.
    """
    hashes = _active.get()
    return hashes.remembered(name, compute) if hashes else compute()


def content_sha256(path: Path) -> str:
    """Sha256 of a file, or of a folder's sorted relative names and the sha256 of each file in it.

    Hidden files and what systems leave behind do not count.

    Raises:
        InputError: it is not there or cannot be read.
    """
    if not path.is_dir():
        return file_sha256(path)
    found = [file.relative_to(path) for file in path.rglob("*") if file.is_file()]
    names = sorted(name.as_posix() for name in found if not is_hidden(name))
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


def check_weights(stage: Stage, fields: Mapping[str, Any]) -> None:
    """Read the weights of a stage anew and compare them with what its recipe key was made from.

    Args:
        stage: names the files.
        fields: of ``key_fields``, which may have looked up what it knew of a file.

    Raises:
        WeightsError: a file or folder holds something else.
    """
    for name, path in sorted(stage.weight_files().items()):
        expected: Any = fields
        for part in name.split("."):
            expected = expected[part]
        with remembering(None):
            found = content_sha256(path)
        if found != expected["sha256"]:
            raise WeightsError(
                f"{stage.name}.{name}: {path} has sha256 {found}, and had {expected['sha256']} when this "
                "stage was planned, with the same size and times: it is damaged, or differs between machines."
                " Put the right file there (`mimicmotion weights fetch CONFIG`), or `touch` it to use it so."
            )


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

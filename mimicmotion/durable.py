"""Files that outlive a power cut: flushed before the rename that makes them count, the new name after it."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KEEPS_NAMES = (errno.EINVAL, errno.EBADF, errno.ENOTSUP)
"""What a share says whose server alone decides when the names in a folder reach its disk."""


def flush(path: Path) -> None:
    """Return when the content of a file, or the names in a folder, are on the disk.

    Raises:
        OSError: the disk refuses them.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _KEEPS_NAMES or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each on the disk."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        flush(place.parent)


def put_in_place(written: Path, target: Path) -> None:
    """Rename a file or folder that was written beside its target; flushed before and after.

    A file replaces the one that is there; a folder replaces only an empty one.
    """
    if written.is_dir():
        for folder, _, files in os.walk(written, topdown=False):
            for name in files:
                flush(Path(folder, name))
            flush(Path(folder))
    else:
        flush(written)
    written.replace(target)
    flush(target.parent)


@contextmanager
def in_place(target: Path) -> Iterator[Path]:
    """A name beside the target to write a file or folder at; then it takes its place, or is gone."""
    make_folder(target.parent)
    written = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield written
        put_in_place(written, target)
    finally:
        if written.is_dir():
            shutil.rmtree(written)
        written.unlink(missing_ok=True)


def write_file(target: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with in_place(target) as written:
        written.write_bytes(data)

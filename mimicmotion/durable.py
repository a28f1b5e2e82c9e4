"""Files that outlive a power cut: flushed before the rename that makes them count, the new name after it."""

import os
import secrets
from pathlib import Path


def flush(path: Path) -> None:
    """Return when the content of a file, or the names in a folder, are on the disk.

    Raises:
        OSError: the disk refuses them.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
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


def write_file(target: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    make_folder(target.parent)
    written = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        written.write_bytes(data)
        put_in_place(written, target)
    finally:
        written.unlink(missing_ok=True)

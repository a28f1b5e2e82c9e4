"""Content of files as sha256, remembered so that a file is read once and not in each run."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from mimicmotion.weights.fetching import file_digest

_SETTLED_NS = 20_000_000
"""Within one tick of the file system's clock a file may change and show no other time."""


class FileHashes:
    """Remembers the sha256 of files by inode, size, time of writing and time of change.

    No path is part of it: a renamed file is known, and one that another took the place of is not, also where
    size and time of writing were kept. What changes below the file system, as a disk that rots does, changes
    none of them.

    Args:
        index: file of JSON lines that keeps the hashes between runs; lines are only ever appended, so a
            killed run keeps what it has and two runs may share it. It may be lost, damaged or unwritable:
            files are read again then.
    """

    def __init__(self, index: Path) -> None:
        self._index = index
        self._known: dict[str, str] = {}
        for line in _lines(index):
            # Whatever a killed run or a disk left there: its file is read again.
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                file, digest = json.loads(line)
                self._known[str(file)] = str(digest)

    def sha256(self, path: Path) -> str:
        """Sha256 of a file's content, as 64 hex digits.

        Raises:
            OSError: it cannot be read.
        """
        stat = path.stat()
        if time.time_ns() - stat.st_ctime_ns < _SETTLED_NS:
            return file_digest(path)
        file = f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        return self.remembered(file, lambda: file_digest(path))

    def remembered(self, file: str, compute: Callable[[], str]) -> str:
        """The sha256 known for this name of a file in a known state, or else computed now."""
        if file not in self._known:
            digest = self._known[file] = compute()
            with contextlib.suppress(OSError):  # a workspace may be read only
                self._index.parent.mkdir(parents=True, exist_ok=True)
                with self._index.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps([file, digest]) + "\n")
        return self._known[file]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

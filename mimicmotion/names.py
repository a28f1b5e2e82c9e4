"""Names of other people's files, folders and columns: what is hidden, what is equal, what means a split."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Final

from mimicmotion.errors import InputError

SPLITS: Final = ("train", "val", "test")
_LEFT_BEHIND: Final = frozenset(("__macosx", "thumbs.db", "desktop.ini", "lost+found", "@eadir"))
"""What systems leave beside files without a dot in front."""
_SPLIT_WORDS: Final = {
    **dict.fromkeys(("train", "training", "trainset", "trainingset"), "train"),
    **dict.fromkeys(("test", "tests", "testing", "testset"), "test"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "valset", "validationset"), "val"),
    **dict.fromkeys(("dev", "eval", "evaluation", "heldout", "holdout", "trainval", "unseen"), "other"),
}
_FILLERS: Final = frozenset(
    ("set", "sets", "split", "data", "dataset", "video", "videos", "clip", "clips", "film", "films")
)


def is_hidden(path: PurePath) -> bool:
    """Whether a file, or a folder that it lies in, is hidden or left behind by a system, and so no data.

    Args:
        path: relative to the folder that somebody named, which may itself be hidden.
    """
    return any(is_hidden_name(part) for part in path.parts if part != "..")


def is_hidden_name(name: str) -> bool:
    """Whether a file or folder of this name is hidden or left behind by a system."""
    return name.startswith(".") or name.casefold() in _LEFT_BEHIND


def normal(name: str) -> str:
    """The name in one Unicode form: macOS writes other code points for the same letters."""
    return unicodedata.normalize("NFC", name)


def column_name(name: str) -> str:
    """A column's name without the differences that nobody means: case, spaces around, a byte order mark."""
    return unicodedata.normalize("NFKC", name).strip("\ufeff \t\r\n").casefold()


def existing(path: Path) -> Path:
    """The path, or where nothing lies there, the one whose name is the same in another Unicode form."""
    if path.exists() or not path.name:
        return path
    folder = existing(path.parent)
    try:
        same = [found for found in folder.iterdir() if normal(found.name) == normal(path.name)]
    except OSError:
        return path
    return same[0] if len(same) == 1 else path


def split_named(name: str) -> str | None:
    """The split that a folder or cell names, whatever its case, spaces and usual additions; else None.

    Raises:
        InputError: it says so of something else that splits, such as ``eval``.
    """
    words = re.findall(r"[^\W\d_]+", unicodedata.normalize("NFKC", name).casefold())
    if (whole := "".join(words)) in _SPLIT_WORDS:
        words = [whole]  # hold-out
    if not words or not set(words) <= {*_SPLIT_WORDS, *_FILLERS}:
        return None
    said = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    if not said:
        return None
    if len(said) > 1 or "other" in said:
        raise InputError(f"{name!r} is no split that is known here; allowed are {', '.join(SPLITS)}")
    return said.pop()


def split_of_folders(folders: Iterable[str]) -> str | None:
    """The split that the folders on a file's way name, if any does.

    Raises:
        InputError: two of them disagree, or one names a split that is not known.
    """
    said = {split for folder in folders if (split := split_named(folder)) is not None}
    if len(said) > 1:
        raise InputError(f"{'/'.join(folders)!r} names two splits")
    return said.pop() if said else None


def group_of_folders(folders: Iterable[str]) -> str | None:
    """The uppermost folder on a file's way that means something of its own: a dancer, a channel, a film."""
    for folder in folders:
        words = set(re.findall(r"[^\W\d_]+", unicodedata.normalize("NFKC", folder).casefold()))
        if folder.strip("./\\") and not (words and words <= {*_SPLIT_WORDS, *_FILLERS}):
            return normal(folder)
    return None

"""Names of other people's files, folders and columns: what is hidden, what is equal, what means a split."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath, PurePosixPath
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
_FORMS: Final = frozenset(
    (
        *("raw", "final", "full", "small", "large", "new", "old", "clean", "cropped", "resized", "subset"),
        *("hd", "fhd", "uhd", "sd", "avi", "mov", "mkv", "webm", "frames", "images", "part", "version"),
    )
)
"""Words that may stand beside a split's, as ``_FORM`` may, e.g. 720p, 576x1024, 30fps, v2, mp4, h264."""
_FORM: Final = re.compile(r"(?<![^\W_])(\d+(p|i|k|fps|x\d+)|v\d+|mp4|[hx]26[45])(?![^\W_])")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


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


def by_name(paths: Iterable[str]) -> Callable[[object], str | None]:
    """A function that gives the path that a written name means: the whole of it, or its last part.

    Spaces around, ``./`` in front and the Unicode form make no difference; None where not one path fits.
    """
    known, wholes, lasts = set(paths), defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for path in known:
        wholes[normal(path)].add(path)
        lasts[normal(PurePosixPath(path).name)].add(path)

    def look(written: object) -> str | None:
        name = PurePosixPath(str(written).strip()).as_posix()
        found = {name} & known or wholes.get(normal(name)) or lasts.get(normal(name)) or ()
        return next(iter(found)) if len(found) == 1 else None

    return look


def split_named(name: str) -> str | None:
    """The split that a folder or cell names, whatever its case, spaces and usual additions; else None.

    Raises:
        InputError: it says so of something else that splits, such as ``eval``.
    """
    said = splits_in(name)
    if not said or not _words(name) <= {*_SPLIT_WORDS, *_FILLERS, *_FORMS}:
        return None
    if len(said) > 1 or "other" in said:
        raise InputError(f"{name!r} is no split that is known here; allowed are {', '.join(SPLITS)}")
    return said.pop()


def splits_in(name: str) -> set[str]:
    """The splits whose words are in a name, whatever else is; those of another kind are ``other``."""
    return {_SPLIT_WORDS[word] for word in _words(name) if word in _SPLIT_WORDS}


def _words(name: str) -> set[str]:
    plain = _HUMP.sub(" ", unicodedata.normalize("NFKC", name)).casefold()
    words = re.findall(r"[^\W\d_]+", _FORM.sub(" ", plain))
    whole = "".join(words)
    return {whole} if whole in _SPLIT_WORDS else set(words)  # hold-out


def doubtful_splits(ways: Iterable[tuple[tuple[str, ...], str | None]]) -> list[str]:
    """Folders whose name holds a split's word among others, beside one that holds another's; by their path.

    Args:
        ways: the folders on a file's way, and the split that they name, if they do: then there is no doubt.
    """
    beside, unsplit = defaultdict[tuple[str, ...], set[str]](set), set[tuple[str, ...]]()
    for folders, split in ways:
        for depth, name in enumerate(folders):
            said = splits_in(name)
            beside[folders[:depth]] |= said
            if said and split is None:
                unsplit.add(folders[: depth + 1])
    return sorted("/".join(way) for way in unsplit if len(beside[way[:-1]]) > 1)


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
        words = _words(folder)
        forms = _FORMS if splits_in(folder) else ()  # alone, e.g. ``new`` or ``720p``, they may be a name
        if folder.strip("./\\") and not (words and words <= {*_SPLIT_WORDS, *_FILLERS, *forms}):
            return normal(folder)
    return None

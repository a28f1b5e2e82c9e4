"""Which source videos there are: in a folder, under an ``s3://`` prefix, or named by a list."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow as pa

from mimicmotion.errors import InputError, MissingSourceError, redacted
from mimicmotion.lists import LIST_SUFFIXES, read_list
from mimicmotion.names import (
    SPLITS,
    doubtful_splits,
    existing,
    group_of_folders,
    is_hidden,
    is_hidden_name,
    split_named,
    split_of_folders,
    splits_in,
)

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4"),
        *("mpeg", "mpg", "mts", "ogv", "ts", "webm", "wmv"),
    )
)
_COLUMNS = ("path", "split", "id", "group")
_SHOWN = 10
"""Most problems or names that one message shows."""
_LONGEST_NAME = 500


@dataclass(frozen=True, slots=True)
class SourceVideo:
    """One source video.

    Attributes:
        location: its path, or where it is not local its URI, with the query and the password of the source's;
            never for people.
        name: path within the source, with ``/``; or as a list gives it. Always text: bytes of a file's name
            that are no UTF-8 are written as ``\\xff``.
        split: ``train``, ``val`` or ``test`` where a list or the folder's name says so.
        given_id: what a list calls it.
        group: what must not be divided between the sides of the split, e.g. a dancer: as a list says, else
            the uppermost folder that means something.
        size_bytes, mtime_ns: of a file that is not local, to know it again; 0 for local ones.
    """

    location: str
    name: str
    split: str | None = None
    given_id: str | None = None
    group: str | None = None
    size_bytes: int = 0
    mtime_ns: int = 0

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine."""
        return "://" not in self.location


@dataclass(frozen=True)
class Listing:
    """The videos of a source, in a fixed order, and how many other files lie there, by their suffix."""

    videos: tuple[SourceVideo, ...]
    ignored: Mapping[str, int] = field(default_factory=dict)

    @property
    def num_ignored(self) -> int:
        """Number of files that are no videos."""
        return sum(self.ignored.values())

    def passed_over(self) -> str:
        """What was not read, with what is."""
        found = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self.ignored.items()))
        return f"{self.num_ignored} other files ({found}); read are {', '.join(sorted(VIDEO_SUFFIXES))}"


def list_videos(source: str) -> Listing:
    """Videos of a source, sorted by name; those of a list in its order.

    Args:
        source: a folder, searched with its subfolders, of which those named ``train``, ``val`` and ``test``
            decide the split; a URI such as ``s3://bucket/prefix``, likewise; or a list (``.csv``,
            ``.parquet``, ``.jsonl``) with the columns ``path`` (relative to the list's folder), and if wanted
            ``split`` (``train``, ``val``, ``test`` or empty; without it the folders of the path decide)
            ``id`` and ``group``. Other columns are left alone. Names of splits and columns may differ in case
            and spaces.

    Raises:
        MissingSourceError: it is not there, or empty as a folder is where nothing was mounted.
        InputError: it holds no video, a folder that cannot be read or names a split of another kind, or a
            list has problems, all of which are named.
    """
    if "://" in source:
        return _in_store(source)
    path = Path(source)
    if path.is_dir():
        return _in_folder(path)
    if not path.exists():
        raise MissingSourceError(
            f"there is no folder or list of source videos at {path}: name yours with --set "
            "decode.source=FOLDER; the toy world's are rendered by `mimicmotion demo`"
        )
    if path.suffix.lower() not in LIST_SUFFIXES:
        raise InputError(
            f"{path} is neither a folder nor a list ({', '.join(LIST_SUFFIXES)}) of source videos"
        )
    return _in_list(path)


class _Found:
    """The videos found in a folder or a store, and what else lies there; a folder's name is read once."""

    def __init__(self) -> None:
        self.videos, self.ignored, self.problems = list[SourceVideo](), Counter[str](), list[str]()
        self._folder = cache(_folder)

    def add(self, name: str, location: str, readable: bool = True, **facts: int) -> None:
        """Take a file for a video, or count it as another one, by its path within the source."""
        folder, _, file = name.rpartition("/")
        hidden, split, group, problem = self._folder(folder)
        stem, _, ending = file.rpartition(".")
        suffix = f".{ending}".lower() if stem and ending else ""
        if hidden or is_hidden_name(file):
            self.ignored["hidden"] += 1
        elif suffix not in VIDEO_SUFFIXES or not readable:
            self.ignored[suffix or "without suffix"] += 1
        else:
            if problem:
                self.problems.append(f"{name}: {problem}")
            self.videos.append(SourceVideo(location, _as_text(name), split, None, group, **facts))

    def listing(self, source: str) -> Listing:
        """All of it, checked; see ``list_videos``."""
        self.videos.sort(key=lambda video: video.name)
        ways = {(video.name.rpartition("/")[0], video.split) for video in self.videos}
        return _checked(Listing(tuple(self.videos), self.ignored), source, [*self.problems, *_doubts(ways)])


def _folder(path: str) -> tuple[bool, str | None, str | None, str]:
    """Whether a folder within the source is hidden, the split and the group it names, and what is wrong."""
    split, problem = _split_of(path)
    group = group_of_folders(PurePosixPath(_as_text(path)).parts)
    return is_hidden(PurePosixPath(path)), split, group, problem


def _split_of(folder: str) -> tuple[str | None, str]:
    """The split that a folder within the source names, if it does, and what is wrong with it."""
    try:
        return split_of_folders(PurePosixPath(folder).parts), ""
    except InputError as error:
        return None, str(error)


def _doubts(ways: Iterable[tuple[str, str | None]]) -> list[str]:
    doubtful = doubtful_splits((PurePosixPath(way).parts, split) for way, split in ways)
    return [f"{way}: it names a split among other words; allowed are {', '.join(SPLITS)}" for way in doubtful]


def _checked(listing: Listing, source: str, problems: Sequence[str]) -> Listing:
    if problems:
        raise InputError(
            f"{source}: {len(problems)} videos or folders have names that are nearly those of a split; "
            "rename these, or name the videos in a list:",
            *problems[:_SHOWN],
        )
    if listing.videos:
        return listing
    if not listing.ignored:
        raise MissingSourceError(f"no video in {source} and below: it is empty")
    raise InputError(f"no video in {source} and below, only {listing.passed_over()}")


def _in_folder(root: Path) -> Listing:
    found, astray, top = _Found(), list[str](), f"{str(root).rstrip('/')}/"
    for entry in _entries(top):
        name, readable = entry.path.removeprefix(top), entry.is_file(follow_symlinks=False)
        if entry.is_symlink():
            # Unlike Path.resolve, it lets links be that run in a circle.
            path, leads_to = Path(entry.path), Path(os.path.realpath(entry.path))
            if leads_to != path and not leads_to.is_relative_to(root.resolve()):
                astray.append(f"{name} -> {leads_to}")
                continue
            if path.is_dir():
                continue  # a link to a folder inside, which is searched by its own name
            readable = path.is_file() or not path.exists()  # a dead link is rejected later
        found.add(name, entry.path, readable)
    if astray:
        raise InputError(
            f"{len(astray)} links in {root} lead out of it: {'; '.join(sorted(astray)[:_SHOWN])}. "
            "Copy what they lead to, or name the files in a list"
        )
    return found.listing(str(root))


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Every file below, and every link to a folder, which is not followed; asks for no facts of any."""
    folders = list[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield entry
    except OSError as error:
        raise InputError(f"{folder}: cannot be searched for videos ({error.strerror})") from error
    for path in folders:
        yield from _entries(path)


def _as_text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _in_store(uri: str) -> Listing:
    from pyarrow import fs

    try:
        store, root = fs.FileSystem.from_uri(uri)
        infos = store.get_file_info(fs.FileSelector(root, recursive=True))
    except (OSError, pa.ArrowException) as error:
        kind = InputError if isinstance(error, pa.ArrowInvalid) else MissingSourceError
        raise kind(redacted(f"{uri} cannot be listed: {error}")) from error
    given = urlsplit(uri)
    found = _Found()
    for info in infos:
        if info.is_file:
            name = PurePosixPath(info.path).relative_to(root).as_posix()
            place = f"{given.path.rstrip('/')}/{quote(name)}"
            location = given._replace(path=place, fragment="").geturl()
            found.add(name, location, size_bytes=info.size, mtime_ns=info.mtime_ns or 0)
    return found.listing(redacted(uri))


def _in_list(path: Path) -> Listing:
    rows = _rows(path)
    problems, videos, seen = list[str](), list[SourceVideo](), dict[str, int]()
    ways = _ways(path.parent, [_text(row["path"]) for row in rows])
    for number, (row, way) in enumerate(zip(rows, ways, strict=True), start=1):
        found, wrong = _listed(path.parent, row, way)
        for key in [found.location, *([f"id {found.given_id}"] if found.given_id else [])]:
            if found.location and seen.setdefault(key, number) != number:
                wrong.append(f"{key} is that of row {seen[key]} too")
        problems.extend(f"row {number}: {sentence}" for sentence in wrong)
        videos.append(found)
    if "split" not in (rows[0] if rows else ()):
        problems += _doubts({(way.as_posix(), video.split) for way, video in zip(ways, videos, strict=True)})
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise InputError(f"{path} has {len(problems)} problems:", *problems[:_SHOWN], *more)
    if not videos:
        raise InputError(f"{path} lists no video")
    return Listing(tuple(videos))


def _ways(root: Path, names: Sequence[str | None]) -> list[PurePosixPath]:
    """The folders on the way to each listed file that may mean something.

    Below the list's own folder or, for files that lie elsewhere, below the deepest folder that these share:
    what lies above is where somebody keeps things, and no split.
    """
    root = Path.cwd() / root
    top = PurePosixPath(os.path.normpath(root))
    paths = (root / os.path.expanduser(name or "none") for name in names)  # noqa: PTH111  (knows any home)
    ways = [PurePosixPath(os.path.normpath(path)).parent for path in paths]
    elsewhere = [way for way in ways if not way.is_relative_to(top)]
    shared = os.path.commonpath(elsewhere) if elsewhere else top
    return [way.relative_to(top if way.is_relative_to(top) else shared) for way in ways]


def _listed(folder: Path, row: dict[str, Any], way: PurePosixPath) -> tuple[SourceVideo, list[str]]:
    """The video of a row, the folders on whose way may name its split, and what is wrong with the row."""
    name, said, given_id, group = (_text(row.get(column)) for column in _COLUMNS)
    wrong = list[str]()
    if "split" in row:
        split = None if said is None else _meant(said)
        if said is not None and split not in SPLITS:
            wrong.append(f"split is {said!r}, allowed: {', '.join(SPLITS)} or nothing")
    else:
        split, problem = _split_of(way.as_posix())
        wrong += [f"{name}: {problem}"] if problem else []
    if name is None:
        return SourceVideo("", "", None, given_id), [*wrong, "path is empty"]
    location = folder / name
    if "://" in name:
        wrong.append(f"{name} is a URI, a list names local files")
    else:
        try:
            location = existing(folder / Path(name).expanduser())
            found = location.is_file()
        except (OSError, RuntimeError, ValueError):  # too long, a home of nobody, no name at all
            found = False
        if not found:
            wrong.append(f"there is no file {str(location)[:_LONGEST_NAME]}")
    group = group or group_of_folders(way.parts)
    return SourceVideo(str(location), Path(name).as_posix(), split, given_id, group), wrong


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _rows(path: Path) -> Sequence[dict[str, Any]]:
    table = read_list(path, _COLUMNS)
    names = table.column_names
    for name in set(names) - {*_COLUMNS} if "split" not in names else ():
        cells = [] if pa.types.is_nested(table[name].type) else table[name].to_pylist()
        values = list(filter(None, dict.fromkeys(map(_text, cells))))
        said = [splits_in(value) for value in values]
        if values and all(said) and (all(map(_meant, values)) or len(set().union(*said)) > 1):
            raise InputError(
                f"{path}: the column {name} holds {', '.join(values[:_SHOWN])}, which look like splits, but "
                "only a column called split is taken for them: rename it"
            )
    return list(table.select([name for name in _COLUMNS if name in names]).to_pylist())


def _meant(value: str) -> str | None:
    """The split that a cell names, or the cell itself where it names one of another kind."""
    try:
        return split_named(value)
    except InputError:
        return value

"""Which source videos there are: in a folder, under an ``s3://`` prefix, or named by a list."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import pyarrow as pa

from mimicmotion.errors import InputError, MissingSourceError, redacted

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4"),
        *("mpeg", "mpg", "mts", "ogv", "ts", "webm", "wmv"),
    )
)
LIST_SUFFIXES = (".csv", ".parquet", ".jsonl")
SPLITS = ("train", "val", "test")
_SHOWN = 10
"""Most problems or names that one message shows."""
_LONGEST_NAME = 500


@dataclass(frozen=True)
class SourceVideo:
    """One source video.

    Attributes:
        location: its path, or where it is not local its URI, with the query and the password of the source's;
            never for people.
        name: path within the source, with ``/``; or as a list gives it. Always text: bytes of a file's name
            that are no UTF-8 are written as ``\\xff``.
        split: ``train``, ``val`` or ``test`` where a list or the folder's name says so.
        given_id: what a list calls it.
        size_bytes, mtime_ns: of a file that is not local, to know it again; 0 for local ones.
    """

    location: str
    name: str
    split: str | None = None
    given_id: str | None = None
    size_bytes: int = 0
    mtime_ns: int = 0

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine."""
        return "://" not in self.location


@dataclass(frozen=True)
class Listing:
    """The videos of a source, in a fixed order, and how many other files lie there."""

    videos: tuple[SourceVideo, ...]
    num_ignored: int = 0


def list_videos(source: str) -> Listing:
    """Videos of a source, sorted by name; those of a list in its order.

    Args:
        source: a folder, searched with its subfolders, of which ``train``, ``val`` and ``test`` decide the
            split; a URI such as ``s3://bucket/prefix``, likewise; or a list (``.csv``, ``.parquet``,
            ``.jsonl``) with the columns ``path`` (relative to the list's folder), and if wanted ``split``
            (``train``, ``val``, ``test`` or empty) and ``id``. Other columns are left alone.

    Raises:
        MissingSourceError: it is not there, or empty as a folder is where nothing was mounted.
        InputError: it holds no video or a folder that cannot be read, or a list has problems, all of which
            are named.
    """
    if "://" in source:
        return _in_store(source)
    path = Path(source)
    if path.is_dir():
        return _in_folder(path)
    if not path.exists():
        raise MissingSourceError(f"there is no folder or list of source videos at {path}: correct the path")
    if path.suffix.lower() not in LIST_SUFFIXES:
        raise InputError(
            f"{path} is neither a folder nor a list ({', '.join(LIST_SUFFIXES)}) of source videos"
        )
    return _in_list(path)


def _is_video(name: str) -> bool:
    # Hidden files: what macOS and tools that copy leave beside videos.
    return PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES and not PurePosixPath(name).name.startswith(
        "."
    )


def _split_of(name: str) -> str | None:
    """The split that the uppermost folder of a path within the source names, if it does."""
    first, _, below = name.partition("/")
    return first if below and first in SPLITS else None


def _or_none_found(listing: Listing, source: str) -> Listing:
    if listing.videos:
        return listing
    kind = InputError if listing.num_ignored else MissingSourceError
    raise kind(
        f"no video in {source} and below: looked for {', '.join(sorted(VIDEO_SUFFIXES))}, "
        f"found {listing.num_ignored} other files"
    )


def _in_folder(root: Path) -> Listing:
    videos, ignored, astray = list[SourceVideo](), 0, list[str]()
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        # Unlike Path.resolve, it lets links be that run in a circle.
        leads_to = Path(os.path.realpath(path)) if path.is_symlink() else path
        if leads_to != path and not leads_to.is_relative_to(root.resolve()):
            astray.append(f"{name} -> {leads_to}")
        elif path.is_dir():
            continue  # a link to a folder inside, which is searched by its own name
        elif _is_video(name) and (path.is_file() or not path.exists()):  # a dead link is rejected later
            videos.append(SourceVideo(str(path), _as_text(name), _split_of(name)))
        else:
            ignored += 1
    if astray:
        raise InputError(
            f"{len(astray)} links in {root} lead out of it: {'; '.join(sorted(astray)[:_SHOWN])}. "
            "Copy what they lead to, or name the files in a list"
        )
    videos.sort(key=lambda video: video.name)
    return _or_none_found(Listing(tuple(videos), ignored), str(root))


def _files(root: Path) -> Iterator[Path]:
    """Every file below, and every link to a folder, which is not followed."""
    for folder, folders, files in os.walk(root, onerror=_refuse):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in [*links, *files])


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be searched for videos ({error.strerror})") from error


def _as_text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _in_store(uri: str) -> Listing:
    from pyarrow import fs

    try:
        store, root = fs.FileSystem.from_uri(uri)
        found = store.get_file_info(fs.FileSelector(root, recursive=True))
    except (OSError, pa.ArrowException) as error:
        kind = InputError if isinstance(error, pa.ArrowInvalid) else MissingSourceError
        raise kind(redacted(f"{uri} cannot be listed: {error}")) from error
    given = urlsplit(uri)
    files = [info for info in found if info.is_file]
    videos = list[SourceVideo]()
    for info in files:
        if _is_video(info.path):
            name = PurePosixPath(info.path).relative_to(root).as_posix()
            location = given._replace(path=f"{given.path.rstrip('/')}/{quote(name)}", fragment="").geturl()
            videos.append(SourceVideo(location, name, _split_of(name), None, info.size, info.mtime_ns or 0))
    videos.sort(key=lambda video: video.name)
    return _or_none_found(Listing(tuple(videos), len(files) - len(videos)), redacted(uri))


def _in_list(path: Path) -> Listing:
    rows = _rows(path)
    problems, videos, seen = list[str](), list[SourceVideo](), dict[str, int]()
    for number, row in enumerate(rows, start=1):
        found, wrong = _listed(path.parent, row)
        for key in [found.location, *([f"id {found.given_id}"] if found.given_id else [])]:
            if found.location and seen.setdefault(key, number) != number:
                wrong.append(f"{key} is that of row {seen[key]} too")
        problems.extend(f"row {number}: {sentence}" for sentence in wrong)
        videos.append(found)
    if problems:
        more = f"\nand {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InputError(f"{path} has {len(problems)} problems:\n" + "\n".join(problems[:_SHOWN]) + more)
    if not videos:
        raise InputError(f"{path} lists no video")
    return Listing(tuple(videos))


def _listed(folder: Path, row: dict[str, Any]) -> tuple[SourceVideo, list[str]]:
    """The video of a row, and what is wrong with the row."""
    name, split, given_id = (_text(row.get(column)) for column in ("path", "split", "id"))
    wrong = []
    if split not in (None, *SPLITS):
        wrong.append(f"split is {split!r}, allowed: {', '.join(SPLITS)} or nothing")
    if name is None:
        return SourceVideo("", "", None, given_id), [*wrong, "path is empty"]
    location = folder / name
    if "://" in name:
        wrong.append(f"{name} is a URI, a list names local files")
    else:
        try:
            location = folder / Path(name).expanduser()
            found = location.is_file()
        except (OSError, RuntimeError, ValueError):  # too long, a home of nobody, no name at all
            found = False
        if not found:
            wrong.append(f"there is no file {str(location)[:_LONGEST_NAME]}")
    return SourceVideo(str(location), Path(name).as_posix(), split, given_id), wrong


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _rows(path: Path) -> Sequence[dict[str, Any]]:
    from pyarrow import csv, json, parquet

    try:
        match path.suffix.lower():
            case ".csv":
                # Ids such as 007 stay text.
                text = csv.ConvertOptions(column_types=dict.fromkeys(("path", "split", "id"), pa.string()))
                table = csv.read_csv(path, convert_options=text)
            case ".parquet":
                table = parquet.read_table(path)
            case _:
                table = json.read_json(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as a list of videos: {error}") from error
    if "path" not in table.column_names:
        raise InputError(f"{path} has no column path; it has {', '.join(table.column_names) or 'none'}")
    wanted = [name for name in ("path", "split", "id") if name in table.column_names]
    nested = [name for name in wanted if pa.types.is_nested(table.schema.field(name).type)]
    if nested:
        kind = table.schema.field(nested[0]).type
        raise InputError(f"{path}: the column {nested[0]} holds {kind}; allowed is one text or number a row")
    return list(table.select(wanted).to_pylist())

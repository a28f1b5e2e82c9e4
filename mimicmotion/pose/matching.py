"""Which of a user's pose files belongs to which video, by their names; what is ambiguous belongs to none."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final, NoReturn

from mimicmotion.errors import InputError
from mimicmotion.names import is_hidden, normal
from mimicmotion.pose.files.openpose_json import KEYPOINTS_SUFFIX

_READ: Final = (".parquet", ".json")


@dataclass(frozen=True)
class Match:
    """The poses of one video.

    Attributes:
        path: the file or folder, None where there is none to take.
        code, sentence: why there is none.
    """

    path: Path | None = None
    code: str = ""
    sentence: str = ""


def match_imports(folder: Path, sources: Sequence[str]) -> dict[str, Match]:
    """Return the poses of each source video.

    Looked for under the source's relative path without suffix, then under its bare name: ``.parquet``,
    ``.json``, or a folder of OpenPose's ``*_keypoints.json``. Names are equal in any Unicode form.

    Args:
        folder: is searched with its subfolders.
        sources: relative paths of all videos.

    Raises:
        InputError: the folder, or one below, cannot be read.
    """
    found, unread = _found(folder)
    stems = {source: normal(PurePath(source).with_suffix("").as_posix()) for source in sources}
    wanted = {source: stem if stem in found else PurePath(stem).name for source, stem in stems.items()}
    users: dict[str, list[str]] = {}
    for source, name in wanted.items():
        users.setdefault(name, []).append(source)
    matches = {}
    for source, name in wanted.items():
        paths = found.get(name, [])
        # Whose whole path it is owns it; others may not take it by their bare name.
        owners = [user for user in users[name] if stems[user] == name] or users[name]
        if not paths:
            other = [path.name for path in unread.get(PurePath(name).name, [])]
            there = f"; {', '.join(other)} is of a form that is not read" if other else ""
            matches[source] = Match(
                None,
                "no_poses_to_import",
                f"{folder} has no {name}.parquet, {name}.json or folder {name} of *{KEYPOINTS_SUFFIX}{there}",
            )
        elif len(paths) > 1 or len(owners) > 1 or source not in owners:
            names = ", ".join(path.relative_to(folder).as_posix() for path in paths)
            videos = ", ".join(sorted(users[name]))
            matches[source] = Match(
                None,
                "ambiguous_poses",
                f"{names} in {folder} may belong to {videos}: keep one file a video, under the video's path",
            )
        else:
            matches[source] = Match(paths[0])
    return matches


def _found(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Return what can be read by relative path without suffix, and what cannot by bare name."""
    read: dict[str, list[Path]] = {}
    unread: dict[str, list[Path]] = {}
    walked: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        place, real = Path(root).relative_to(folder), os.path.realpath(root)
        # Links may run in a circle.
        known = real in walked
        walked.add(real)
        folders[:] = [] if known else sorted(name for name in folders if not is_hidden(PurePath(name)))
        names = [name for name in sorted(files) if not is_hidden(PurePath(name))]
        frames = [name for name in names if name.lower().endswith(KEYPOINTS_SUFFIX)]
        if frames and place.parts:
            read.setdefault(normal(place.as_posix()), []).append(Path(root))
        for name in sorted(set(names) - set(frames)):
            path = PurePath(name)
            if path.suffix.lower() in _READ:
                read.setdefault(normal((place / path.stem).as_posix()), []).append(Path(root) / name)
            else:
                unread.setdefault(normal(path.stem), []).append(Path(root) / name)
    return read, unread


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be searched for poses ({error.strerror})") from error

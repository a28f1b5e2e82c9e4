"""A CSV of pairs: which picture is to dance as whom, one row per result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimicmotion.animation.request import AnimationRequest
from mimicmotion.animation.settings import LARGEST_SEED
from mimicmotion.errors import InputError
from mimicmotion.lists import read_list
from mimicmotion.names import existing

FILES = ("image", "video", "poses", "reference_poses")
NUMBERS = ("person", "seed")
COLUMNS = (*FILES, "name", *NUMBERS)


def read_pairs(path: Path, out: Path, wishes: Mapping[str, Any]) -> list[AnimationRequest]:
    """Read and check all rows before any of them is worked on.

    Args:
        path: CSV with a column ``image``, one of ``video`` and ``poses``, and any of ``COLUMNS``. Paths are
            relative to the CSV's folder; ``name`` is the result's file name without ending, else
            ``IMAGE_VIDEO``; an empty cell counts as not given.
        out: folder of the results; made where it is not there.
        wishes: fields of ``AnimationRequest`` that hold where the row has none of its own.

    Raises:
        InputError: the list cannot be read, names unknown columns, or rows are wrong; names all of them.
    """
    rows = _rows(path)
    if not out.is_dir() and (out.suffix or out.exists()):
        raise InputError(f"--out {out} must be a folder for the results of {path}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: the folder cannot be made: {error}") from error
    requests: list[AnimationRequest] = []
    wrong: list[str] = []
    for line, row in enumerate(rows, start=2):
        try:
            request = _request(row, path.parent, out, wishes)
            if request.out in {other.out for other in requests}:
                raise InputError(
                    f"{request.out.name} is the result of another row too; give names of their own"
                )
            requests.append(request)
        except InputError as error:
            wrong.append(f"line {line}: {error}")
    if wrong:
        raise InputError(f"{path} cannot be used:", *wrong)
    return requests


def _rows(path: Path) -> list[dict[str, str]]:
    table = read_list(path, COLUMNS)
    unknown = [name for name in table.column_names if name not in COLUMNS]
    if unknown:
        raise InputError(
            f"{path} has columns {', '.join(table.column_names)}; "
            f"image is needed, allowed are {', '.join(COLUMNS)}"
        )
    if not len(table):
        raise InputError(
            f"{path} names no pair; write one row per result under {','.join(table.column_names)}"
        )
    return [{name: str(value or "").strip() for name, value in row.items()} for row in table.to_pylist()]


def _request(row: dict[str, str], folder: Path, out: Path, wishes: Mapping[str, Any]) -> AnimationRequest:
    files = {name: existing(folder / row[name]) for name in FILES if row.get(name)}
    missing = [f"{name} {file}" for name, file in files.items() if not file.exists()]
    if missing:
        raise InputError(f"{', '.join(missing)} is not there")
    if "image" not in files:
        raise InputError("no image is named")
    driving = files.get("video") or files.get("poses")
    name = row.get("name") or f"{files['image'].stem}_{driving.stem if driving else ''}"
    if Path(name).name != name or name.startswith("."):
        raise InputError(f"the name {name} is not a plain file name")
    numbers: dict[str, int] = {}
    for column in NUMBERS:
        if row.get(column):
            if not row[column].isdecimal():
                raise InputError(f"{column} is {row[column]}; it must be a whole number from 0")
            numbers[column] = int(row[column])
    if numbers.get("seed", 0) > LARGEST_SEED:
        raise InputError(f"seed is {numbers['seed']}; it must be at most {LARGEST_SEED}")
    if (last := numbers.get("seed", wishes.get("seed", 0)) + wishes.get("tries", 1) - 1) > LARGEST_SEED:
        raise InputError(f"seed + tries - 1 is {last}; it must be at most {LARGEST_SEED}")
    fields: dict[str, Any] = {**wishes, **files, **numbers}
    request = AnimationRequest(out=out / f"{name}.mp4", **fields)
    request.check()
    return request

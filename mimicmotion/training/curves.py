"""What a run reports, and the part of it that is published: curves by step and sample pictures.

Numbers of the machine (speed, memory, waiting) are shown while the run works and not published: the same
run leaves the same bytes.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mimicmotion.durable import flush, put_in_place

logger = logging.getLogger(__name__)

CURVES_FILE = "curves.parquet"
"""Rows of ``CURVES_SCHEMA``, by step and name."""
CURVES_SCHEMA = pa.schema([("step", pa.int64()), ("name", pa.string()), ("value", pa.float64())])
PICTURES_FOLDER = "pictures"
"""``<name>/step-NNNNNNNN.png``, ``<name>.png`` and files, as they were reported."""
_LINES = "curves.jsonl"
_STEP = "step-"
_OF_THE_MACHINE = ("speed/", "memory/")


class Report(Protocol):
    """Where the run shows what it does; but for the load of machines, the first worker alone calls it."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Show numbers."""

    def image(self, name: str, image: np.ndarray, step: int | None = None) -> None:
        """Show a picture, uint8 (h, w, 3)."""

    def file(self, path: Path, folder: str = "") -> None:
        """Show a file."""

    def watched(self, machine: str = "") -> AbstractContextManager[None]:
        """Show the load of this machine within the block; one worker of each machine calls it."""


class Curves:
    """A report that shows live, and records in the run's state, so that a resumed run publishes all of it.

    Args:
        report: where to show live.
        folder: where to record; made with the first record.
    """

    def __init__(self, report: Report, folder: Path) -> None:
        self._report, self._folder = report, folder

    def begin(self, step: int) -> None:
        """Forget what an earlier run recorded after this step, at which a run begins or goes on."""
        if not self._folder.exists():
            return
        if step == 0:
            shutil.rmtree(self._folder)
            return
        lines = [line for line in _lines(self._folder) if line["step"] <= step]
        partial = self._folder / f"{_LINES}.partial"
        partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
        put_in_place(partial, self._folder / _LINES)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Show and record numbers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in values.items() if not name.startswith(_OF_THE_MACHINE)}
        with (self._folder / _LINES).open("a") as file:
            file.write(json.dumps({"step": step, "values": kept}) + "\n")
        flush(self._folder / _LINES)  # before the checkpoint that goes on from here
        self._report.metrics(values, step)

    def image(self, name: str, image: np.ndarray, step: int | None = None) -> None:
        """Show and record a picture, uint8 (h, w, 3); without a step it is the same at all of them."""
        place = name if step is None else f"{name}/{_STEP}{step:08d}"
        path = self._folder / PICTURES_FOLDER / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        self._report.image(name, image, step)

    def file(self, path: Path, folder: str) -> None:
        """Show and record a file."""
        recorded = self._folder / PICTURES_FOLDER / folder / path.name
        recorded.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, recorded)
        self._report.file(path, folder)


def publish_curves(recorded: Path, folder: Path) -> None:
    """Write what a run recorded into the folder of its dataset: ``curves.parquet`` and ``pictures``."""
    last = {
        (line["step"], name): value for line in _lines(recorded) for name, value in line["values"].items()
    }
    rows = [{"step": step, "name": name, "value": value} for (step, name), value in sorted(last.items())]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=CURVES_SCHEMA), folder / CURVES_FILE)
    if (recorded / PICTURES_FOLDER).is_dir():
        shutil.copytree(recorded / PICTURES_FOLDER, folder / PICTURES_FOLDER, dirs_exist_ok=True)


def show_curves(curves: Path, pictures: Path | None, report: Report) -> None:
    """Show what ``publish_curves`` wrote, as the run showed it.

    Args:
        curves: the file ``curves.parquet``.
        pictures: the folder ``pictures``; None where the run had no test clip to show.
        report: where to show it.
    """
    rows = pq.read_table(curves).to_pylist()
    for step, points in groupby(rows, key=itemgetter("step")):
        report.metrics({point["name"]: point["value"] for point in points}, step)
    if pictures is None:
        return
    for path in sorted(path for path in pictures.rglob("*") if path.is_file()):
        folder = path.parent.relative_to(pictures).as_posix()
        if path.suffix != ".png":
            report.file(path, folder)
            continue
        with Image.open(path) as picture:
            image = np.asarray(picture.convert("RGB"))
        number = path.stem.removeprefix(_STEP)
        if number == path.stem:
            report.image(f"{folder}/{number}", image)
        else:
            report.image(folder, image, int(number))


def _lines(folder: Path) -> list[dict[str, Any]]:
    """What was recorded, oldest first, without the lines that a killed run or a power cut left unfinished."""
    path, whole = folder / _LINES, []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            whole.append(json.loads(line))
        except ValueError:
            logger.warning("passing over a line of %s that is not whole", path)
    return whole

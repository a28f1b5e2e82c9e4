"""What was said of films so far, a line each as it is said: a long run goes on where it was stopped."""

import json
import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from mimicmotion import __version__
from mimicmotion.animation.driving import Drivers
from mimicmotion.animation.judged import FILES, JudgeRequest, judge_generated
from mimicmotion.durable import in_place, make_folder
from mimicmotion.metrics.film.looks import FilmTools
from mimicmotion.metrics.film.verdicts import verdict_values
from mimicmotion.metrics.settings import FilmJudgeSettings
from mimicmotion.pictures.verdict import verdict_picture
from mimicmotion.video.picture_files import write_picture
from mimicmotion.weights.fetching import file_digest


class FilmJudge:
    """Judges films one by one, and asks nothing twice of a run that was stopped.

    A line holds for a film whose files have the size and time of then, and for a judge with the same settings
    and models.

    Args:
        tools: what looks at films.
        settings: what the tools were opened with.
        out: the result, beside which a file with ``.part`` has the lines until it is there; None keeps none.
    """

    def __init__(self, tools: FilmTools, settings: FilmJudgeSettings, out: Path | None) -> None:
        self._tools = tools
        self._lines = None if out is None else out.with_name(f"{out.name}.part")
        curves = None if settings.calibration is None else file_digest(settings.calibration)
        self._judge = [__version__, settings.model_dump(mode="json"), dict(tools.hashes), curves]
        self._known = dict(_said(self._lines)) if self._lines is not None else {}
        self._drivers: Drivers = {}

    def num_known(self, requests: Sequence[JudgeRequest]) -> int:
        """How many of these a run before has judged, in the same way."""
        return sum(self._key(request) in self._known for request in requests)

    def values(self, request: JudgeRequest, picture: Path | None = None) -> dict[str, Any]:
        """What is said of a film, see ``verdict_values``; and curves and worst frames as a picture, if asked.

        Raises:
            InputError: see ``judge_generated``.
        """
        key = self._key(request)
        known = self._known.get(key)
        if known is not None and (
            picture is None or (known["picture"] == str(picture) and picture.is_file())
        ):
            return known["values"]
        verdict, shown = judge_generated(request, self._tools, self._drivers)
        if picture is not None:
            with in_place(picture) as written:
                write_picture(written, verdict_picture(verdict, shown))
        values = verdict_values(verdict)
        if self._lines is not None:
            make_folder(self._lines.parent)
            with self._lines.open("ab") as file:
                # A line that a stop cut off stays alone.
                line = {"of": key, "values": values, "picture": None if picture is None else str(picture)}
                file.write(b"\n" + json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        return values

    def finished(self) -> None:
        """The result is there, so the lines are not needed any more."""
        if self._lines is not None:
            self._lines.unlink(missing_ok=True)

    def _key(self, request: JudgeRequest) -> str:
        paths = [path for name in FILES if (path := getattr(request, name)) is not None]
        files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
        states = [(str(file), *_state(file)) for file in files]
        return sha256(json.dumps([self._judge, request.model_dump(mode="json"), states]).encode()).hexdigest()


def _state(file: Path) -> tuple[int, int]:
    """Size and time of a file; zeros where it lacks, which judging it then says."""
    try:
        state = file.stat()
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


def _said(lines: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in lines.read_bytes().splitlines() if lines.is_file() else ():
        try:
            row = json.loads(line)
            yield row["of"], {"values": row["values"], "picture": row["picture"]}
        except (ValueError, TypeError, KeyError):
            continue  # cut off: its film is judged again

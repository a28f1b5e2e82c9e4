"""How far a stage is: a bar on a terminal, plain lines in a log."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stages.engine.records import KEPT, ItemState

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 5.0


class Watcher(Protocol):
    """Told of every outcome."""

    def __call__(self, outcome: ItemState) -> None:
        """Show one more outcome."""


@contextmanager
def watched(stage: str, total: int) -> Iterator[Watcher]:
    """A watcher of ``total`` outcomes of a stage; rejects get a log line each."""
    if not sys.stderr.isatty():
        yield _Lines(stage, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[label]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress, stage, total)
    log.info("%s: %d items done", stage, total)


class _Lines:
    def __init__(self, stage: str, total: int) -> None:
        self._stage = stage
        self._total = total
        self._done = 0
        self._start_s = time.monotonic()
        self._last_s = 0.0

    def __call__(self, outcome: ItemState) -> None:
        self._done += 1
        _log_reject(self._stage, outcome)
        now_s = time.monotonic()
        if now_s - self._last_s < _SECONDS_BETWEEN_LINES and self._done < self._total:
            return
        self._last_s = now_s
        elapsed_s = now_s - self._start_s
        left_s = elapsed_s / self._done * (self._total - self._done)
        log.info(
            "%s %d/%d %s (%.2f items/s, %s left)",
            self._stage,
            self._done,
            self._total,
            outcome.label or outcome.id,
            self._done / max(elapsed_s, 1e-3),
            time.strftime("%H:%M:%S", time.gmtime(left_s)),
        )


class _Bar:
    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress = progress
        self._stage = stage
        self._start_s = time.monotonic()
        self._done = 0
        self._task = progress.add_task(stage, total=total, rate="", label="")

    def __call__(self, outcome: ItemState) -> None:
        self._done += 1
        _log_reject(self._stage, outcome)
        rate = self._done / max(time.monotonic() - self._start_s, 1e-3)
        self._progress.update(
            self._task, advance=1, rate=f"{rate:.2f} items/s", label=outcome.label or outcome.id
        )


def _log_reject(stage: str, outcome: ItemState) -> None:
    if outcome.state != KEPT:
        log.warning(
            "%s rejected %s: %s: %s", stage, outcome.label or outcome.id, outcome.reason, outcome.sentence
        )

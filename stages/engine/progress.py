"""How far work is: a bar on a terminal, plain lines in a log."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stages.engine.records import KEPT, ItemState

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 5.0
_SILENCE_S = 10.0


@contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[..., None]]:
    """A function ``show(done, total, label="")`` that says how far some work is.

    Args:
        what: the work.
        unit: what it is counted in, e.g. ``items``.
    """
    on_terminal = sys.stderr.isatty()
    start_s, last_s = time.monotonic(), 0.0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[label]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not on_terminal)
    task = bar.add_task(what, total=None, label="")

    def show(done: int, total: int, label: str = "") -> None:
        nonlocal last_s
        now_s = time.monotonic()
        elapsed_s = now_s - start_s
        rate = f"{done / max(elapsed_s, 1e-3):.2f} {unit}/s"
        bar.update(task, completed=done, total=total, label=f"{rate} {label}")
        is_due = done == total or now_s - last_s >= _SECONDS_BETWEEN_LINES
        if done and is_due and not on_terminal:
            last_s = now_s
            left = time.strftime("%H:%M:%S", time.gmtime(elapsed_s / done * (total - done)))
            log.info("%s %d/%d (%s, %s left) %s", what, done, total, rate, left, label)

    with bar:
        yield show
    if on_terminal:  # where the bar has vanished
        log.info("%s: %d %s done", what, bar.tasks[task].completed, unit)


@contextmanager
def told_if_long(what: str) -> Iterator[None]:
    """A block that waits for something; where that takes over 10 s, a log line says what for."""
    timer = threading.Timer(_SILENCE_S, log.info, ("still waiting: %s", what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def watched(stage: str, total: int) -> Iterator[Callable[[ItemState], None]]:
    """A function to call with each of ``total`` outcomes of a stage; rejects get a log line each."""
    done = 0
    with progress(stage, "items") as show:

        def watch(outcome: ItemState) -> None:
            nonlocal done
            done += 1
            name = outcome.label or outcome.id
            if outcome.state != KEPT:
                log.warning("%s rejected %s: %s: %s", stage, name, outcome.reason, outcome.sentence)
            show(done, total, name)

        yield watch

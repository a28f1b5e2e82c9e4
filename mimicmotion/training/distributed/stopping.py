"""Ending a run early without loss: SIGTERM, or a file, makes it write a checkpoint first."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist

from mimicmotion.training.distributed.group import World

logger = logging.getLogger(__name__)


class StopRequest:
    """Whether the run has been asked to end.

    Args:
        file: its presence asks too; a launcher that catches the signal itself, or starts the run outside
            a main thread, where no signal arrives, writes it.
        world: all workers make one.
    """

    def __init__(self, file: Path, world: World) -> None:
        self._file = file
        self._signalled = False
        # Hosts vote among themselves: a vote on GPUs would wait for all that is queued there, at every step.
        self._hosts = dist.new_group(backend="gloo") if world.size > 1 else None

    def seen(self) -> bool:
        """Return whether any worker was asked; every worker calls this and gets the same answer."""
        vote = torch.tensor(self._signalled or self._file.exists(), dtype=torch.float32)
        if self._hosts is not None:
            dist.all_reduce(vote, group=self._hosts)
        return bool(vote.item())

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True


@contextmanager
def stop_request(file: Path, world: World) -> Iterator[StopRequest]:
    """Listen for SIGTERM and for the file within the block; all workers enter it."""
    request = StopRequest(file, world)
    with _on_signals((signal.SIGTERM,), request._on_signal):
        yield request


@contextmanager
def signals_write(file: Path) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C write the file within the block, for a process that waits for workers elsewhere.

    After the block a SIGTERM goes to whoever answered it before: Prefect ends a run as cancelled.

    Raises:
        KeyboardInterrupt: after the block if there was a Ctrl-C, and at once on the second one.
    """
    asked: set[int] = set()
    before = signal.getsignal(signal.SIGTERM)

    def ask(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in asked:
            raise KeyboardInterrupt
        asked.add(number)
        logger.warning("%s: training will write a checkpoint and stop", signal.Signals(number).name)
        file.touch()

    with _on_signals((signal.SIGTERM, signal.SIGINT), ask):
        yield
    if signal.SIGINT in asked:
        raise KeyboardInterrupt
    if signal.SIGTERM in asked and callable(before):
        before(signal.SIGTERM, None)


@contextmanager
def _on_signals(numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals reach the main thread alone; elsewhere this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)

"""Servers that a command starts, watches, and ends together with itself."""

import contextlib
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from mimicmotion import parent
from mimicmotion.errors import InputError, StageError

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
_CALM_PORTS = range(20_000, 32_000)
_PATIENCE_S = 300.0
_SILENCE_S = 10.0
_STOP_S = 20.0
_LEFT_S = 10.0
_PAUSE_S = 0.5


def spare_loopback() -> None:
    """Let nothing on this machine go through a proxy, for this process and those that it starts."""
    for name in ("no_proxy", "NO_PROXY"):
        given = [host.strip() for host in os.environ.get(name, "").split(",") if host.strip()]
        os.environ[name] = ",".join(dict.fromkeys([*given, "127.0.0.1", "localhost", "::1"]))


def check_port(port: int, option: str) -> None:
    """Refuse a port of this machine that something listens on, and a number that is no port.

    Raises:
        InputError: names the port and the option to change it with.
    """
    if not 0 < port < 2**16:
        raise InputError(f"{option} {port} is no port: give a number from 1 to 65535")
    with socket.socket() as probe:
        if probe.connect_ex((LOOPBACK, port)) == 0:
            raise InputError(f"port {port} is in use: stop what listens there, or choose another by {option}")


def stop_by_signals() -> None:
    """Let SIGTERM and SIGINT raise KeyboardInterrupt; a shell lets what it starts with & ignore Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """A block, or a command, that SIGTERM ends as Ctrl-C does, so that it leaves nothing half made."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _ignore_signals() -> Iterator[None]:
    """A block that Ctrl-C does not leave: a second one would cut short what the first was pressed for."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def free_port() -> int:
    """A port of this machine that nothing listens on, below those that the system gives to connections.

    One of those may be taken again before the server that is meant to have it has started.
    """
    for port in random.sample(_CALM_PORTS, len(_CALM_PORTS)):
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
            return port
    raise StageError("no port from 20000 to 31999 is free on this machine")


class Processes:
    """Processes of their own groups, each with a log file; leaving the block ends them, the newest first.

    Args:
        folder: where their log files lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        newest_first = [process for _, process in reversed(self._running)]
        with _ignore_signals():
            # The newest lives on the others; they need not wait for each other.
            for group in (newest_first[:1], newest_first[1:]):
                _end(group)

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self._folder / f"{name}.log"

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process that Ctrl-C in this one's terminal does not reach, and kill -9 of this one ends."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", parent.__file__, *command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append((name, process))

    def wait_for(self, name: str, address: str) -> None:
        """Wait until a server answers at an address.

        Raises:
            StageError: a process ended, or the server never answered; names the log.
        """
        begin_s, told = time.monotonic(), False
        while not answers(address):
            self.check()
            waited_s = time.monotonic() - begin_s
            if waited_s > _PATIENCE_S:
                raise StageError(f"{name} does not answer at {address}; its log is {self.log(name)}")
            if waited_s > _SILENCE_S and not told:
                log.info("waiting for %s to answer at %s; its log is %s", name, address, self.log(name))
                told = True
            time.sleep(_PAUSE_S)

    def watch(self) -> None:
        """Wait until one of the processes ends.

        Raises:
            StageError: one did; names its log.
        """
        while True:
            self.check()
            time.sleep(_PAUSE_S)

    def check(self) -> None:
        """Make sure that all are running.

        Raises:
            StageError: one has ended; names its log.
        """
        for name, process in self._running:
            if process.poll() is not None:
                raise StageError(f"{name} has ended with {process.returncode}; its log is {self.log(name)}")


def answers(address: str) -> bool:
    """Whether a server is at an address, whatever it says.

    By an opener of its own: the one that urllib shares keeps the proxies of its first use for good.
    """
    try:
        with urllib.request.build_opener().open(address, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, then what they left behind, then make all of it.

    Whoever started others ends them in its own order: Ray's head takes 2 s so, and 33 s when all of its
    parts are asked at once.
    """
    for process in processes:
        process.terminate()
    end_s = time.monotonic() + _STOP_S
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end_s - time.monotonic()))
    for wanted in (signal.SIGTERM, signal.SIGKILL):
        left = [process for process in processes if _signal(process, wanted)]
        end_s = time.monotonic() + _LEFT_S
        while any(_signal(process, 0) for process in left) and time.monotonic() < end_s:
            time.sleep(_PAUSE_S)


def _signal(process: subprocess.Popen[bytes], number: int) -> bool:
    """Whether anything of a process and what it started was there to get a signal."""
    process.poll()
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True

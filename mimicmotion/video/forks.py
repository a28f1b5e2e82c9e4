"""Children forked from one process that has imported a module: each starts in milliseconds, with no past.

::

    Forks("mimicmotion.video.normalise").run([...], timeout_s=60)

The process that forks has one thread and does nothing but import and wait. What a child does to itself (a
crash, a hang, a memory bomb) ends with that child, and the next one starts from the same clean state.
"""

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess, Popen, TimeoutExpired
from threading import Lock
from typing import BinaryIO, NoReturn, cast

import mimicmotion


class Forks:
    """Runs ``main(arguments)`` of a module in a child for each call, one after the other.

    The process that forks starts with the first call, and again where it was killed; it ends with this one.

    Args:
        module: its ``main`` takes a list of text and gives an exit status.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._server: Popen[str] | None = None
        self._lock = Lock()
        atexit.register(self.close)

    def run(self, arguments: Sequence[str], timeout_s: float) -> CompletedProcess[bytes]:
        """Exit status (negative: the signal that ended it) and output of a child that worked on this.

        Raises:
            TimeoutExpired: it took longer, and was killed.
        """
        with self._lock:
            try:
                status, *output = self._ask(json.dumps(arguments), timeout_s)
            except BaseException:
                self.close()  # also on an interrupt: no child outlives the call
                raise
        return CompletedProcess(
            [self._module, *arguments], status, *(text.encode("latin-1") for text in output)
        )

    def _ask(self, request: str, timeout_s: float) -> tuple[int, str, str]:
        server = self._running()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(request + "\n")
        server.stdin.flush()
        waiting = select.poll()  # select itself knows 1,024 descriptors only
        waiting.register(server.stdout, select.POLLIN)
        if not waiting.poll(1000 * timeout_s):
            raise TimeoutExpired(self._module, timeout_s)
        answer = server.stdout.readline()
        return json.loads(answer) if answer else (server.wait(), "", "")

    def _running(self) -> Popen[str]:
        if self._server is None or self._server.poll() is not None:
            self.close()
            root = str(Path(mimicmotion.__file__).parents[1])
            path = os.pathsep.join([root, *filter(None, sys.path)])
            self._server = Popen(
                [sys.executable, "-m", __name__, self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
                # A fork copies one thread alone, so there must be no other.
                env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            )
        return self._server

    def close(self) -> None:
        """Kill the process that forks, and the child that it has."""
        if self._server is not None:
            # The group outlives its leader where only the child is left.
            with self._server as server, contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            self._server = None


def serve(module: str) -> None:
    """Fork a child for each line of standard input; answer with a line of its exit status and its output.

    The status is negative for a signal; output is text whose characters stand for bytes. Where standard
    input ends, whoever asked is gone: the child is killed, and this process ends.
    """
    work = import_module(module).main
    gc.freeze()  # a collection in a child would copy every page that holds an object
    for line in sys.stdin:
        output = _scratch(), _scratch()
        ended, held = os.pipe()  # the child holds it until it ends, however that is
        child = os.fork()
        if child == 0:
            _work(work, json.loads(line), [file.fileno() for file in output])
        os.close(held)
        if ended not in select.select([sys.stdin, ended], [], [])[0]:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return  # nobody is there to tell
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(json.dumps([status, *map(_content, output)]) + "\n")
        sys.stdout.flush()
        os.close(ended)


def _scratch() -> BinaryIO:
    """A file without a name: in memory where the system has such, since a temporary folder may be full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("child"), "w+b")
    return cast(BinaryIO, tempfile.TemporaryFile())


def _content(file: BinaryIO) -> str:
    with file:
        file.seek(0)
        return file.read().decode("latin-1")


def _work(work: Callable[[list[str]], int], arguments: list[str], output: Sequence[int]) -> NoReturn:
    """Do the work of a child that has nothing to read and writes there, and end without a way back."""
    status = 1
    try:
        for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), *output)):
            os.dup2(file, number)
        status = work(arguments)
        sys.stdout.flush()
    except BaseException:
        status = 1
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])

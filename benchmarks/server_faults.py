"""Faults of what stands beside a stage: its servers, a second process, the clock. Rows for ``faults.py``."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from operated import free_port, kill_all, operated, process, wait_for

_FAR = "http://127.0.0.1:9"
_TRACK = """
import sys
{fakes}
from stages.engine.config import load_config
from stages.runner import track_stage
print("decode", track_stage(load_config(sys.argv[1]), "decode"))
"""


class SmallCase(Protocol):
    """What is used here of ``faults.Case``."""

    folder: Path

    def start(self, stage: str, **variables: str) -> subprocess.Popen[bytes]:
        """A stage in a process of its own."""

    def run(self, stage: str) -> int:
        """Run a stage to its end; gives the exit code."""

    def until_busy(self, stage: str, process: subprocess.Popen[bytes]) -> None:
        """Wait until a stage is in the middle, or over."""

    def times(self, stage: str) -> dict[str, float]:
        """When each published item was written."""

    def rest(self, done: dict[str, float], expected: dict[str, str]) -> list[str]:
        """Run what is left: how many of the finished items were done twice, what was lost, the seconds."""


def two_processes(case: SmallCase, expected: dict[str, str]) -> list[str]:
    """A second process starts the same stage of the same workspace."""
    first = case.start("decode")
    case.until_busy("decode", first)
    done = case.times("decode")
    second = case.run("decode")
    named = f"is already running: process {first.pid} on" in (case.folder / "log").read_text()
    code = first.wait()
    what = f"went on ({code}); the second stopped with {second}{', naming the first' if named else ''}"
    return [
        "a second process on one workspace",
        "decode",
        what,
        f"{len(done)} kept",
        *case.rest(done, expected),
    ]


def clock_set_back(case: SmallCase, expected: dict[str, str]) -> list[str]:
    """The clock of the process that runs the stage jumps back by a day in the middle; see ``faults.BACK``."""
    running = case.start("decode")
    case.until_busy("decode", running)
    done = case.times("decode")
    (case.folder / "back").touch()
    code = running.wait()
    what = f"went on ({code})"
    row = ["the clock jumps back by a day", "decode", what, f"{len(done)} kept"]
    return [*row, *case.rest(done, expected)]


def mlflow_away(case: SmallCase, expected: dict[str, str], fakes: str) -> list[list[str]]:
    """MLflow's server is killed in the middle and started later; then it never comes back."""
    address = f"http://127.0.0.1:{free_port()}"
    quick = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with _mlflow(address, case.folder) as server:
        running = case.start("decode", **quick)
        case.until_busy("decode", running)
        kill_all(server.pid)
        code = running.wait()
    done = case.times("decode")
    with _mlflow(address, case.folder):
        sent = _track(case, address, fakes)
    rows = [["MLflow killed, back later", "decode", f"went on ({code}); then {sent}", f"{len(done)} kept"]]
    code = case.start("pose", MLFLOW_TRACKING_URI=_FAR, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0").wait()
    says = "show it later: mimicmotion track" in (case.folder / "log").read_text()
    what = f"went on ({code}); {'says' if says else 'does not say'} how to show it later"
    rows.append(["MLflow away for ever", "pose", what, f"{len(case.times('pose'))} kept"])
    outcome = case.rest({**done, **case.times("pose")}, expected)
    return [[*row, *outcome] for row in rows]


@contextmanager
def _mlflow(address: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    options = ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--workers", "1"]
    options += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    options += ["--artifacts-destination", str(folder / "mlflow")]
    command = [sys.executable, "-m", "mlflow", "server", *options]
    with process(command, folder / "mlflow.log") as server:
        wait_for("MLflow", lambda: _listens(address))
        try:
            yield server
        finally:
            kill_all(server.pid)


def _listens(address: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{address}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _track(case: SmallCase, address: str, fakes: str) -> str:
    command = [sys.executable, "-c", _TRACK.format(fakes=fakes), str(case.folder / "config.yaml")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MLFLOW_TRACKING_URI": address}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1] if done.returncode == 0 else done.stderr[-200:]


def prefect_restarted(case: SmallCase, expected: dict[str, str]) -> list[str]:
    """Prefect's server is killed in the middle of a rebuild, and started again."""
    with operated(case.folder / "operated") as there:
        run_id = there.start("rebuild/demo", config=str(case.folder / "config.yaml"))
        wait_for("an item", lambda: case.times("decode"))
        done = case.times("decode")
        there.kill_server()
        time.sleep(3)
        start_s = time.monotonic()
        with there.server():
            wait_for("the end of the run", lambda: there.state(run_id) in ("COMPLETED", "FAILED", "CRASHED"))
            what = f"went on, {there.state(run_id)} {time.monotonic() - start_s:.0f} s after"
    return [
        "Prefect's server killed, back 3 s later",
        "rebuild",
        what,
        f"{len(done)} kept",
        *case.rest(done, expected),
    ]

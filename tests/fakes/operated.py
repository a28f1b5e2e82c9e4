"""A Prefect server and worker as a user runs them, on this machine, over fake stages.

The worker's processes take the fake stages for the real ones by a ``sitecustomize`` of their own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.commands.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "fakes"
_PATIENCE_S = 300.0
_FAKE_STAGES = """\
import fake_pipeline
import stages.engine.config

stages.engine.config.STAGES = fake_pipeline.STAGES
"""


def wait_for(what: str, there: Callable[[], Any], patience_s: float = _PATIENCE_S) -> Any:
    """What ``there`` gives as soon as that is true; fails when it never is."""
    end_s = time.monotonic() + patience_s
    while time.monotonic() < end_s:
        if found := there():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {patience_s:g} s for {what}")


@contextmanager
def process(command: list[str], log: Path, **more: Any) -> Iterator[subprocess.Popen]:
    """A process that is asked to end, with its output in a file."""
    with log.open("ab") as output:
        started = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **more)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGINT)
        try:
            started.wait(15)
        except subprocess.TimeoutExpired:
            kill_all(started.pid)
            started.wait()


def kill_all(pid: int) -> None:
    """End a process as kill -9 does, with all that it started, if it is there."""
    try:
        top = psutil.Process(pid)
        found = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in found:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(found, 10)


@dataclass(frozen=True)
class Operated:
    """A running server with deployments of ``prefect.yaml``, and a worker."""

    url: str
    environment: dict[str, str]
    folder: Path

    @contextmanager
    def server(self) -> Iterator[subprocess.Popen]:
        """The server, also a second time on the same port; ends with the block."""
        port = self.url.removesuffix("/api").rpartition(":")[2]
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
        with process(command, self.folder / "server.log", env=self.environment) as started:
            wait_for("the server", lambda: started.poll() is not None or _is_up(self.url))
            (self.folder / "server.pid").write_text(str(started.pid))
            yield started

    def kill_server(self) -> None:
        """End the server as kill -9 does, with all that it started."""
        kill_all(int((self.folder / "server.pid").read_text()))

    def command(self, *arguments: str) -> str:
        """What ``prefect ...`` prints; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def post(self, path: str, **body: Any) -> Any:
        """What the server answers; asked again while it is busy, as Prefect's own client does."""
        for _ in range(5):
            answer = httpx.post(f"{self.url}/{path}", json=body, timeout=60)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1)
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str) -> Any:
        """What the server answers."""
        answer = httpx.get(f"{self.url}/{path}", timeout=60)
        answer.raise_for_status()
        return answer.json()

    def start(self, deployment: str, **parameters: Any) -> str:
        """Ask for a run of a deployment; gives its id."""
        found = self.get(f"deployments/name/{deployment}")
        return str(self.post(f"deployments/{found['id']}/create_flow_run", parameters=parameters)["id"])

    def newest_run(self) -> dict[str, Any]:
        """The flow run that was asked for last."""
        return dict(self.post("flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=1)[0])

    def state(self, run_id: str) -> str:
        """Type of the state of a flow run, e.g. ``COMPLETED``."""
        return str(self.get(f"flow_runs/{run_id}")["state"]["type"])

    def lines(self, run_id: str) -> list[str]:
        """Messages in the log of a flow run."""
        only = {"flow_run_id": {"any_": [run_id]}}
        return [line["message"] for line in self.post("logs/filter", logs=only, limit=200)]

    def artifact(self, key: str, run_id: str) -> dict[str, Any]:
        """The table artifact of a flow run: its only row, and its description."""
        only = {"key": {"any_": [key]}, "flow_run_id": {"any_": [run_id]}}
        (found,) = self.post("artifacts/filter", artifacts=only)
        (row,) = json.loads(found["data"])
        return {**row, "description": found["description"]}


@contextmanager
def operated(folder: Path) -> Iterator[Operated]:
    """Start a server, deploy, start a worker; all end with the block."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_FAKE_STAGES)
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
    }
    work = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "mimicmotion"]
    of_worker = {**environment, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}{os.pathsep}{FAKES}"}
    there = Operated(f"http://127.0.0.1:{port}/api", environment, folder)
    with there.server():
        there.command("work-pool", "create", "mimicmotion", "--type", "process")
        there.command("--no-prompt", "deploy", "--all")
        with process(work, folder / "worker.log", env=of_worker, cwd=ROOT):
            yield there


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False

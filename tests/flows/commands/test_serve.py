"""``mimicmotion serve``: one command starts all servers on this machine only, Ctrl-C ends every one."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from operated import ROOT, free_port, wait_for

# Prefect, a worker, MLflow and Ray take half a minute of a free machine, and minutes of a busy one.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_everything_listens_here_only_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("mlflow", "prefect", "ray", "dashboard")}
    command = [sys.executable, "-c", "from flows.cli import main; main()", "serve", "demo"]
    command += ["--set", f"workspace={tmp_path / 'space'}"]
    command += [f"--{name}-port={port}" for name, port in ports.items()]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    log = tmp_path / "log"
    with log.open("wb") as output:
        serving = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    started: list[psutil.Process] = []
    try:
        wait_for("the servers", lambda: serving.poll() is not None or "deployment run" in log.read_text())
        assert serving.poll() is None, log.read_text()
        started = psutil.Process(serving.pid).children(recursive=True)
        pages = {
            name: httpx.get(f"http://127.0.0.1:{ports[name]}", timeout=60) for name in ("mlflow", "prefect")
        }
        assert {name: page.status_code for name, page in pages.items()} == {"mlflow": 200, "prefect": 200}
        # Ray's page asks for the token that was printed.
        token = re.findall(r"token (\w+)", log.read_text())
        assert len(token) == 1
        address = f"http://127.0.0.1:{ports['dashboard']}/api/version"
        assert httpx.get(address, timeout=60).status_code == 401
        assert httpx.get(address, headers={"Authorization": f"Bearer {token[0]}"}, timeout=60).is_success
        (password,) = re.findall(r"password (\S+)", log.read_text())
        deployments = httpx.post(
            f"http://127.0.0.1:{ports['prefect']}/api/deployments/filter",
            json={},
            auth=tuple(password.split(":")),
            timeout=60,
        )
        assert "demo" in {one["name"] for one in deployments.json()}
        # Servers do what they are asked, so each must know who asks.
        for name, refusals in _asked_by_a_foreign_page(ports).items():
            assert set(refusals) <= {401, 403}, name
        assert _listening(started) >= set(ports.values())
    finally:
        serving.send_signal(signal.SIGINT)
        assert serving.wait(120) == 0, log.read_text()
    _, alive = psutil.wait_procs(started, 10)
    assert alive == []
    assert "Stopped." in log.read_text()
    written = [path for path in (tmp_path / "space").rglob("*") if path.is_file()]
    secrets = (password.rpartition(":")[2].encode(), token[0].encode())
    assert [path for path in written if any(secret in path.read_bytes() for secret in secrets)] == []


def _asked_by_a_foreign_page(ports: dict[str, int]) -> dict[str, list[int]]:
    """What each server answers to requests that change something, from a page of a foreign origin or name."""
    changes = [
        ("prefect", "/api/deployments/"),
        ("mlflow", "/api/2.0/mlflow/experiments/create"),
        ("mlflow", "/graphql"),
        ("mlflow", "/v1/traces"),
        ("dashboard", "/api/jobs/"),
    ]
    answers = {}
    for name, path in changes:
        foreign = [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"}]
        foreign += [{"Host": f"evil.example:{ports[name]}"}]
        answers[name + path] = [
            httpx.post(
                f"http://127.0.0.1:{ports[name]}{path}", json={"name": "mine"}, headers=headers, timeout=60
            ).status_code
            for headers in foreign
        ]
    return answers


def _listening(processes: list[psutil.Process]) -> set[int]:
    """Ports that processes listen on, none of which another machine reaches."""
    found = set()
    for process in processes:
        try:
            sockets = [one for one in process.net_connections() if one.status == psutil.CONN_LISTEN]
        except psutil.NoSuchProcess:
            continue
        assert {one.laddr.ip for one in sockets} <= LOOPBACK, process.cmdline()
        found |= {one.laddr.port for one in sockets}
    return found

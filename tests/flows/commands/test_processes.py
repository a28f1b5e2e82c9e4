"""Servers that a command starts: they end with it, and one that fails is named with its log."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import psutil
import pytest
import requests
from operated import wait_for
from served import serving

from flows.commands.processes import Processes, answers, check_port, spare_loopback
from mimicmotion.errors import InputError, StageError


class Answering(BaseHTTPRequestHandler):
    """Says yes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing: the test's own output is enough."""


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1] + ".new", "w").write(str(child.pid))
import os; os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""


def test_what_was_started_ends_with_all_that_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with Processes(tmp_path / "logs") as processes:
        processes.start("parent", [sys.executable, "-c", PARENT, str(note)], {})
        while not note.exists():
            processes.check()
        child = psutil.Process(int(note.read_text()))
        assert child.is_running()
    end_s = time.monotonic() + 20  # the signal is sent; the system takes a moment to act on it
    with contextlib.suppress(psutil.NoSuchProcess):
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end_s
            time.sleep(0.05)


def test_kill_9_leaves_no_server(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    server = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    program = f"""
import sys
from pathlib import Path
from flows.commands.processes import Processes
with Processes(Path({str(tmp_path)!r})) as processes:
    processes.start("server", [sys.executable, "-c", {server!r}], {{}})
    processes.watch()
"""
    running = subprocess.Popen([sys.executable, "-c", program])
    child = psutil.Process(int(wait_for("the server", lambda: note.exists() and note.read_text())))
    running.kill()
    running.wait()
    wait_for("its end", lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 30)


def test_one_that_ends_is_named_with_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("server", [sys.executable, "-c", "print('no'); raise SystemExit(3)"], {})
        with pytest.raises(StageError, match=r"server has ended with 3; its log is .*server\.log"):
            processes.watch()
    assert (tmp_path / "server.log").read_text() == "no\n"


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is in use: .* by --mlflow-port"):
            check_port(port, "--mlflow-port")
    for number in (0, -1, 70_000):
        with pytest.raises(InputError, match=f"--port {number} is no port: give a number from 1 to 65535"):
            check_port(number, "--port")
    check_port(port, "--mlflow-port")


def test_a_second_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    """A program in Processes' block that ends slowly; it is interrupted twice."""
    note = tmp_path / "pid"
    server = "import os, signal, sys, time; signal.signal(15, lambda *_: (time.sleep(2), sys.exit()));"
    server += f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    program = f"""
import sys
from pathlib import Path
from flows.commands.processes import Processes, stop_by_signals
stop_by_signals()
with Processes(Path({str(tmp_path)!r})) as processes:
    processes.start("server", [sys.executable, "-c", {server!r}], {{}})
    processes.watch()
"""
    running = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    wait_for("the server", lambda: note.exists() and note.read_text())
    child = psutil.Process(int(note.read_text()))
    running.send_signal(signal.SIGINT)
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    running.wait(30)
    assert not child.is_running()


def test_nothing_on_this_machine_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "intern.example, localhost")
    monkeypatch.setenv("NO_PROXY", "")
    with serving(Answering) as address:
        assert not answers(address)
        spare_loopback()
        assert answers(address)
        assert httpx.get(address).status_code == requests.get(address, timeout=9).status_code == 200
    assert os.environ["no_proxy"] == "intern.example,localhost,127.0.0.1,::1"


def test_a_proxy_that_is_gone_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Answering) as address:
        with monkeypatch.context() as proxied:
            proxied.setenv("http_proxy", "http://127.0.0.1:9")
            proxied.setenv("no_proxy", "")
            proxied.setenv("NO_PROXY", "")
            assert not answers(address)
        assert answers(address)

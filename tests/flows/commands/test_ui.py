"""``mimicmotion ui``: which servers it starts, with what, and what it says of them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.commands.processes import Processes
from stages.adapters.guard import loopback_hosts


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Commands and variables by name of what would be started; the pages then close at once."""
    found: dict[str, tuple[list[str], dict[str, str]]] = {}

    def interrupted(processes: Processes) -> None:
        raise KeyboardInterrupt

    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)  # a user's own would stay
    monkeypatch.setattr(Processes, "start", lambda self, name, *what: found.update({name: what}))
    monkeypatch.setattr(Processes, "wait_for", lambda self, name, address: None)
    monkeypatch.setattr(Processes, "watch", interrupted)
    monkeypatch.setattr("flows.commands.ui.check_port", lambda port, option: None)  # others may hold it
    monkeypatch.setattr("flows.commands.ui.stop_by_signals", lambda: None)
    monkeypatch.setattr("flows.commands.ui.prepare_prefect", lambda settings: None)
    return found


def test_servers_answer_own_pages_only_and_prefect_asks_for_a_password(tmp_path: Path, started) -> None:
    ports = {"mlflow": 4711, "prefect": 4712}
    options = ["--port", "4711", "--prefect", "--prefect-port", "4712", "--set", f"workspace={tmp_path}"]
    shown = CliRunner().invoke(app, ["ui", "demo", *options])
    assert shown.exit_code == 0, shown.output
    command, variables = started["prefect"]
    password = variables["PREFECT_SERVER_API_AUTH_STRING"]
    assert len(password) > 64
    assert f"http://127.0.0.1:4712, password {password}" in shown.output
    assert password not in " ".join(command)
    assert variables["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4712,http://localhost:4712"
    assert variables["MIMICMOTION_HOSTS"].split(",") == loopback_hosts(ports["prefect"])
    assert "flows.servers:guarded_prefect" in command
    command, variables = started["mlflow"]
    assert command[command.index("--app-name") + 1] == "mimicmotion"
    assert command[command.index("--allowed-hosts") + 1].split(",") == loopback_hosts(ports["mlflow"])


def test_every_start_has_its_own_password(tmp_path: Path, started, monkeypatch) -> None:
    monkeypatch.delenv(
        "PREFECT_API_AUTH_STRING", raising=False
    )  # a user's own stays, as does a server's here
    passwords = set()
    for _ in range(2):
        options = ["--port", "4711", "--prefect", "--prefect-port", "4712", "--set", f"workspace={tmp_path}"]
        CliRunner().invoke(app, ["ui", "demo", *options])
        passwords.add(started["prefect"][1]["PREFECT_SERVER_API_AUTH_STRING"])
    assert len(passwords) == 2

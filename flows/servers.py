"""The servers that commands start on this machine, each for its own pages and its own clients only.

A web page of any origin may send requests to 127.0.0.1. Prefect asks for a password made at each start, as
Ray for its token, and like MLflow answers only requests by its own address and from its own pages.
"""

import atexit
import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import ExitStack

from flows.commands.processes import LOOPBACK, Processes, answers, free_port, spare_loopback
from flows.settings import prepare_prefect
from mimicmotion.errors import InputError
from stages.adapters.guard import Guard, loopback_hosts
from stages.adapters.mlflow.client import artifacts_of, bring_here
from stages.adapters.mlflow.server import APP_NAME
from stages.engine.config import PipelineConfig, redacted

STORE_VARIABLE = "MLFLOW_BACKEND_STORE_URI"
"""Environment variable in which MLflow's server finds its store."""

NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Keeps MLflow's server from starting processes that judge language models."""

HOSTS_VARIABLE = "MIMICMOTION_HOSTS"
"""Environment variable with the addresses that Prefect's server is reached at: ``name:port``, by commas."""

_PREFECT_APP = "flows.servers:guarded_prefect"
_WITHOUT_PAGES = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1", "PREFECT_UI_ENABLED": "0"}
"""What Prefect gives to the temporary server that it would start itself."""


def mlflow_server(uri: str, port: int) -> list[str]:
    """The command that serves MLflow's page for a store, on this machine only.

    The process needs the store in ``STORE_VARIABLE``: a store may have a password, and everybody on a machine
    may read the arguments of a process.

    Args:
        uri: the store.
        port: where to listen.

    Raises:
        InputError: the store is a server already.
    """
    if uri.startswith(("http://", "https://")):
        raise InputError(f"MLflow runs at {redacted(uri)} already: open that address.")
    bring_here(uri)
    options = ["--host", LOOPBACK, "--port", str(port), "--workers", "1", "--app-name", APP_NAME]
    options += ["--allowed-hosts", ",".join(loopback_hosts(port))]
    if (artifacts := artifacts_of(uri)) is not None:
        options += ["--artifacts-destination", artifacts.as_uri()]
    return [sys.executable, "-m", "mlflow", "server", *options]


def prefect_access(port: int) -> dict[str, str]:
    """Variables by which clients find Prefect's server and are let in; the user's own password stays."""
    password = os.environ.get("PREFECT_API_AUTH_STRING") or f"mimicmotion:{secrets.token_hex(32)}"
    return {"PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api", "PREFECT_API_AUTH_STRING": password}


def start_prefect_server(
    processes: Processes, port: int, access: Mapping[str, str], environment: Mapping[str, str]
) -> None:
    """Start Prefect's server on this machine.

    Args:
        processes: what it shall end with.
        port: where it listens.
        access: what ``prefect_access`` gave for the port.
        environment: variables beside those.
    """
    own = loopback_hosts(port)
    variables = {
        "PREFECT_SERVER_API_AUTH_STRING": access["PREFECT_API_AUTH_STRING"],
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{host}" for host in own),
        "PREFECT_UI_API_URL": access["PREFECT_API_URL"],
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES_ON_DISK,
        HOSTS_VARIABLE: ",".join(own),
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", _PREFECT_APP, "--host", LOOPBACK]
    command += ["--port", str(port), "--log-level", "warning"]
    processes.start("prefect", command, {**environment, **access, **variables})


LEASES_ON_DISK = "prefect.server.concurrency.lease_storage.filesystem"
"""A server that keeps in memory which run holds a deployment's place forgets it when it is started again, and
the run, which renews its hold every few minutes, is ended."""


def guarded_prefect() -> Guard:
    """Prefect's application behind the guard, reached at the addresses of ``HOSTS_VARIABLE``."""
    from prefect.server.api.server import create_app

    return Guard(create_app(final=True), os.environ.get(HOSTS_VARIABLE, "").split(","))


def start_prefect(config: PipelineConfig) -> None:
    """Prepare Prefect for a flow in this process, and start a temporary server if it needs one.

    The server never sees Ctrl-C, which a terminal sends to all processes of a command: it has to be told that
    the flow was stopped, and ends with this process, whatever ends that.

    Raises:
        InputError: the user names a server that does not answer.
        StageError: the temporary server does not start.
    """
    prepare_prefect(config)
    spare_loopback()
    # Imported late: Prefect takes seconds, and reads its settings on import, which may have been before.
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    refresh_global_settings_context()
    settings = get_current_settings()
    if given := settings.api.url:
        if not answers(f"{given.rstrip('/')}/health"):
            raise InputError(
                f"No Prefect server answers at {redacted(given)}, which PREFECT_API_URL or Prefect's profile "
                "names. Start it, or unset the address: a rebuild then starts a temporary server."
            )
        return
    stack = ExitStack()
    # What Prefect registers later, such as sending its last lines, is done before.
    atexit.register(stack.close)
    processes = stack.enter_context(Processes(settings.home))
    port = free_port()
    access = prefect_access(port)
    start_prefect_server(processes, port, access, {**os.environ, **_WITHOUT_PAGES})
    processes.wait_for("prefect", f"{access['PREFECT_API_URL']}/health")
    os.environ.update(access)
    refresh_global_settings_context()

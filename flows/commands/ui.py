"""The command ``ui``: MLflow's page for a config, and Prefect's beside it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.commands.processes import stop_by_signals
from flows.commands.run import Config, Overrides
from flows.settings import prefect_home, prepare_prefect
from mimicmotion.errors import InputError
from stages.engine.config import load_config, redacted, tracking_uri

STORE_VARIABLE = "MLFLOW_BACKEND_STORE_URI"
"""Environment variable in which MLflow's server finds its store."""

NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Keeps MLflow's server from starting processes that judge language models."""

_HOST = "127.0.0.1"
_PATIENCE_S = 20


def ui(
    config: Config,
    overrides: Overrides = None,
    port: Annotated[int, typer.Option(help="Port of MLflow's page.")] = 5000,
    prefect: Annotated[bool, typer.Option("--prefect", help="Serve Prefect's page too.")] = False,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's page.")] = 4200,
) -> None:
    """Serve the results on this machine only, until Ctrl-C."""
    settings = load_config(config, overrides or [])
    stop_by_signals()
    console = Console()
    store = tracking_uri(settings)
    processes = [
        subprocess.Popen(mlflow_server(store, port), env={**os.environ, **NO_JOBS, STORE_VARIABLE: store})
    ]
    # Its page opens with prompts and traces; this address opens it with runs and the registry.
    page = f"http://{_HOST}:{port}/#/experiments?workflowType=machine_learning"
    console.print(f"MLflow: {page}", soft_wrap=True, highlight=False)
    if prefect:
        prepare_prefect(settings)
        home = prefect_home(settings)
        environment = {**os.environ, **({"PREFECT_HOME": str(home)} if home else {})}
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", _HOST]
        processes.append(subprocess.Popen([*command, "--port", str(prefect_port)], env=environment))
        console.print(f"Prefect: http://{_HOST}:{prefect_port}", highlight=False)
    try:
        codes = [process.wait() for process in processes]
    except KeyboardInterrupt:
        return
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(_PATIENCE_S)
    raise typer.Exit(max(codes))


def mlflow_server(uri: str, port: int, artifacts: Path | None = None) -> list[str]:
    """The command that serves MLflow's page for a store, on this machine only.

    The process needs the store in ``STORE_VARIABLE``: a store may have a password, and everybody on a machine
    may read the arguments of a process.

    Args:
        uri: the store.
        port: where to listen.
        artifacts: folder for files of experiments that are made through the server.

    Raises:
        InputError: the store is a server already.
    """
    if uri.startswith(("http://", "https://")):
        raise InputError(f"MLflow runs at {redacted(uri)} already: open that address.")
    options = ["--host", _HOST, "--port", str(port), "--workers", "1"]
    if artifacts is not None:
        options += ["--artifacts-destination", artifacts.as_uri()]
    return [sys.executable, "-m", "mlflow", "server", *options]

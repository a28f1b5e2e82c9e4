"""The command ``ui``: MLflow's page for a config, and Prefect's beside it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.processes import LOOPBACK, Processes, check_port, stop_by_signals
from flows.commands.run import Config, Overrides
from flows.servers import NO_JOBS, STORE_VARIABLE, mlflow_server, prefect_access, start_prefect_server
from flows.settings import make_writable, prefect_home, prefect_place, prepare_prefect
from flows.terminal import Terminal
from stages.engine.config import load_config, tracking_uri
from stages.engine.storage.workspace import CACHE_VARIABLE


def ui(
    config: Config,
    overrides: Overrides = None,
    port: Annotated[int, typer.Option(help="Port of MLflow's page.")] = 5000,
    prefect: Annotated[bool, typer.Option("--prefect", help="Serve Prefect's page too.")] = False,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's page.")] = 4200,
) -> None:
    """Serve the results on this machine only, until Ctrl-C."""
    settings = load_config(config, overrides or [])
    store = tracking_uri(settings)
    home = prefect_home(settings)
    if home:
        make_writable(home.parent)
    command = mlflow_server(store, port)
    check_port(port, "--port")
    if prefect:
        check_port(prefect_port, "--prefect-port")
        prepare_prefect(settings)
    stop_by_signals()
    console = Terminal(soft_wrap=True, highlight=False)
    cache = Path(os.environ.get(CACHE_VARIABLE, Path.home() / ".cache" / "mimicmotion"))
    folder = (home.parent if home else cache) / "ui"
    try:
        with Processes(folder) as processes:
            processes.start("mlflow", command, {**os.environ, **NO_JOBS, STORE_VARIABLE: store})
            # Its page opens with prompts and traces; this address opens it with runs and the registry.
            pages = [f"MLflow: http://{LOOPBACK}:{port}/#/experiments?workflowType=machine_learning"]
            if prefect:
                access = prefect_access(prefect_port)
                of_prefect = {**prefect_place(home), **os.environ}
                start_prefect_server(processes, prefect_port, access, of_prefect)
                processes.wait_for("prefect", f"{access['PREFECT_API_URL']}/health")
                password = access["PREFECT_API_AUTH_STRING"]
                pages.append(f"Prefect: http://{LOOPBACK}:{prefect_port}, password {password}")
            processes.wait_for("mlflow", f"http://{LOOPBACK}:{port}/health")
            console.lines(*pages)
            processes.watch()
    except KeyboardInterrupt:
        return

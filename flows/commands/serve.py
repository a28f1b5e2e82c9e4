"""The command ``serve``: Prefect's server and a worker, MLflow's server and Ray, on this machine only.

``mimicmotion serve demo`` starts them with one command and stops them with Ctrl-C. Deployments of
``prefect.yaml`` are registered on the way, so that the command it prints works at once.
"""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
import yaml

from flows.commands.processes import LOOPBACK, Processes, check_port, free_port, stop_by_signals
from flows.commands.run import Config, Overrides
from flows.servers import NO_JOBS, STORE_VARIABLE, mlflow_server, prefect_access, start_prefect_server
from flows.settings import POOL, make_writable, prefect_home, prefect_place, quiet_environment
from flows.terminal import Terminal
from mimicmotion.errors import InputError, StageError
from mimicmotion.redaction import HIDDEN
from stages.adapters.mlflow.client import begin_experiment
from stages.adapters.ray.environment import local_variables
from stages.engine.config import PipelineConfig, load_config, redacted, sqlite_uri, tracking_uri
from stages.engine.storage.workspace import is_remote

_PROJECT = Path(__file__).resolve().parents[2]
_SQLITE = "sqlite:///"
_MLFLOW, _PREFECT, _RAY, _DASHBOARD = 5000, 4200, 6379, 8265


def serve(
    config: Config,
    overrides: Overrides = None,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's page.")] = _MLFLOW,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's page.")] = _PREFECT,
    ray_port: Annotated[
        int, typer.Option(help="Port that Ray is joined at; its workers use 10002 to 19999.")
    ] = _RAY,
    dashboard_port: Annotated[int, typer.Option(help="Port of Ray's page.")] = _DASHBOARD,
) -> None:
    """Serve Prefect with a worker, MLflow and Ray on this machine only, until Ctrl-C."""
    settings = load_config(config, overrides or [])
    if is_remote(settings.workspace):
        raise InputError(
            f"workspace {redacted(settings.workspace)} is not a local folder; "
            "docs/operations.md says how to run servers for a cluster"
        )
    make_writable(Path(settings.workspace))
    ports = {"--mlflow-port": mlflow_port, "--prefect-port": prefect_port}
    ports |= {"--ray-port": ray_port, "--dashboard-port": dashboard_port}
    for option, port in ports.items():
        check_port(port, option)
    stop_by_signals()
    console = Terminal(soft_wrap=True, highlight=False)
    environment = _environment(settings, mlflow_port, prefect_port, ray_port)
    try:
        with Processes(Path(settings.workspace) / "serve") as processes:
            with console.status("starting"):
                _start(processes, settings, environment, tuple(ports.values()))
            console.lines(*_addresses(environment, dashboard_port, settings))
            processes.watch()
    except KeyboardInterrupt:
        console.print("Stopped. What was finished is kept.")


def _environment(
    settings: PipelineConfig, mlflow_port: int, prefect_port: int, ray_port: int
) -> dict[str, str]:
    """Variables of every process: how they find each other."""
    found = {
        **prefect_place(prefect_home(settings)),
        **quiet_environment(),
        **local_variables(settings.settings.ray),
        **os.environ,
    }
    found.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    return found | {
        **prefect_access(prefect_port),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "RAY_AUTH_MODE": "token",
        "MLFLOW_TRACKING_URI": f"http://{LOOPBACK}:{mlflow_port}",
        "RAY_ADDRESS": f"{LOOPBACK}:{ray_port}",
    }


def _start(
    processes: Processes, settings: PipelineConfig, environment: dict[str, str], ports: tuple[int, ...]
) -> None:
    mlflow_port, prefect_port, ray_port, dashboard_port = ports
    store = tracking_uri(settings)
    if store.startswith("sqlite:"):
        begin_experiment(settings)
        command = mlflow_server(store, mlflow_port)
        processes.start("mlflow", command, environment | NO_JOBS | {STORE_VARIABLE: store})
    else:
        environment["MLFLOW_TRACKING_URI"] = store
    prefect = [sys.executable, "-m", "prefect"]
    start_prefect_server(processes, prefect_port, environment, environment)
    ray_environment = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    processes.start("ray", _ray_head(settings, ray_port, dashboard_port), ray_environment)
    processes.wait_for("prefect", f"{environment['PREFECT_API_URL']}/health")
    _run([*prefect, "work-pool", "create", POOL, "--type", "process", "--overwrite"], environment)
    _run([*prefect, "--no-prompt", "deploy", "--all"], environment)
    processes.wait_for("ray", f"http://{LOOPBACK}:{dashboard_port}")
    if store.startswith("sqlite:"):
        processes.wait_for("mlflow", f"http://{LOOPBACK}:{mlflow_port}/health")
    processes.start("worker", [*prefect, "worker", "start", "--pool", POOL], environment)


def _ray_head(settings: PipelineConfig, port: int, dashboard_port: int) -> list[str]:
    ray = settings.settings.ray
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}"]
    command += [f"--node-ip-address={LOOPBACK}", f"--dashboard-host={LOOPBACK}"]
    command += ["--include-dashboard=true", f"--dashboard-port={dashboard_port}"]
    # Ray Client, which nothing here uses, cannot be left out; its usual port may be that of another Ray.
    command += [f"--ray-client-server-port={free_port()}"]
    command += [f"--object-store-memory={ray.object_store_mb << 20}"]
    return [*command, f"--num-cpus={ray.num_cpus}"] if ray.num_cpus else command


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=_PROJECT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise StageError(f"{' '.join(command[2:])} failed: {(done.stderr or done.stdout).strip()}")


def _addresses(environment: dict[str, str], dashboard_port: int, settings: PipelineConfig) -> list[str]:
    api = environment["PREFECT_API_URL"]
    password = environment["PREFECT_API_AUTH_STRING"]
    lines = {
        "Prefect": f"{api.removesuffix('/api')}, password {password}",
        "MLflow": environment["MLFLOW_TRACKING_URI"],
        "Ray": f"http://{LOOPBACK}:{dashboard_port}, token {environment['RAY_AUTH_TOKEN']}",
        "logs": str(Path(settings.workspace) / "serve"),
        "run": f"PREFECT_API_URL={api} PREFECT_API_AUTH_STRING={password} "
        f"prefect deployment run {deployment(settings)}",
    }
    if hidden := _hidden(settings):
        lines["not in it"] = (
            f"{', '.join(hidden)}: what holds a password is not printed; write it into the config"
        )
    return [f"{what:<8} {where}" for what, where in lines.items()]


def _hidden(settings: PipelineConfig) -> list[str]:
    """Fields whose overrides hold what nobody else may read."""
    return [override.partition("=")[0] for override in settings.overrides if HIDDEN in override]


def deployment(settings: PipelineConfig) -> str:
    """What runs a config: its own deployment of ``prefect.yaml``, else the demo's with this config."""
    given = [_anywhere(override, settings) for override in settings.overrides if HIDDEN not in override]
    changed = f" -p {quote(f'overrides={json.dumps(given)}')}" if given else ""
    # A worker runs flows in the checkout, wherever this command was given.
    source = Path(settings.source).resolve()
    listed = yaml.safe_load((_PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    for one in listed:
        flow = one["entrypoint"].rpartition(":")[2]
        if flow != "stage" and source == _PROJECT / "configs" / f"{one['parameters']['config']}.yaml":
            return f"{flow}/{one['name']}{changed}"
    name = source.relative_to(_PROJECT) if source.is_relative_to(_PROJECT) else source
    return f"rebuild/demo -p {quote(f'config={name}')}{changed}"


def _anywhere(override: str, settings: PipelineConfig) -> str:
    """An override that means the same in any current folder: paths in full."""
    field, _, text = override.partition("=")
    value: object = settings.resolved()
    for name in field.strip().split("."):
        value = value.get(name) if isinstance(value, dict) else None
    written = yaml.safe_load(text)
    found = _with_paths(written, value)
    return override if found == written else f"{field}={json.dumps(found)}"


def _with_paths(written: object, resolved: object) -> object:
    """What was written, with each path as it was resolved."""
    if isinstance(written, dict) and isinstance(resolved, dict):
        return {name: _with_paths(value, resolved.get(name)) for name, value in written.items()}
    if isinstance(written, list) and isinstance(resolved, list) and len(written) == len(resolved):
        return [_with_paths(*pair) for pair in zip(written, resolved, strict=True)]
    if isinstance(written, str) and written.startswith(_SQLITE) and not written.startswith(f"{_SQLITE}/"):
        return f"{sqlite_uri(Path.cwd())}/{written.removeprefix(_SQLITE)}"
    return resolved if isinstance(resolved, str) and resolved.startswith("/") else written

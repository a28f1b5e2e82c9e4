"""What Ray and its workers start with: quiet, shut off from the network, and leaving signals to us."""

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from mimicmotion.errors import InputError, MachineError
from mimicmotion.foreign import says_slow_start
from stages.engine.config import RaySettings
from stages.engine.progress import told_if_long

log = logging.getLogger(__name__)

_STARTS = 3
_LONGEST_TMPDIR = 107 - len("/ray/session_2026-11-30_08-23-19_141518_1234567/sockets/plasma_store")

QUIET_VARIABLES = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}
"""Bars and notices of loading weights would drown the lines that name items."""
_WORKER_VARIABLES = {"OMP_WAIT_POLICY": "PASSIVE", **QUIET_VARIABLES}
LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""At 0, Ray gives this machine the address 127.0.0.1, so that all its parts listen there only."""
_LOCAL_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    LOOPBACK_VARIABLE: "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # 60 s is short on a busy machine
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning from every worker
    # Ray Train's watchers need the dashboard, and a machine that is its own cluster has nothing to watch.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


def cluster_address(settings: RaySettings) -> str | None:
    """Address of the cluster to join: the config's, else Ray's variable; None for a Ray on this machine."""
    return settings.address or os.environ.get("RAY_ADDRESS") or None


def training_variables(cpus: float, gpus: float) -> dict[str, str]:
    """Variables of a training worker with so many cores and GPUs; Ray hides none from one that has none."""
    hidden = {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}
    return {**_WORKER_VARIABLES, **hidden, "OMP_NUM_THREADS": str(max(1, int(cpus)))}


def cluster_environment(settings: RaySettings, head: str = "") -> dict[str, Any]:
    """Ray's runtime environment for the workers of a cluster: the config's, over our variables.

    Args:
        settings: the config's.
        head: host:port of the cluster. Without it Ray Train's cleaner asks the newest cluster of its machine
            whether the training lives, says so every second, and ends one which that cluster does not know.
    """
    own = {"RAY_ADDRESS": head} if head and "://" not in head else {}
    variables = {**_WORKER_VARIABLES, **own, **settings.runtime_env.get("env_vars", {})}
    return {**settings.runtime_env, "env_vars": variables}


def local_variables(settings: RaySettings) -> dict[str, str]:
    """Variables of a Ray on this machine, which its workers inherit."""
    return {**_LOCAL_VARIABLES, **cluster_environment(settings)["env_vars"]}


def check_sockets_fit() -> None:
    """Make sure that the sockets which Ray makes below the temporary folder have names that the system takes.

    Raises:
        InputError: says by how much the folder's name is too long.
    """
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), None)
    if name and (excess := len(os.fsencode(os.environ[name])) - _LONGEST_TMPDIR) > 0:
        raise InputError(
            f"{name} is {os.environ[name]}: its name is {excess} bytes too long for Ray's sockets, which "
            f"allow {_LONGEST_TMPDIR}. Set RAY_TMPDIR to a folder with a shorter name."
        )


def prepare_local(settings: RaySettings) -> None:
    """Set what a Ray on this machine starts with, and hands down to its workers; what the user set stays."""
    check_sockets_fit()
    # Ray asks for a token; one of this process keeps others out and leaves no file in the home folder.
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    for name, value in local_variables(settings).items():
        os.environ.setdefault(name, value)


def start_patiently(start: Callable[[], object], stop: Callable[[], None]) -> None:
    """Start Ray on this machine, again where it did not come up in time: 30 s are short on a busy machine.

    Raises:
        MachineError: it did not come up in any try.
    """
    for tries in range(1, _STARTS + 1):
        try:
            with told_if_long("Ray starts on this machine"):
                start()
            return
        except Exception as error:  # Ray has no class of its own for this
            if not says_slow_start(error):
                raise
            stop()
            if tries == _STARTS:
                raise MachineError(
                    f"Ray did not start on this machine in {tries} tries: {error} End other work or give it "
                    "more memory, and run again; finished items are kept."
                ) from error
            log.warning("Ray did not start in time; trying again")


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep this process's answer to SIGTERM where Ray would put its own, which aborts.

    A process that has no answer leaves as by ``sys.exit``, so that its blocks end workers and close runs.
    """
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread() and before != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, before if callable(before) else _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)

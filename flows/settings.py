"""Prefect's settings for runs on one machine, set before Prefect is imported.

Only what the user has not set: a variable of theirs wins. A profile is not read where no address is given,
since its home is not used.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from mimicmotion.errors import InputError, redacted
from stages.adapters.ray.environment import QUIET_VARIABLES
from stages.engine.config import PipelineConfig, sqlite_uri
from stages.engine.storage.workspace import is_remote

LOGGERS = ("flows", "mimicmotion", "stages", "worker_lines")
"""Our loggers, whose lines belong to the flow run; the last has what Ray's workers print."""

POOL = "mimicmotion"
"""The work pool of ``prefect.yaml``."""

_QUIET = {
    **QUIET_VARIABLES,
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": ",".join(LOGGERS),
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
_TEMPORARY = {
    # Its last words on stopping are no news.
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    # A failure is told once, by the command itself.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
}


def prepare_prefect(config: PipelineConfig) -> None:
    """Use the user's Prefect server, else a temporary one that keeps its history in the workspace."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if os.environ.get("PREFECT_API_URL"):
        return
    home = prefect_home(config)
    if home is not None:
        make_writable(home.parent)
    for name, value in {**prefect_place(home), **_TEMPORARY}.items():
        os.environ.setdefault(name, value)


def make_writable(workspace: Path) -> None:
    """Make the folder of a workspace: without it a server ends at once, again and again.

    Raises:
        InputError: this user may not.
    """
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        if not os.access(workspace, os.W_OK | os.X_OK):
            raise PermissionError("this user may not, or it is mounted read only")
    except OSError as error:
        raise InputError(
            f"workspace {workspace} cannot be written: {error.strerror or error}. Let this user write there, "
            "or name another workspace; what is published there can be read as it is."
        ) from error


def check_parameters(overrides: Sequence[str] | None) -> None:
    """Refuse changed fields that hold a secret: Prefect keeps the parameters of a flow in its database.

    Raises:
        InputError: names them, and where secrets belong.
    """
    hidden = [shown for field in overrides or () if (shown := redacted(field)) != field]
    if hidden:
        raise InputError(
            f"{'; '.join(hidden)}: Prefect would keep what is hidden. Write it into a config file of yours, "
            "which is stored without secrets, or into the environment (MLFLOW_TRACKING_URI, ...)."
        )


def quiet_environment() -> dict[str, str]:
    """Variables that let Prefect and the models' libraries report to nobody and say little."""
    return dict(_QUIET)


def prefect_place(home: Path | None) -> dict[str, str]:
    """Variables by which Prefect keeps its history in a folder; none where the user has said where.

    Prefect makes an address of the folder's name, and ``%``, ``?`` or ``#`` in it would lead elsewhere.
    """
    if home is None or "PREFECT_HOME" in os.environ:
        return {}
    database = sqlite_uri(home / "prefect.db", "sqlite+aiosqlite")
    return {"PREFECT_HOME": str(home), "PREFECT_SERVER_DATABASE_CONNECTION_URL": database}


def prefect_home(config: PipelineConfig) -> Path | None:
    """Where Prefect keeps the history of a local workspace; None for a remote one, which uses its own."""
    return None if is_remote(config.workspace) else Path(config.workspace) / "prefect"

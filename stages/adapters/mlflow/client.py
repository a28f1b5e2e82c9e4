"""MLflow's client: quiet, impatient, and how its refusals are told from its absence."""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mimicmotion.errors import InputError, StageError
from stages.engine.config import PipelineConfig, redacted, tracking_uri

ARTIFACTS = "mlartifacts"
"""Folder beside a SQLite file: of a workspace beside its ``mlflow.db``."""
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns in which MLflow keeps where artifacts are."""
_SERVED = "mlflow-artifacts:"
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Else MLflow's page takes the experiment for one about prompts, and hides runs and models."""
_LIMIT, _UPLOAD_S = "MLFLOW_HTTP_REQUEST_TIMEOUT", 3600
_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")


def mlflow_client(uri: str) -> Any:
    """MLflow's client of an address, quiet, and without the patience that would hold a stage up."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Its own patience (7 retries, 2 minutes each) would hold a training up for a quarter of an hour.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault(_LIMIT, "30")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    bring_here(uri)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(uri, registry_uri=uri)


@contextmanager
def patient() -> Iterator[None]:
    """Let a request take an hour within the block: a server may store the weights before it answers."""
    usual = os.environ.get(_LIMIT)
    os.environ[_LIMIT] = str(max(int(usual or 0), _UPLOAD_S))
    try:
        yield
    finally:
        os.environ.pop(_LIMIT)
        if usual is not None:
            os.environ[_LIMIT] = usual


@cache
def bring_here(uri: str) -> None:
    """Let a database that was copied or moved with its workspace name the artifacts that lie beside it.

    MLflow stores where they are in full, so that a copy would write into the original, and lose its pictures
    with it. What a server of MLflow made lies there too, under an address that only the server knows.
    """
    database = _file_of(uri)
    if database is None:
        return
    database.parent.mkdir(parents=True, exist_ok=True)  # MLflow would make it with the name as quoted
    beside = database.parent / ARTIFACTS
    if not database.is_file():
        return
    # One that is read only, or not of this MLflow, stays as it is.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as store, store:
        for place, here in _moved(store, beside):
            for table, column in _PLACES:
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR "
                    f"substr({column}, 1, ?) = ?",
                    (here, len(place) + 1, place, len(place) + 1, f"{place}/"),
                )


def _moved(store: sqlite3.Connection, beside: Path) -> Iterator[tuple[str, str]]:
    """Where a database says that artifacts of experiments are -> where they lie beside it."""
    here = beside.as_uri()
    counted = "(SELECT count(*) FROM runs WHERE runs.experiment_id = experiments.experiment_id)"
    for place, runs in store.execute(f"SELECT artifact_location, {counted} FROM experiments").fetchall():
        if str(place).startswith(f"{_SERVED}/"):
            below = str(place).removeprefix(_SERVED)
            # A server may keep files elsewhere; where nothing was run there are none.
            if not runs or (beside / below.strip("/")).is_dir():
                yield str(place), f"{here}{below}"
        elif place != here and str(place).endswith(f"/{ARTIFACTS}") and beside.is_dir():
            yield str(place), here


def artifacts_of(uri: str) -> Path | None:
    """The folder for artifacts of a SQLite file; None for other stores, which have their own."""
    database = _file_of(uri)
    return None if database is None else database.parent / ARTIFACTS


def _file_of(uri: str) -> Path | None:
    if not uri.startswith("sqlite:///"):
        return None
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])).absolute()


def experiment_of(client: Any, config: PipelineConfig) -> str:
    """Id of the experiment that a config names, made if need be."""
    name = config.settings.mlflow.experiment
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    artifacts = artifacts_of(tracking_uri(config))
    place = None if artifacts is None else artifacts.as_uri()
    return str(client.create_experiment(name, artifact_location=place, tags=_EXPERIMENT_TAGS))


def check_address(uri: str) -> None:
    """Make sure that MLflow's address is one; whether anybody answers there is another matter.

    Raises:
        InputError: MLflow knows no such store, or lacks the driver of its database.
    """
    from mlflow.exceptions import MlflowException

    try:
        mlflow_client(uri)
    except (MlflowException, ImportError) as error:
        raise InputError(
            f"MLflow cannot use {redacted(uri)} (mlflow.tracking_uri or MLFLOW_TRACKING_URI): "
            f"{redacted(error).strip()} Leave it out to keep runs in the workspace."
        ) from error


def is_refused(error: Exception) -> bool:
    """Whether MLflow has read something and will never take it."""
    return getattr(error, "error_code", None) in _REFUSALS


def reach(config: PipelineConfig) -> str:
    """MLflow's address and version, after asking it something.

    Raises:
        MlflowException: it does not answer.
    """
    uri = tracking_uri(config)
    client = mlflow_client(uri)
    import mlflow

    client.search_experiments(max_results=1)
    return f"{mlflow.__version__} at {redacted(uri)}"


def begin_experiment(config: PipelineConfig) -> None:
    """Make the experiment before a server does, under whose address only that server finds its files.

    Raises:
        StageError: MLflow cannot open its database.
    """
    uri = tracking_uri(config)
    try:
        experiment_of(mlflow_client(uri), config)
    except Exception as error:
        raise StageError(
            f"MLflow cannot open {redacted(uri)}: {redacted(error).strip()}. If it is of another version of "
            "MLflow, name another file (mlflow.tracking_uri), or see `mlflow db upgrade`."
        ) from error


def quoted(text: str) -> str:
    """A text in a filter of MLflow, which knows no way to escape a quote.

    Raises:
        InputError: it has quotes of both kinds.
    """
    if "'" in text and '"' in text:
        raise InputError(f"{text} has both kinds of quotes, and MLflow can look for one kind only")
    return f'"{text}"' if "'" in text else f"'{text}'"

"""MLflow's client: quiet, impatient, and how its refusals are told from its absence."""

import logging
import os
from pathlib import Path
from typing import Any

from stages.engine.config import PipelineConfig, redacted, tracking_uri

_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Else MLflow's page takes the experiment for one about prompts, and hides runs and models."""
_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")


def mlflow_client(uri: str) -> Any:
    """MLflow's client of an address, quiet, and without the patience that would hold a stage up."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Its own patience (7 retries, 2 minutes each) would hold a training up for a quarter of an hour.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(uri, registry_uri=uri)


def experiment_of(client: Any, config: PipelineConfig) -> str:
    """Id of the experiment that a config names, made if need be."""
    name = config.settings.mlflow.experiment
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    in_workspace = tracking_uri(config) == f"sqlite:///{config.workspace}/mlflow.db"
    artifacts = Path(config.workspace, "mlartifacts").as_uri() if in_workspace else None
    return str(client.create_experiment(name, artifact_location=artifacts, tags=_EXPERIMENT_TAGS))


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

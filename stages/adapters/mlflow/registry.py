"""MLflow's registry of models: versions with tags and aliases, and their files.

Where there is no registry, a stage that needs one stops; only pictures and numbers may fail silently.
"""

import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mimicmotion.animation.settings import INPUTS, PARAMS
from mimicmotion.errors import InputError
from mimicmotion.metrics.champion import SCORED
from stages.adapters.mlflow.client import patient, quoted
from stages.engine.config import redacted

LOADER_MODULE = "mimicmotion.animation.served"
"""What MLflow loads a version by: ``mlflow.pyfunc.load_model("models:/name@alias")``."""
_IDENTITY = ("checkpoint_key", "checkpoint_sha256")
"""Tags in which a version equals a checkpoint that is registered again."""
_MODEL, _CHECKPOINT = "model", "data/checkpoint"


class MlflowRegistry:
    """Models in MLflow's registry.

    Args:
        client: MLflow's client.
        run_id: run that holds the files of new versions.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def register(self, name: str, folder: Path, tags: Mapping[str, str], description: str) -> str:
        """Store a checkpoint folder as a new version of a model; returns the version.

        Where a version has the same tags ``checkpoint_key`` and ``checkpoint_sha256``, that version is
        returned, with tags and description renewed. The key alone says how a checkpoint was made, not what
        came out.
        """
        client = self._client
        if not client.search_registered_models(f"name={quoted(name)}"):
            client.create_registered_model(name)
        for version in client.search_model_versions(f"name={quoted(name)}"):
            if all(tag in tags and version.tags.get(tag) == tags[tag] for tag in _IDENTITY):
                for tag, value in tags.items():
                    client.set_model_version_tag(name, version.version, tag, value)
                for tag in set(version.tags) - set(tags):
                    if tag.startswith(SCORED):  # of an earlier score
                        client.delete_model_version_tag(name, version.version, tag)
                client.update_model_version(name, version.version, description)
                return str(version.version)
        self._log_model(folder)
        made = client.create_model_version(
            name,
            source=f"runs:/{self._run_id}/{_MODEL}",
            run_id=self._run_id,
            tags=dict(tags),
            description=description,
        )
        return str(made.version)

    def _log_model(self, checkpoint: Path) -> None:
        """Store a checkpoint as a model that MLflow itself can load; its files are not copied aside."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # MLflow finds fault with types of its own
            from mlflow.pyfunc import save_model

        with TemporaryDirectory() as name, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # and wants an example of the input
            empty, model = Path(name, "checkpoint"), Path(name, _MODEL)
            empty.mkdir()
            save_model(
                model,
                loader_module=LOADER_MODULE,
                data_path=empty,
                signature=_signature(),
                pip_requirements=[f"mimicmotion=={metadata.version('mimicmotion')}"],
            )
            self._client.log_artifacts(self._run_id, str(model), _MODEL)
        with patient():
            self._client.log_artifacts(self._run_id, str(checkpoint), f"{_MODEL}/{_CHECKPOINT}")

    def tags(self, name: str, alias: str) -> Mapping[str, str] | None:
        """Tags of the version an alias points to, or None where there is no such version."""
        client = self._client
        from mlflow.exceptions import MlflowException

        try:
            return dict(client.get_model_version_by_alias(name, alias).tags)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version."""
        self._client.set_registered_model_alias(name, alias, version)


def _signature() -> Any:
    """What the model takes and gives, which MLflow shows and checks."""
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    taken = [TensorSpec(np.dtype(kind), shape, name) for name, (kind, shape) in INPUTS.items()]
    params = [
        ParamSpec(name, kind, default, (-1,) if isinstance(default, list) else None)
        for name, (kind, default) in PARAMS.items()
    ]
    frames = TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))
    return ModelSignature(Schema(taken), Schema([frames]), ParamSchema(params))


def download_model(client: Any, model_uri: str, folder: Path) -> Path:
    """The checkpoint folder of ``models:/name@alias`` or ``models:/name/version``, brought into a folder.

    Raises:
        InputError: there is no such model, alias or version.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    name, separator, which = model_uri.removeprefix("models:/").partition("@")
    if not separator:
        name, _, which = name.rpartition("/")
    try:
        version = client.get_model_version_by_alias(name, which).version if separator else which
        source = client.get_model_version_download_uri(name, str(version))
        found = download_artifacts(
            artifact_uri=source, dst_path=str(folder), tracking_uri=client.tracking_uri
        )
    except MlflowException as error:
        raise InputError(
            f"{model_uri}: MLflow at {redacted(client.tracking_uri)} has no such model ({error}). "
            "Write models:/name@alias or models:/name/version; the page under Models lists them."
        ) from error
    checkpoint = Path(found, _CHECKPOINT)
    return checkpoint if checkpoint.is_dir() else Path(found)

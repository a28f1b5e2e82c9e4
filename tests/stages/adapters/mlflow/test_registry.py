"""The registry of models: how long its server may take for the weights."""

import os
import warnings
from types import SimpleNamespace

import pytest

from stages.adapters.mlflow.registry import MlflowRegistry

LIMIT = "MLFLOW_HTTP_REQUEST_TIMEOUT"


@pytest.mark.parametrize(("usual", "for_weights"), [("30", "3600"), (None, "3600"), ("9000", "9000")])
def test_weights_may_take_an_hour_and_the_rest_stays_impatient(tmp_path, monkeypatch, usual, for_weights):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow finds fault with types of its own
        monkeypatch.setattr("mlflow.pyfunc.save_model", lambda path, **told: path.mkdir())
    if usual is None:
        monkeypatch.delenv(LIMIT, raising=False)
    else:
        monkeypatch.setenv(LIMIT, usual)
    limits = {}
    client = SimpleNamespace(
        search_registered_models=lambda query: True,
        search_model_versions=lambda query: [],
        log_artifacts=lambda run, folder, place: limits.update({place: os.environ.get(LIMIT)}),
        create_model_version=lambda name, **told: SimpleNamespace(version=3),
    )
    assert MlflowRegistry(client, "run").register("model", tmp_path, {}, "") == "3"
    assert limits == {"model": usual, "model/data/checkpoint": for_weights}
    assert os.environ.get(LIMIT) == usual


def test_a_version_that_is_scored_again_says_the_new_score_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(MlflowRegistry, "_log_model", lambda self, folder: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("x", artifact_location=str(tmp_path / "files"))
    registry = MlflowRegistry(client, client.create_run(experiment).info.run_id)
    same = {"checkpoint_key": "k", "checkpoint_sha256": "s", "teacher_key": "t"}
    first = {**same, "primary_metric": "fvd", "primary_low": "250", "primary_backbone": "ab"}
    again = {**same, "primary_metric": "psnr", "primary_value": "20"}
    assert registry.register("model", tmp_path, first, "fvd 300") == "1"
    registry.set_alias("model", "champion", "1")
    assert registry.register("model", tmp_path, again, "psnr 20") == "1"
    assert registry.tags("model", "champion") == again
    assert client.get_model_version("model", "1").description == "psnr 20"

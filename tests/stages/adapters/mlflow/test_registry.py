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

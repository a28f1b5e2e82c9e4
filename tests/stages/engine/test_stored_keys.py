"""Recipe keys that workspaces of earlier versions were made with: moving code must not make data stale.

A key may change here only together with the ``version`` of its stage, or with a config.
"""

import hashlib

import pytest

from mimicmotion.metrics.scores import METRICS
from stages.engine.config import load_config
from stages.engine.keys import recipe_key
from stages.evaluate import Evaluate
from stages.parts.measure import Measure

STORED = {
    ("demo", "decode", 7): "a699ae8487a7c6a65385",
    ("demo", "pose", 3): "753b0c318e51b4a4067a",
    ("demo", "clips", 6): "9504d7200c7e766ceb6b",
    ("demo", "train", 4): "e065c1083943e76a363d",
    ("demo", "animate", 3): "e8a45ad4e155f56dc3ea",
    ("demo", "evaluate", 5): "eeb037a10ef6b29dc53f",
    ("demo", "register", 4): "c9fb181c33c067b204d1",
    ("real-small", "decode", 7): "ec7c1b3c85989772a0f0",
    ("real-small", "pose", 3): "3c300c9ebac9234ff63e",
    ("real-small", "clips", 6): "f0df57f1751df05964b0",
    ("real-small", "train", 4): "29074596c5cf25f207b1",
    ("real-small", "animate", 3): "93a5dfd236a842d86f91",
    ("real-small", "evaluate", 5): "2f795f1636cc7191a725",
    ("real-small", "register", 4): "fe396b74d0e85362d930",
}
"""(config, stage, version) -> its recipe key, computed before the engine moved to ``stages/engine``."""


@pytest.mark.parametrize(("config", "stage", "version"), STORED)
def test_a_workspace_made_before_stays_fresh(config: str, stage: str, version: int) -> None:
    section = load_config(config).stages[stage]
    assert (section.version, recipe_key(section)) == (version, STORED[config, stage, version])


def test_another_set_of_metrics_measures_again_what_is_there() -> None:
    names = hashlib.sha256("\n".join(sorted(METRICS)).encode()).hexdigest()[:12]
    assert (names, Measure.version, Evaluate.version) == ("e156fe2afd8e", 1, 5), (
        "a metric more or less: raise both versions, else clips measured already lack it; then write "
        "the three values here"
    )

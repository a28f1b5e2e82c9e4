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
    ("demo", "decode", 8): "c1b86a293adf0a8623b8",
    ("demo", "pose", 5): "76afa28ef8c3e180f511",
    ("demo", "clips", 7): "7234bc10360a0602fbf2",
    ("demo", "train", 4): "e065c1083943e76a363d",
    ("demo", "animate", 3): "e8a45ad4e155f56dc3ea",
    ("demo", "evaluate", 7): "038664fc901fdbaf5705",
    ("demo", "register", 6): "5370cf92137611871d92",
    ("real-small", "decode", 8): "3a62b9b7201401283582",
    ("real-small", "pose", 5): "b1da8cae7369dce23e42",
    ("real-small", "clips", 7): "fbffee07e9c4e5e839be",
    ("real-small", "train", 4): "29074596c5cf25f207b1",
    ("real-small", "animate", 3): "93a5dfd236a842d86f91",
    ("real-small", "evaluate", 7): "99a6f7ca21a2d6f63a95",
    ("real-small", "register", 6): "38d0478d115780130d88",
}
"""(config, stage, version) -> its recipe key, computed before the engine moved to ``stages/engine``."""


@pytest.mark.parametrize(("config", "stage", "version"), STORED)
def test_a_workspace_made_before_stays_fresh(config: str, stage: str, version: int) -> None:
    section = load_config(config).stages[stage]
    assert (section.version, recipe_key(section)) == (version, STORED[config, stage, version])


def test_another_set_of_metrics_measures_again_what_is_there() -> None:
    names = hashlib.sha256("\n".join(sorted(METRICS)).encode()).hexdigest()[:12]
    assert (names, Measure.version, Evaluate.version) == ("e156fe2afd8e", 2, 7), (
        "a metric more or less: raise both versions, else clips measured already lack it; then write "
        "the three values here"
    )

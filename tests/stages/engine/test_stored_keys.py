"""Recipe keys that workspaces of earlier versions were made with: moving code must not make data stale.

A key may change here only together with the ``version`` of its stage, or with a config.
"""

import pytest

from stages.engine.config import load_config
from stages.engine.keys import recipe_key

STORED = {
    ("demo", "decode", 6): "21ceec1a20494809094d",
    ("demo", "pose", 2): "f9f19b5d1bd172bf2740",
    ("demo", "clips", 5): "f4e32711bc5490144dbf",
    ("demo", "train", 3): "147216dbb16f1f110005",
    ("demo", "animate", 3): "e8a45ad4e155f56dc3ea",
    ("demo", "evaluate", 5): "eeb037a10ef6b29dc53f",
    ("demo", "register", 4): "c9fb181c33c067b204d1",
    ("real-small", "decode", 6): "0bfefdde54097a5e3181",
    ("real-small", "pose", 2): "cb0a1e25574b379c7f72",
    ("real-small", "clips", 5): "5286cd6c07f412408b00",
    ("real-small", "train", 3): "a8df032a8ce8d9ff7895",
    ("real-small", "animate", 3): "93a5dfd236a842d86f91",
    ("real-small", "evaluate", 5): "2f795f1636cc7191a725",
    ("real-small", "register", 4): "fe396b74d0e85362d930",
}
"""(config, stage, version) -> its recipe key, computed before the engine moved to ``stages/engine``."""


@pytest.mark.parametrize(("config", "stage", "version"), STORED)
def test_a_workspace_made_before_stays_fresh(config: str, stage: str, version: int) -> None:
    section = load_config(config).stages[stage]
    assert (section.version, recipe_key(section)) == (version, STORED[config, stage, version])

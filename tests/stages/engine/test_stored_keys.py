"""Recipe keys that workspaces of earlier versions were made with: moving code must not make data stale.

A key may change here only together with the ``version`` of its stage, or with a config.
"""

import pytest

from stages.engine.config import load_config
from stages.engine.keys import recipe_key

STORED = {
    ("demo", "decode", 3): "8e17e6312759741a8072",
    ("demo", "pose", 1): "1ec3c18295bef62c4405",
    ("demo", "clips", 2): "286b12699f52927b2042",
    ("demo", "train", 2): "587803fd34129100992f",
    ("demo", "animate", 1): "2556e14c041bf078c320",
    ("demo", "evaluate", 3): "cb2750a232a635b2b22a",
    ("demo", "register", 2): "9d7bfbc5a15a36d4d55c",
    ("real-small", "decode", 3): "09e72f9e2c307d31ca11",
    ("real-small", "pose", 1): "266fd7fa0a04b67abae2",
    ("real-small", "clips", 2): "85f7283527f9c8afc3ea",
    ("real-small", "train", 2): "9169e6ca89ff2377baf1",
    ("real-small", "animate", 1): "2556e14c041bf078c320",
    ("real-small", "evaluate", 3): "78e62fc4950452916632",
    ("real-small", "register", 2): "bdb53614696a5c539436",
}
"""(config, stage, version) -> its recipe key, computed before the engine moved to ``stages/engine``."""


@pytest.mark.parametrize(("config", "stage", "version"), STORED)
def test_a_workspace_made_before_stays_fresh(config: str, stage: str, version: int) -> None:
    section = load_config(config).stages[stage]
    assert (section.version, recipe_key(section)) == (version, STORED[config, stage, version])

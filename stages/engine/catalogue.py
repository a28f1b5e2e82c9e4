"""The stages, in the order in which a rebuild runs them; whatever lists stages derives from this."""

from collections.abc import Mapping
from typing import Literal, get_args

StageName = Literal[
    "decode", "pose", "clips", "latents", "train", "distill", "animate", "evaluate", "register"
]

_MODULES: Mapping[str, str] = {"distill": "train"}
"""Where a stage is not defined in the module of its name: ``distill`` is the same training run."""

STAGES: Mapping[str, str] = {
    name: f"stages.{_MODULES.get(name, name)}:{name.capitalize()}" for name in get_args(StageName)
}
"""Where each stage is defined, by its name: module and class."""

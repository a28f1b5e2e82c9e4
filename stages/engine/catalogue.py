"""The eight stages, in the order in which a rebuild runs them; whatever lists stages derives from this."""

from collections.abc import Mapping
from typing import Literal, get_args

StageName = Literal["decode", "pose", "clips", "latents", "train", "animate", "evaluate", "register"]

STAGES: Mapping[str, str] = {name: f"stages.{name}:{name.capitalize()}" for name in get_args(StageName)}
"""Where each stage is defined, by its name: module and class."""

"""From the result of a run to a pipeline folder that animates."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimicmotion.model.weights import load_pipeline
from mimicmotion.training.plan import FACTS_FILE, NETWORK_FILE, Plan

TRAINING_FILE = "training.json"


def read_result(plan: Plan) -> dict[str, Any]:
    """Return what a finished run says of itself."""
    facts: dict[str, Any] = json.loads((plan.result / FACTS_FILE).read_text())
    return facts


def export(plan: Plan, target: Path, training: Mapping[str, Any]) -> None:
    """Write the averaged network with the base's other parts in diffusers layout.

    Args:
        plan: a finished run; its network file has the form of released ones.
        target: the folder to write.
        training: what the checkpoint shall say of its training; ``training.json`` beside the weights.

    Raises:
        WeightsError: the result does not fit the base.
    """
    pipeline = load_pipeline(plan.result / NETWORK_FILE, base=plan.base)
    pipeline.guidance = plan.recipe.style.to_dict()
    pipeline.save_pretrained(target)
    (target / TRAINING_FILE).write_text(json.dumps(training, indent=2, sort_keys=True) + "\n")

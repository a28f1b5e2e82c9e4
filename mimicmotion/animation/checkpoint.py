"""What a checkpoint says about itself: how its poses are drawn, and the form of its clips."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimicmotion.errors import WeightsError
from mimicmotion.pose.settings import DrawingStyle

GUIDANCE_FILE = "guidance.json"
TRAINING_FILE = "training.json"


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """What animation must match. The defaults are those of the released weights, which bring no such files.

    Attributes:
        style: how poses are drawn.
        sizes_px: (width, height) of training pictures; empty for the released sizes.
        num_frames: slots of a training clip, the reference slot included.
        fps: frames per second that the network is told.
        motion_bucket: amount of motion that the network is told.
    """

    style: DrawingStyle = field(default_factory=DrawingStyle)
    sizes_px: tuple[tuple[int, int], ...] = ()
    num_frames: int = 16
    fps: float = 7.0
    motion_bucket: float = 127.0


def read_checkpoint_facts(checkpoint: Path) -> CheckpointFacts:
    """The facts beside the weights of a checkpoint folder; those of the release for anything else.

    Raises:
        WeightsError: a file of facts cannot be understood.
    """
    guidance, training = checkpoint / GUIDANCE_FILE, checkpoint / TRAINING_FILE
    given: dict[str, Any] = {}
    # Released weights that were written as a folder say nothing of drawing: an empty object.
    if guidance.is_file() and (style := _read_json(guidance)):
        given["style"] = DrawingStyle.stored(style)
    if training.is_file():
        facts = _read_json(training)
        lacking = {"sizes_px", "num_frames", "fps", "motion_bucket"} - facts.keys()
        if lacking:
            raise WeightsError(f"{training} lacks {', '.join(sorted(lacking))}: export the checkpoint again")
        given["sizes_px"] = tuple((int(width), int(height)) for width, height in facts["sizes_px"])
        given["num_frames"] = int(facts["num_frames"])
        given["fps"], given["motion_bucket"] = float(facts["fps"]), float(facts["motion_bucket"])
    return CheckpointFacts(**given)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} must hold a JSON object, it holds a {type(content).__name__}")
    return content

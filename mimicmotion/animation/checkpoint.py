"""What a checkpoint says about itself: how its poses are drawn, and the form of its clips."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mimicmotion.errors import WeightsError
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.video.size import Size
from mimicmotion.weights.facts import told_by
from mimicmotion.weights.known import all_known, known_weights

log = logging.getLogger(__name__)

GUIDANCE_FILE = "guidance.json"
TRAINING_FILE = "training.json"
_MOST_OFF_RATE = 1.5
"""How many times the trained rate, or a part of it, passes without a warning."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """What animation must match. The defaults are those of the released weights, which bring no such files.

    Attributes:
        style: how poses are drawn.
        sizes_px: of training pictures; empty for the released sizes.
        num_frames: slots of a training clip, the reference slot included.
        window_fps: driving frames per second of training clips.
        fps: frames per second that the network is told.
        motion_bucket: amount of motion that the network is told.
        noise_aug_strength: noise that reference pictures get, and that the network is told.
        sampling: fields of the sampler that a distilled checkpoint asks for, by name; empty for others.
        calibrated: brightness is the probability of a calibration, not a model's raw confidence.
    """

    style: DrawingStyle = field(default_factory=DrawingStyle)
    sizes_px: tuple[Size, ...] = ()
    num_frames: int = 16
    window_fps: float = 15.0
    fps: float = 7.0
    motion_bucket: float = 127.0
    noise_aug_strength: float = 0.0
    sampling: Mapping[str, Any] = field(default_factory=dict)
    calibrated: bool = False

    @property
    def told(self) -> dict[str, float]:
        """Fields of the sampler that say what the network was told in training."""
        return {
            "fps": self.fps,
            "motion_bucket_id": self.motion_bucket,
            "noise_aug_strength": self.noise_aug_strength,
        }

    def departures(self, tile: int, fps: float) -> list[str]:
        """Return what a run does otherwise than the training, in words.

        Args:
            tile: slots of a tile.
            fps: frames per second of the result.
        """
        said = []
        if tile != self.num_frames:
            said.append(f"tiles have {tile} slots, the network was trained with {self.num_frames}")
        if not 1 / _MOST_OFF_RATE <= fps / self.window_fps <= _MOST_OFF_RATE:
            said.append(
                f"the result has {fps:g} frames a second, the network was trained with {self.window_fps:g}: "
                "motion may look unnatural"
            )
        return said


def read_checkpoint_facts(checkpoint: Path) -> CheckpointFacts:
    """The facts that a checkpoint brings beside its weights; those of the release for what it does not say.

    Raises:
        WeightsError: facts cannot be understood.
    """
    guidance, training = checkpoint / GUIDANCE_FILE, checkpoint / TRAINING_FILE
    given, told = dict[str, Any](), told_by(checkpoint)
    # Released weights that were written as a folder say nothing of drawing: an empty object.
    if style := _read_json(guidance, told.get(GUIDANCE_FILE, "{}")):
        given["style"] = DrawingStyle.stored(style)
    if TRAINING_FILE in told:
        facts = _read_json(training, told[TRAINING_FILE])
        lacking = {"sizes_px", "num_frames", "fps", "motion_bucket"} - facts.keys()
        if lacking:
            raise WeightsError(f"{training} lacks {', '.join(sorted(lacking))}: export the checkpoint again")
        given["sizes_px"] = tuple(Size(int(width), int(height)) for width, height in facts["sizes_px"])
        given["num_frames"] = int(facts["num_frames"])
        given["noise_aug_strength"] = float(facts.get("noise_aug_strength", 0.0))
        given["sampling"] = facts.get("sampling", {})
        given["calibrated"] = bool(facts.get("calibrated", False))
        if "window_fps" in facts:
            given["window_fps"] = float(facts["window_fps"])
        given["fps"], given["motion_bucket"] = float(facts["fps"]), float(facts["motion_bucket"])
    else:
        given["num_frames"] = _released_frames(checkpoint)
    return CheckpointFacts(**given)


def released_facts(checkpoint: Path) -> dict[str, str]:
    """What a released file says of its training by its name or content, in the form of ``training.json``."""
    if checkpoint.is_dir() or told_by(checkpoint):
        return {}
    facts = asdict(read_checkpoint_facts(checkpoint))
    return {TRAINING_FILE: json.dumps({name: facts[name] for name in facts if name != "style"})}


def _released_frames(path: Path) -> int:
    """Slots that a released file was trained with: told by its name, else by its content."""
    known = known_weights(path)
    if known is None and path.is_file():
        files = [(weights, file) for weights in all_known() for file in weights.files if file.sha256]
        same = [pair for pair in files if pair[1].size_bytes == path.stat().st_size]
        if same:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            known = next((weights for weights, file in same if file.sha256 == digest), None)
    if known is not None and known.num_frames is not None:
        return known.num_frames
    log.warning(
        "%s does not say how many frames it was trained with: %d are taken, --tile sets another number",
        path,
        CheckpointFacts.num_frames,
    )
    return CheckpointFacts.num_frames


def _read_json(path: Path, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise WeightsError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} must hold a JSON object, it holds a {type(content).__name__}")
    return content

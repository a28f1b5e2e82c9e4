"""Everything that a training run is told: a small picklable value, and the list of clips beside it."""

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mimicmotion.errors import InputError
from mimicmotion.training.data.samples import Clip, Recipe
from mimicmotion.training.distributed.parts import Recompute, Sharing, TrainedPart
from mimicmotion.training.optimiser import Optimiser
from mimicmotion.video.framing import Framing

NETWORK_FILE = "network.safetensors"
FACTS_FILE = "facts.json"

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """How sample pictures are made while training.

    Attributes:
        every: optimiser steps between validations, each with pictures.
        clips: how many test clips are validated on and shown.
        num_steps: denoising steps.
        guidance: guidance scale; no second pass at 1.
    """

    every: int
    clips: int
    num_steps: int
    guidance: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training run.

    Attributes:
        base: folder of the pretrained pipeline.
        init_from: folder or released file that UNet and PoseNet start from instead.
        clips: list of training clips, see ``write_clips``.
        test_clips: list of test clips, for validation and pictures.
        state: folder that all workers share, for checkpoints and the result.
        recipe: what samples are made of.
        fps: frames per second that the network is told.
        motion_bucket: amount of motion that the network is told.
        steps: optimiser steps of the whole run.
        batch: samples per optimiser step, over all workers.
        learning_rate: peak, after the warm-up.
        warmup_steps: optimiser steps of linear warm-up.
        weight_decay: of AdamW.
        optimiser: AdamW with moments in float32, or in eight bits.
        clip_norm: largest norm of the gradient.
        ema_decay: of the moving average.
        trained: which part of the network trains.
        precision: of the network's arithmetic; parameters and optimiser stay in float32.
        preview: pictures and validation.
        checkpoint_every: optimiser steps between checkpoints.
        keep: checkpoints kept.
        micro_batch: samples of one worker that are computed at once; None for all of its share.
        sharing: how workers share the network.
        recompute: which activations are forgotten.
        compile: whether the network is compiled.
        loader_threads: threads that make samples, per worker.
        log_every: optimiser steps between reports of numbers.
    """

    base: Path
    init_from: Path | None
    clips: Path
    test_clips: Path
    state: Path
    recipe: Recipe
    fps: float
    motion_bucket: float
    steps: int
    batch: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    optimiser: Optimiser
    clip_norm: float
    ema_decay: float
    trained: TrainedPart
    precision: Precision
    preview: Preview
    checkpoint_every: int
    keep: int
    micro_batch: int | None
    sharing: Sharing
    recompute: Recompute
    compile: bool
    loader_threads: int
    log_every: int

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.state / "checkpoints"

    @property
    def result(self) -> Path:
        """Folder of the result, the averaged network and facts about it; there once it is whole."""
        return self.state / "result"

    @property
    def recorded(self) -> Path:
        """Folder of the curves and pictures that the run has recorded."""
        return self.state / "recorded"

    @property
    def stop_request(self) -> Path:
        """A file whose presence makes the run write a checkpoint and end."""
        return self.state / "stop"


def write_clips(path: Path, clips: Sequence[Clip]) -> None:
    """Write a list of clips as JSON lines."""
    lines = (json.dumps(asdict(clip), default=str) for clip in clips)
    path.write_text("".join(line + "\n" for line in lines))


def read_clips(path: Path) -> list[Clip]:
    """Return a list of clips that ``write_clips`` wrote.

    Raises:
        InputError: it is not on this machine.
    """
    if not path.is_file():
        raise InputError(
            f"{path} is not on {socket.gethostname()}, which trains: on several machines the workspace must "
            "be a folder that all see at the same path; with an object store MIMICMOTION_CACHE must be one"
        )
    return [_clip(json.loads(line)) for line in path.read_text().splitlines()]


def _clip(values: dict[str, Any]) -> Clip:
    paths = {name: Path(values[name]) for name in ("video", "poses")}
    latents = Path(values["latents"]) if values["latents"] else None
    tuples = {name: tuple(values[name]) for name in ("frames", "references")}
    fit = Framing(**{name: tuple(pair) for name, pair in values["fit"].items()})
    return Clip(**{**values, **paths, **tuples, "latents": latents, "fit": fit})

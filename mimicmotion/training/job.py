"""Everything that a training run is told: a small picklable value, and the list of clips beside it."""

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mimicmotion.errors import InputError
from mimicmotion.training.data.samples import Clip
from mimicmotion.training.settings import TrainingRuntime, TrainingSettings
from mimicmotion.video.framing import Framing
from mimicmotion.video.size import Size

NETWORK_FILE = "network.safetensors"
FACTS_FILE = "facts.json"
SAMPLING = "sampling"
"""Among the facts of a checkpoint: fields of the sampler that its run teaches, none where any will do."""
LEARNT = "learnt"
"""Among the facts of a checkpoint: how poses were drawn, and what the network was told of rate and motion."""


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Everything that a worker is told of a training run.

    Attributes:
        settings: what is learnt; ``steps`` below stands for its ``steps`` or ``epochs``.
        runtime: how it is computed and watched.
        steps: optimiser steps of the whole run.
        clips: list of training clips, see ``write_clips``.
        test_clips: list of test clips, for validation and pictures.
        state: folder that all workers share, for checkpoints and the result.
    """

    settings: TrainingSettings
    runtime: TrainingRuntime
    steps: int
    clips: Path
    test_clips: Path
    state: Path

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
    tuples["ignore"] = tuple(tuple(overlay) for overlay in values["ignore"])
    left, top = values["fit"].pop("offset")
    sizes = {name: Size(*pair) for name, pair in values["fit"].items()}
    fit = Framing(**sizes, offset=(left, top))
    return Clip(**{**values, **paths, **tuples, "latents": latents, "fit": fit})

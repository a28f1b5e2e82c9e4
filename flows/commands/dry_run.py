"""What training under a config will need, before any weight is downloaded.

mimicmotion stage train configs/paper.yaml --dry-run --clips 50000
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicmotion.errors import InputError, StageError, WeightsError
from stages.clip_rows import kept_clips
from stages.clips import Clips
from stages.engine.config import PipelineConfig
from stages.engine.plan import StageGraph
from stages.train import Train

if TYPE_CHECKING:
    from mimicmotion.training.estimate.needs import Shape

UTILISATION = 0.35
"""Share of a GPU's peak that video networks of this kind reach, ours by choice; MLflow shows the real one."""


def training_needs(config: PipelineConfig, num_clips: int, gpu: str, name: str = "train") -> str:
    """Parameters, memory of each worker, steps, work and time, as text; builds it all at full size on meta.

    At the end stands which level of ``activation_checkpointing`` fits into the GPU.

    Args:
        config: must have the sections clips and that of the stage.
        num_clips: samples of an epoch.
        gpu: name in ``mimicmotion.training.estimate.needs.PEAK_TFLOPS``.
        name: of the stage that trains.

    Raises:
        InputError: sections are missing, or the GPU is not known.
    """
    from mimicmotion.training.estimate.needs import PEAK_TFLOPS, describe, estimates, fitting_levels

    shape = training_shape(config, name)
    if gpu not in PEAK_TFLOPS:
        raise InputError(f"GPU {gpu!r} is not known; known are {', '.join(PEAK_TFLOPS)}")
    train: Any = config.stages[name]
    levels = estimates(shape)
    chosen = levels[shape.activation_checkpointing]
    text = describe(chosen, shape, num_steps(train, num_clips), train.batch, gpu, UTILISATION)
    return f"{text}\n\n{fitting_levels(levels, gpu)}"


def num_steps(train: Train, samples: float) -> int:
    """Optimiser steps of a run whose epochs have so many samples."""
    if train.steps is not None:
        return train.steps
    assert train.epochs is not None
    return max(1, round(train.epochs * samples / train.batch))


def training_shape(config: PipelineConfig, name: str) -> "Shape":
    """What one worker of a stage that trains computes at once.

    Raises:
        InputError: sections are missing.
    """
    from mimicmotion.training.estimate.needs import Shape

    clips, train = config.stages.get("clips"), config.stages.get(name)
    if not isinstance(clips, Clips) or not isinstance(train, Train):
        raise InputError(f"config {config.name}: a dry run of training needs the sections clips and {name}")
    runtime = train.runtime
    micro_batch = runtime.micro_batch or train.batch // runtime.workers
    return Shape(
        unet=network_config(train.base, "unet"),
        size_px=max(clips.sizes_px, key=lambda size: size[0] * size[1]),
        num_frames=clips.num_frames,
        micro_batch=micro_batch,
        accumulation_steps=train.batch // (runtime.workers * micro_batch),
        workers=runtime.workers,
        strategy=runtime.strategy,
        activation_checkpointing=runtime.activation_checkpointing,
        trained=train.trained,
        optimiser=train.optimiser,
        extra_passes=train.extra_passes,
    )


def sample_windows(clips: Clips, frames: float, fps: float) -> float:
    """Samples of an epoch from one video of so many frames."""
    if clips.windows == "random":
        return 1.0
    span = clips.span(fps)
    return max(0.0, (frames - span) // (clips.stride or span) + 1)


def network_config(base: Path, part: str) -> dict[str, Any]:
    """The config of a part of the base; empty, which stands for SVD's, while the base is not here yet."""
    path = base / part / "config.json"
    if not path.is_file():
        return {}
    config: dict[str, Any] = json.loads(path.read_text())
    return config


def published_samples(config: PipelineConfig) -> int | None:
    """Samples of an epoch of the clips that are published; None where none are."""
    try:
        clips = StageGraph(config).dataset("clips")
    except (InputError, StageError, WeightsError):  # none, or weights are still to be fetched
        return None
    return len({row.unit for row in kept_clips(clips, "train", "window")})

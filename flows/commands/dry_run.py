"""What training under a config will need, before any weight is downloaded.

mimicmotion stage train configs/paper.yaml --dry-run --clips 50000
"""

import json
from pathlib import Path
from typing import Any

from mimicmotion.errors import InputError
from stages.clip_rows import kept_clips
from stages.clips import Clips
from stages.engine.config import PipelineConfig
from stages.engine.plan import StageGraph
from stages.train import Train

UTILISATION = 0.35
"""Share of a GPU's peak that video networks of this kind reach, ours by choice; MLflow shows the real one."""


def training_needs(config: PipelineConfig, num_clips: int | None, gpu: str, name: str = "train") -> str:
    """Parameters, memory of each worker, steps, work and time, as text; builds it all at full size on meta.

    At the end stands which level of ``activation_checkpointing`` fits into the GPU.

    Args:
        config: must have the sections clips and that of the stage.
        num_clips: samples of an epoch; None asks the published dataset of the clips stage.
        gpu: name in ``mimicmotion.training.estimate.needs.PEAK_TFLOPS``.
        name: of the stage that trains.

    Raises:
        InputError: sections are missing, or the GPU is not known.
        StageError: the clips are not published and no number was given.
    """
    from mimicmotion.training.estimate.needs import PEAK_TFLOPS, Shape, describe, estimates, fitting_levels

    clips, train = config.stages.get("clips"), config.stages.get(name)
    if not isinstance(clips, Clips) or not isinstance(train, Train):
        raise InputError(f"config {config.name}: a dry run of training needs the sections clips and {name}")
    if gpu not in PEAK_TFLOPS:
        raise InputError(f"GPU {gpu!r} is not known; known are {', '.join(PEAK_TFLOPS)}")
    runtime = train.runtime
    micro_batch = runtime.micro_batch or train.batch // runtime.workers
    shape = Shape(
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
    steps = train.steps
    if steps is None:
        windows = _published_units(config) if num_clips is None else num_clips
        assert train.epochs is not None
        steps = max(1, round(train.epochs * windows / train.batch))
    levels = estimates(shape)
    chosen = levels[shape.activation_checkpointing]
    text = describe(chosen, shape, steps, train.batch, gpu, UTILISATION)
    return f"{text}\n\n{fitting_levels(levels, gpu)}"


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


def _published_units(config: PipelineConfig) -> int:
    return len({row.unit for row in kept_clips(StageGraph(config).dataset("clips"), "train", "window")})

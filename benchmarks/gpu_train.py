"""One optimiser step of training, as the ``train`` stage does it, on a GPU.

    python benchmarks/gpu_train.py             # 16 frames of 576x1024, SVD-XT's shape, bfloat16
    python benchmarks/gpu_train.py --small     # the same on a CPU, at a size that says nothing about speed

For every level of recomputed activations, from latents and from pixels, with and without compiling: seconds,
peak memory, counted operations, and model FLOPs utilisation: three times the operations of a forward pass,
over the time, over the rate of a matrix product measured in the same run. Beside the peak stands what
``--dry-run`` says. The step is ``mimicmotion.training.step``, hand loss, clipping, AdamW and average
included; guidance is drawn before it, as threads of the loader do, and timed for itself.
"""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_machine import (
    Machine,
    Row,
    arguments,
    largest_costs,
    measure,
    measure_machine,
    peak_gb,
    reset_peak,
    show,
)
from gpu_networks import make_networks

from mimicmotion.diffusion.memory import is_out_of_memory
from mimicmotion.pose.drawing import draw_pose
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.training.building import assemble
from mimicmotion.training.data.batch import Batch
from mimicmotion.training.data.hand_map import CELL_PX, confident_hands, hand_weight_map
from mimicmotion.training.distributed.group import World
from mimicmotion.training.estimate.needs import Estimate, Shape, estimate, training_flops
from mimicmotion.training.job import TrainingJob
from mimicmotion.training.settings import ActivationCheckpointing, TrainingRuntime, TrainingSettings
from mimicmotion.training.step import accumulate, clip, update
from mimicmotion.video.size import Size

LEVELS: tuple[ActivationCheckpointing, ...] = ("off", "selective", "layers", "blocks")
_STYLE = DrawingStyle()
_CARD_GB, _WORKERS = 40.0, 8


def make_job(recompute: ActivationCheckpointing, compiled: bool) -> TrainingJob:
    """Return a run of which one step is done; its files are not read."""
    nowhere = Path()
    settings = TrainingSettings(base=nowhere, steps=1, batch=1, validation_clips=0)
    runtime = TrainingRuntime(
        micro_batch=1, activation_checkpointing=recompute, compile=compiled, loader_threads=1
    )
    return TrainingJob(
        settings=settings, runtime=runtime, steps=1, clips=nowhere, test_clips=nowhere, state=nowhere
    )


def random_poses(frames: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints (frames, 133, 2) of a body-sized cloud with small hands, and confidences."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0.2, 0.8, (133, 2)) * size
    for hand, middle in ((slice(91, 112), (0.3, 0.4)), (slice(112, 133), (0.7, 0.4))):
        points[hand] = (rng.uniform(-0.03, 0.03, (21, 2)) + middle) * size
    moving = points + rng.normal(0, 2, (frames, 1, 2))
    return moving.astype(np.float32), np.full((frames, 133), 0.9, np.float32)


def draw_clip(frames: int, size: tuple[int, int]) -> np.ndarray:
    """Return the guidance of a clip, uint8 (frames, 3, height, width)."""
    points, confidences = random_poses(frames, size)
    pairs = zip(points, confidences, strict=True)
    return np.stack([draw_pose(one[None], sure[None], Size(*size), _STYLE) for one, sure in pairs])


def make_batch(frames: int, size: tuple[int, int], embedding: int, from_pixels: bool) -> Batch:
    """Return one sample as the loader gives it, with two confident hands in every frame."""
    width, height = size
    rng = np.random.default_rng(1)
    points, confidences = random_poses(frames, size)
    hands = points[:, 91:].reshape(frames, 2, 21, 2)
    boxes = np.concatenate([hands.min(2), hands.max(2)], -1)
    reliable = confident_hands(boxes, confidences[:, 91:].reshape(frames, 2, 21).min(2), 0.3)
    cells = (height // CELL_PX, width // CELL_PX)
    weights = torch.from_numpy(hand_weight_map(reliable, cells, 10))[None]
    latents = torch.from_numpy(rng.standard_normal((1, frames, 4, *cells), np.float32)).half()
    pictures = torch.from_numpy(rng.integers(0, 256, (1, frames, height, width, 3), np.uint8))
    return Batch(
        clip_ids=("random",),
        frames=pictures if from_pixels else None,
        latents=None if from_pixels else latents,
        image_embeds=None if from_pixels else torch.zeros(1, 1, embedding, dtype=torch.float16),
        poses=torch.from_numpy(draw_clip(frames, size))[None],
        hand_cells=weights > 1,
        hand_weights=weights,
        face_weights=torch.ones_like(weights),
        sigma=torch.tensor([2.0]),
        dropped=torch.tensor([False]),
        reference_noise=torch.zeros(1),
        noise=torch.from_numpy(rng.standard_normal(latents.shape, np.float32)),
        pixel_noise=None,
    )


def needs(
    unet: Any, size: tuple[int, int], frames: int, recompute: ActivationCheckpointing, workers: int
) -> Estimate:
    """Return what ``--dry-run`` says of this step, on that many workers that share by shards."""
    return estimate(
        Shape(
            unet=dict(unet.config), size_px=size, num_frames=frames, micro_batch=1, accumulation_steps=1,
            workers=workers, strategy="fsdp", activation_checkpointing=recompute, trained="all",
            optimiser="adamw",
        )
    )  # fmt: skip


class Case:
    """A network in training under one choice of memory and compiling."""

    def __init__(self, options: "Options", recompute: ActivationCheckpointing, compiled: bool) -> None:
        self.options, self.recompute = options, recompute
        self.job = make_job(recompute, compiled)
        self.world = World(0, 1, options.device)
        parts = make_networks(options.small, options.device)
        self.built = assemble(self.job, self.world, parts, cached=False)
        self.embedding = parts.unet.config.cross_attention_dim
        self.name = f"{recompute}{', compiled' if compiled else ''}"

    def step(self, batch: Batch) -> None:
        """Do one optimiser step."""
        if batch.frames is not None:
            batch.frames.add_(1)  # other pictures: on a CPU those that were encoded are remembered
        accumulate(self.built, batch, self.job, self.world, 0, 1)
        clip(self.built, self.job)
        update(self.built, self.job.settings.learning_rate, torch.zeros((), device=self.options.device))

    def row(self, machine: Machine, from_pixels: bool) -> Row:
        """Measure the step from pixels or from latents."""
        options = self.options
        batch = make_batch(options.frames, options.size, self.embedding, from_pixels)
        source = "pixels" if from_pixels else "latents"
        row = measure(
            f"step from {source}, recompute {self.name}",
            lambda: self.step(batch),
            machine,
            options.device,
            dtype="bfloat16",
            repeats=options.repeats,
        )
        if row.seconds is None:
            return row
        flops = training_flops(dict(self.built.network.unet.config), options.size, options.frames)
        row.extra["mfu"] = flops / row.seconds / (machine.matrix_tflops["bfloat16"] * 1e12)
        if not from_pixels and row.peak_gb is not None:
            said = needs(self.built.network.unet, options.size, options.frames, self.recompute, workers=1)
            row.extra["dry_run_gb"] = said.total / 1e9
            if options.device.type == "cuda":
                row.extra["dry_run_off_by"] = said.total / 1e9 / row.peak_gb - 1
        return row


class Options:
    """Sizes and device of the run."""

    def __init__(self) -> None:
        parser = arguments(__doc__, "gpu_train")
        parser.add_argument(
            "--no-compile", action="store_true", help="leave out what compiles, which takes minutes"
        )
        parsed = parser.parse_args()
        self.compiled = (False,) if parsed.no_compile else (False, True)
        self.small: bool = parsed.small
        self.device = torch.device(parsed.device)
        self.repeats: int = parsed.repeats
        self.out: Path = parsed.out
        self.size = (64, 128) if parsed.small else (576, 1024)
        self.frames = 4 if parsed.small else 16


def cases(options: Options, machine: Machine) -> tuple[list[Row], list[tuple[str, float]]]:
    """Return all rows of the step, and the largest costs of the choice that needs least memory."""
    rows, costs = list[Row](), list[tuple[str, float]]()
    for recompute in LEVELS:
        for compiled in options.compiled:
            try:
                reset_peak(options.device)
                case = Case(options, recompute, compiled)
                rows.append(case.row(machine, from_pixels=False))
                if not compiled:
                    rows.append(case.row(machine, from_pixels=True))
                if (
                    rows[-1].seconds is not None and recompute == LEVELS[-1]
                ):  # what needs least fits if any does
                    batch = make_batch(options.frames, options.size, case.embedding, from_pixels=False)
                    costs = largest_costs(lambda case=case, batch=batch: case.step(batch), options.device)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                rows.append(Row(f"recompute {recompute}", note="out of memory"))
            case = None
            gc.collect()
            if options.device.type == "cuda":
                torch.cuda.empty_cache()
    return rows, costs


def shard_lines(options: Options, measured: Sequence[Row]) -> list[Row]:
    """Return, for each level, what a card needs under eight-way sharding, by arithmetic.

    The measured peak of one worker, less what the dry run says one worker needs, plus what it says of one of
    eight.
    """
    unet = make_networks(options.small, torch.device("meta")).unet
    lines = []
    for recompute in LEVELS:
        one, eight = (
            needs(unet, options.size, options.frames, recompute, workers).total / 1e9
            for workers in (1, _WORKERS)
        )
        line = Row(f"one of {_WORKERS} workers, recompute {recompute}", peak_gb=eight)
        line.note = f"reckoned; {one:.1f} GB alone"
        name = f"step from latents, recompute {recompute}"
        peak = next((row.peak_gb for row in measured if row.part == name), None)
        if peak is not None and options.device.type == "cuda":
            line.peak_gb = peak - one + eight
            line.note = f"measured {peak:.1f} GB - {one:.1f} + {eight:.1f}"
        line.note += f"; fits {_CARD_GB:.0f} GB: {'yes' if (line.peak_gb or 0) < _CARD_GB else 'no'}"
        lines.append(line)
    return lines


def main() -> None:
    """Measure and print."""
    options = Options()
    machine = measure_machine(options.device, options.small)
    drawing = measure(
        "drawing the guidance of a clip",
        lambda: draw_clip(options.frames, options.size),
        machine,
        torch.device("cpu"),
        dtype="float32",
        repeats=options.repeats,
    )
    drawing.roofline, drawing.peak_gb = None, None
    rows, costs = cases(options, machine)
    show(machine, [drawing, *rows, *shard_lines(options, rows)], costs, options.out)
    print(f"peak at the end: {peak_gb(options.device):.2f} GB")


if __name__ == "__main__":
    main()

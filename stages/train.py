"""The train stage: UNet and PoseNet learn to follow poses; the averaged weights become a checkpoint folder.

    mimicmotion stage train configs/demo.yaml

The run itself is ``mimicmotion/training/loop.py``, on each worker. A run that was stopped or killed goes on
from its newest checkpoint when the stage is run again. Where the config has a ``latents`` section, latents
are read instead of pictures. On several machines the workspace must lie on a file system that all share.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from mimicmotion.errors import InputError, StageError
from mimicmotion.settings import Section
from stages.clip_rows import training_clips
from stages.engine.contract import Context, Dataset, DatasetStage, Report, Runtime

if TYPE_CHECKING:
    from mimicmotion.pose.drawing import DrawingStyle
    from mimicmotion.training.data.samples import Clip, Recipe
    from mimicmotion.training.plan import Plan

CHECKPOINT_FOLDER = "checkpoint"
TRAINING_FILE = "training.json"
CLIPS_FILE = "clips.jsonl"
TRAINED_SCHEMA = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("released", pa.string()),
        ("steps", pa.int64()),
        ("batch", pa.int64()),
        ("num_clips", pa.int64()),
        ("num_videos", pa.int64()),
        ("num_parameters", pa.int64()),
        ("num_trained_parameters", pa.int64()),
        ("validation_loss", pa.float64()),
    ]
)
"""One row per exported checkpoint: names of its diffusers folder and its released-form file."""


class Guidance(Section):
    """How poses are drawn."""

    canvas_short_side_px: int = Field(
        2160, ge=16, description="Short side of the canvas that is drawn on; it fixes the width of lines."
    )
    use_confidence: bool = Field(True, description="Brightness follows the confidence of each point.")
    keypoint_threshold: float = Field(0.3, ge=0, description="Body points at or below it are left out.")
    draw_body: bool = Field(True, description="Draw the body.")
    draw_hands: bool = Field(True, description="Draw the hands.")
    draw_face: bool = Field(True, description="Draw the face.")


class TrainRuntime(Runtime):
    """How training runs."""

    micro_batch: int | None = Field(
        None, ge=1, description="Samples of one worker computed at once; null takes all of its share."
    )
    sharing: Literal["replicate", "shard"] = Field(
        "replicate", description="Each worker holds the whole network (DDP), or a share of it (FSDP2)."
    )
    recompute: Literal["off", "layers", "blocks"] = Field(
        "off", description="Activations that are computed again in the backward pass, to save memory."
    )
    compile: bool = Field(False, description="Compile the network; slow to start, faster after.")
    loader_threads: int = Field(2, ge=1, description="Threads of each worker that make samples.")
    log_every: int = Field(10, ge=1, description="Optimiser steps between reports of numbers.")
    checkpoint_every: int = Field(500, ge=1, description="Optimiser steps between checkpoints.")
    keep: int = Field(2, ge=1, description="How many of the newest checkpoints are kept while training.")
    sample_every: int = Field(500, ge=1, description="Optimiser steps between validations with pictures.")
    sample_steps: int = Field(25, ge=1, description="Denoising steps of the pictures.")
    sample_guidance: float = Field(
        2.0, ge=0, description="Guidance scale of the pictures; 1 is a single pass."
    )


class Train(DatasetStage):
    """Trains on the kept windows and exports the moving average in diffusers layout."""

    name: ClassVar[str] = "train"
    version: ClassVar[int] = 3
    reads: ClassVar[tuple[str, ...]] = ("clips", "decode", "pose")
    optional_reads: ClassVar[tuple[str, ...]] = ("latents",)
    schema: ClassVar[pa.Schema] = TRAINED_SCHEMA
    one_process: ClassVar[bool] = False

    runtime: TrainRuntime = TrainRuntime()
    base: Path = Field(description="Folder of the pretrained pipeline in diffusers layout, e.g. SVD-XT 1.1.")
    init_from: Path | None = Field(
        None, description="Folder or released .pth file that UNet and PoseNet start from instead."
    )
    steps: int | None = Field(None, ge=1, description="Optimiser steps; or set epochs.")
    epochs: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="Passes over all videos, or with clips.windows: all over all windows; or set steps.",
    )
    batch: int = Field(8, ge=1, description="Samples per optimiser step, over all workers.")
    learning_rate: float = Field(1e-5, gt=0, le=1, description="Learning rate after the warm-up.")
    warmup_steps: int = Field(500, ge=0, description="Optimiser steps of linear warm-up.")
    weight_decay: float = Field(1e-2, ge=0, le=1, description="Weight decay of AdamW.")
    optimiser: Literal["adamw", "adamw_8bit"] = Field(
        "adamw", description="AdamW with moments in float32, or in eight bits (needs the package torchao)."
    )
    clip_norm: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    ema_decay: float = Field(0.9999, ge=0, lt=1, description="Decay of the moving average that is exported.")
    noise: Literal["svd", "cosine"] = Field("svd", description="Distribution of noise levels.")
    reference_noise: Literal["none", "fixed", "lognormal"] = Field(
        "none", description="Noise on the reference picture: none, 0.02, or exp of N(-3, 0.5)."
    )
    dropout: float = Field(
        0.1, ge=0, le=1, description="Share of samples without embedding, reference latents and pose."
    )
    hand_weight: float = Field(10.0, ge=1, le=1000, description="Loss weight in the box of a confident hand.")
    hand_threshold: float = Field(
        0.3, ge=0, description="A hand is reliable when all its 21 confidences exceed this."
    )
    face_weight: float = Field(
        1.0, ge=1, description="Loss weight in the box of a face whose 68 confidences exceed hand_threshold."
    )
    guidance: Guidance = Guidance()
    fps: float = Field(7.0, gt=0, description="Frames per second that the network is told.")
    motion_bucket: float = Field(
        127.0, ge=0, le=255, description="Amount of motion that the network is told."
    )
    trained: Literal["all", "attention", "temporal", "pose_net"] = Field(
        "all", description="Part of the UNet that trains; PoseNet always does."
    )
    precision: Literal["bfloat16", "float32"] = Field(
        "bfloat16", description="Arithmetic of the network; weights and optimiser stay in float32."
    )
    validation_clips: int = Field(
        4, ge=0, description="Val videos to validate on and to show, a window of each."
    )
    seed: int = Field(0, ge=0, description="Seed of order, noise and dropout.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("set either steps or epochs")
        share = self.runtime.workers * (self.runtime.micro_batch or 1)
        if self.batch % share:
            raise ValueError(
                f"batch must be a multiple of runtime.workers x runtime.micro_batch = {share}, "
                f"got {self.batch}"
            )
        return self

    def weight_files(self) -> dict[str, Path]:
        """The pretrained pipeline, and what is started from."""
        started = {} if self.init_from is None else {"init_from": self.init_from}
        return {"base": self.base, **started}

    def check(self) -> list[str]:
        """Name a package that is missing."""
        if self.optimiser != "adamw_8bit" or find_spec("torchao") is not None:
            return []
        return [
            "train.optimiser: adamw_8bit needs the package torchao, which is not installed: "
            "pip install -c constraints.txt -e '.[eight-bit]', or set it to adamw"
        ]

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        """Train and write the weights in both forms, the curves and the pictures; give the weights' row.

        Raises:
            StageError: training stopped; says at which step, with which clips, and whether it can go on.
            InputError: fields that do not fit the inputs.
        """
        from mimicmotion.training.distributed.stopping import signals_write
        from mimicmotion.training.loop import train

        if "latents" in inputs and self.reference_noise != "none":
            raise InputError(
                f"train.reference_noise is {self.reference_noise}, but stored latents know only clean "
                "references: set it to none, or remove the section latents to train from pictures"
            )
        plan = self._plan(inputs, context.state)
        plan.stop_request.unlink(missing_ok=True)
        with signals_write(plan.stop_request):
            context.launch(train, {"plan": plan, "report": context.report}, self.runtime)
        if not plan.result.is_dir():
            raise StageError(
                f"train: stopped before its {plan.steps} steps were done; the checkpoint is kept in "
                f"{plan.checkpoints}. Run the stage again to go on."
            )
        return self._exported(plan, folder, inputs)

    def _plan(self, inputs: Mapping[str, Dataset], state: Path) -> "Plan":
        """What the workers are told; lists of clips are written beside their checkpoints."""
        from mimicmotion.training.plan import Plan, Preview, write_clips

        clips, test_clips = training_clips(inputs)
        state.mkdir(parents=True, exist_ok=True)
        write_clips(state / CLIPS_FILE, clips)
        write_clips(state / "test_clips.jsonl", test_clips)
        runtime = self.runtime
        return Plan(
            clips=state / CLIPS_FILE,
            test_clips=state / "test_clips.jsonl",
            state=state,
            recipe=self._recipe(),
            steps=self.steps or self._steps(clips),
            preview=Preview(
                every=runtime.sample_every,
                clips=self.validation_clips,
                num_steps=runtime.sample_steps,
                guidance=runtime.sample_guidance,
            ),
            **{name: getattr(self, name) for name in _PLANNED},
            **{name: getattr(runtime, name) for name in _PLANNED_RUNTIME},
        )

    def _style(self) -> "DrawingStyle":
        from mimicmotion.pose.drawing import DrawingStyle

        return DrawingStyle(**self.guidance.model_dump())

    def _recipe(self) -> "Recipe":
        from mimicmotion.training.data.samples import Recipe

        return Recipe(
            style=self._style(),
            noise=self.noise,
            reference_noise=self.reference_noise,
            dropout=self.dropout,
            hand_weight=self.hand_weight,
            hand_threshold=self.hand_threshold,
            face_weight=self.face_weight,
            seed=self.seed,
        )

    def _steps(self, clips: "list[Clip]") -> int:
        from mimicmotion.training.data.samples import order_of

        assert self.epochs is not None
        return max(1, round(self.epochs * order_of(clips, self.batch, self.seed).steps_per_epoch))

    def _exported(self, plan: "Plan", folder: Path, inputs: Mapping[str, Dataset]) -> pa.Table:
        """Write the result of the run as a pipeline folder and a released file; give its row."""
        from mimicmotion.training.curves import publish_curves
        from mimicmotion.training.export import RELEASED_FILE, export, read_result
        from mimicmotion.training.plan import read_clips

        network, facts = read_result(plan)
        clips = read_clips(plan.clips)
        keys = {name: dataset.key for name, dataset in sorted(inputs.items())}
        training = {**self.training_facts(clips), "inputs": keys}
        export(network, plan.base, plan.recipe.style, folder, training)
        publish_curves(plan.recorded, folder)
        row = {
            "checkpoint": CHECKPOINT_FOLDER,
            "released": RELEASED_FILE,
            "num_clips": len(clips),
            "num_videos": len({clip.video for clip in clips}),
            **{name: facts[name] for name in TRAINED_SCHEMA.names if name in facts},
        }
        return pa.Table.from_pylist([row], schema=TRAINED_SCHEMA)

    def training_facts(self, clips: "Sequence[Clip]") -> dict[str, Any]:
        """What an exported checkpoint says of its training with these clips."""
        return {
            "sizes_px": sorted({clip.fit.target for clip in clips}),
            "num_frames": 1 + len(clips[0].frames),
            "window_fps": median(clip.fps for clip in clips),
            "fps": self.fps,
            "motion_bucket": self.motion_bucket,
            "config": self.model_dump(mode="json", exclude={"runtime", "base", "init_from"}),
        }

    def export_checkpoint(self, checkpoint: Path, folder: Path) -> int:
        """Write the averaged weights of any checkpoint of a run in both forms; returns its step.

        Args:
            checkpoint: folder ``step-NNNNNNNN``, as the run's log names it.
            folder: where the pipeline folder and the released file go.

        Raises:
            DataError: it is no checkpoint.
            InputError: the list of clips of its run is gone.
            WeightsError: it does not fit the base.
        """
        from mimicmotion.training.export import export, read_checkpoint
        from mimicmotion.training.plan import read_clips

        network, facts = read_checkpoint(checkpoint)
        clips = read_clips(checkpoint.parent.parent / CLIPS_FILE)
        training = {**self.training_facts(clips), "step": facts["step"]}
        export(network, self.base, self._style(), folder, training)
        return int(facts["step"])

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log the row, the curves and pictures, and what the checkpoint says of itself."""
        from mimicmotion.training.curves import CURVES_FILE, PICTURES_FOLDER, show_curves

        (item,), (row,) = dataset.ids, dataset.table().to_pylist()
        report.table("checkpoints", dataset.table())
        has_pictures = row["validation_loss"] is not None
        pictures = dataset.path(item, PICTURES_FOLDER) if has_pictures else None
        show_curves(dataset.path(item, CURVES_FILE), pictures, report)
        training = dataset.path(item, f"{CHECKPOINT_FOLDER}/{TRAINING_FILE}")
        report.text(TRAINING_FILE, training.read_text())


_PLANNED = (
    "base",
    "init_from",
    "fps",
    "motion_bucket",
    "batch",
    "learning_rate",
    "warmup_steps",
    "weight_decay",
    "optimiser",
    "clip_norm",
    "ema_decay",
    "trained",
    "precision",
)
_PLANNED_RUNTIME = (
    "checkpoint_every",
    "keep",
    "micro_batch",
    "sharing",
    "recompute",
    "compile",
    "loader_threads",
    "log_every",
)

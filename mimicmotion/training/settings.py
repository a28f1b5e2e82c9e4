"""The settings of training, each declared once: the stage inherits them beside what makes it a stage."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mimicmotion.pose.settings import ConfidenceSettings, DrawingStyle
from mimicmotion.settings import Section
from mimicmotion.video.settings import ReaderSettings

NoiseDistribution = Literal["svd", "cosine", "align_your_steps"]
ReferenceNoise = Literal["none", "fixed", "lognormal"]
Optimiser = Literal["adamw", "adamw_8bit"]
TrainedPart = Literal["all", "attention", "temporal", "pose_net"]
Precision = Literal["bfloat16", "float32"]
Strategy = Literal["ddp", "fsdp"]
ActivationCheckpointing = Literal["off", "selective", "layers", "blocks"]

FIXED_NOISE, LOG_NOISE, LOG_NOISE_SPREAD = 0.02, -3.0, 0.5
"""``reference_noise``: the standard deviation, or mean and deviation of its logarithm."""


class SampleSettings(ReaderSettings, ConfidenceSettings):
    """What a training sample is made of."""

    noise: NoiseDistribution = Field("svd", description="Distribution of noise levels.")
    reference_noise: ReferenceNoise = Field(
        "none", description="Noise on the reference picture: none, 0.02, or exp of N(-3, 0.5)."
    )
    dropout: float = Field(
        0.1, ge=0, le=1, description="Share of samples without embedding, reference latents and pose."
    )
    hand_weight: float = Field(10.0, ge=1, le=1000, description="Loss weight in the box of a confident hand.")
    hand_threshold: float = Field(
        0.3, ge=0, description="A hand is confident when all its 21 confidences exceed this."
    )
    face_weight: float = Field(
        1.0, ge=1, description="Loss weight in the box of a face whose 68 confidences exceed hand_threshold."
    )
    mask_loss: bool = Field(
        True, description="Cells of overlays and of further people cost nothing; off: they count like others."
    )
    mirror: float = Field(0.0, ge=0, le=1, description="Share of samples that are mirrored, poses as well.")
    misalign: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Most by which driving poses differ in size, place and lengths of limbs, as a share.",
    )
    drop_points: float = Field(
        0.0, ge=0, le=1, description="Share of the points of driving poses that are not drawn."
    )
    drawing: DrawingStyle = DrawingStyle()
    seed: int = Field(0, ge=0, description="Seed of order, noise and dropout.")


class TrainingSettings(SampleSettings):
    """What a training run learns from which start, and how fast."""

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
    optimiser: Optimiser = Field(
        "adamw", description="AdamW with moments in float32, or in eight bits (needs the package torchao)."
    )
    clip_norm: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    ema_decay: float = Field(0.9999, ge=0, lt=1, description="Decay of the moving average that is exported.")
    fps: float = Field(7.0, gt=0, description="Frames per second that the network is told.")
    motion_bucket: float = Field(
        127.0, ge=0, le=255, description="Amount of motion that the network is told."
    )
    trained: TrainedPart = Field("all", description="Part of the UNet that trains; PoseNet always does.")
    precision: Precision = Field(
        "bfloat16",
        description="Arithmetic of the network; weights and optimiser stay in float32. On a GPU, products "
        "of float32 are made in TF32.",
    )
    validation_clips: int = Field(
        4, ge=0, description="Val videos to validate on and to show, a window of each."
    )

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("set either steps or epochs")
        return self

    @property
    def told_noise(self) -> dict[str, float]:
        """The noise that references are to have from now on, typical of training's; empty for none."""
        typical = {"none": 0.0, "fixed": FIXED_NOISE, "lognormal": math.exp(LOG_NOISE)}[self.reference_noise]
        return {"noise_aug_strength": typical} if typical else {}

    @property
    def learnt(self) -> dict[str, Any]:
        """What whoever animates must do as training did: how poses are drawn, which rate is told."""
        return {
            **self.told_noise,
            "drawing": self.drawing.model_dump(mode="json"),
            "fps": self.fps,
            "motion_bucket": self.motion_bucket,
            "calibrated": self.calibration is not None,
        }

    @property
    def sampling(self) -> dict[str, Any]:
        """Fields of the sampler that the checkpoint asks for, by name; none where any will do."""
        return {}

    @property
    def extra_passes(self) -> int:
        """Forward passes for each sample besides the one that is trained."""
        return 0


class DistillationSettings(TrainingSettings):
    """How a student learns to do in few steps what its teacher, a trained model, does in many."""

    init_from: None = Field(None, description="Not to be set: the student starts as its teacher.")
    noise: NoiseDistribution = Field(
        "align_your_steps", description="Distribution of noise levels; the default is even in sampling time."
    )
    dropout: float = Field(
        0.0, ge=0, le=1, description="Share of samples without embedding, reference latents and pose."
    )
    num_steps: int = Field(4, ge=1, description="Denoising steps that the checkpoint asks for.")
    teacher_steps: int = Field(
        25, ge=2, description="Steps of the teacher's sampling run; the student learns to jump over them."
    )
    guidance_scale: float = Field(
        2.0, ge=0, le=100, description="The teacher's guidance, which the student learns; at most 1 for none."
    )

    @property
    def sampling(self) -> dict[str, Any]:
        """Few steps, on the levels that the student was trained for, and a single pass each."""
        return {"num_steps": self.num_steps, "schedule": "align_your_steps", "guidance_scale": 1.0}

    @property
    def extra_passes(self) -> int:
        """The teacher's one or two, and the student's for the target."""
        return 3 if self.guidance_scale > 1 else 2


def _word(value: object) -> object:
    """YAML reads the bare word ``off`` as false."""
    return "off" if value is False else value


class TrainingRuntime(Section):
    """How a training run is computed and watched; none of it changes what is learnt beyond rounding."""

    micro_batch: int | None = Field(
        None, ge=1, description="Samples of one worker computed at once; null takes all of its share."
    )
    strategy: Strategy = Field(
        "ddp", description="Each worker holds the whole network (ddp), or a share of it (fsdp, FSDP2)."
    )
    activation_checkpointing: Annotated[ActivationCheckpointing, BeforeValidator(_word)] = Field(
        "off", description="Activations that are computed again in the backward pass, to save memory."
    )
    compile: bool = Field(False, description="Compile the network; slow to start, faster after.")
    loader_threads: int = Field(2, ge=1, description="Threads of each worker that make samples.")
    log_every: int = Field(10, ge=1, description="Optimiser steps between reports of numbers.")
    checkpoint_every: int = Field(500, ge=1, description="Optimiser steps between checkpoints.")
    keep: int = Field(2, ge=1, description="How many of the newest checkpoints are kept while training.")
    sample_every: int = Field(500, ge=1, description="Optimiser steps between validations with pictures.")
    sample_steps: int = Field(25, ge=1, description="Denoising steps of the pictures.")
    sample_guidance_scale: float = Field(
        2.0, ge=0, description="Guidance scale of the pictures; 1 is a single pass."
    )

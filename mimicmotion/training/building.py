"""The parts of a run, built from its run: networks, optimiser, average."""

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mimicmotion.model.compiling import compile_blocks
from mimicmotion.model.embedding import embed_images
from mimicmotion.model.latents import decode_frames, encode_frames
from mimicmotion.model.svd import BLOCKS
from mimicmotion.model.weights import load_pipeline
from mimicmotion.training.data.batch import Encoders
from mimicmotion.training.data.remembered import Remembered
from mimicmotion.training.distillation import Teacher
from mimicmotion.training.distributed.group import World
from mimicmotion.training.distributed.parts import (
    CHECKPOINTED,
    checkpoint_activations,
    choose_trained,
    replicate,
    shard,
)
from mimicmotion.training.ema import MovingAverage
from mimicmotion.training.job import TrainingJob
from mimicmotion.training.network import PosedDenoiser
from mimicmotion.training.optimiser import make_optimiser
from mimicmotion.training.settings import DistillationSettings


@dataclass(frozen=True)
class Built:
    """What trains, and what helps.

    Attributes:
        network: UNet and PoseNet; parameters in float32.
        shared: the same as the loss sees it, wrapped for many workers where they replicate it.
        trained: the parameters that train.
        optimiser: AdamW over them.
        average: their moving average.
        encoders: the frozen networks, as functions.
        teacher: in distillation, what the network learns from.
    """

    network: PosedDenoiser
    shared: nn.Module
    trained: list[nn.Parameter]
    optimiser: torch.optim.Optimizer
    average: MovingAverage
    encoders: Encoders
    teacher: Teacher | None = None


class Parts(Protocol):
    """The networks of a pipeline; see ``MimicMotionPipeline``."""

    unet: Any
    pose_net: Any
    vae: Any
    image_encoder: Any
    feature_extractor: Any


def build(job: TrainingJob, world: World, cached: bool) -> Built:
    """Return the parts of a run on this worker, before any checkpoint is read.

    Args:
        job: the run.
        world: this worker and the others.
        cached: whether all clips bring latents, so that the frozen networks only work at validations and
            wait on the host in between.

    Raises:
        WeightsError: weights are missing or of another shape.
    """
    # A fresh PoseNet must be the same on every worker. It is made on the host; GPUs of others stay untouched.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.settings.seed)
        if job.settings.init_from is None:
            pipeline = load_pipeline(job.settings.base, new_pose_net=True)
        else:
            pipeline = load_pipeline(job.settings.init_from, base=job.settings.base)
    return assemble(job, world, pipeline, cached)


def assemble(job: TrainingJob, world: World, pipeline: Parts, cached: bool) -> Built:
    """Return the parts of a run made of these networks; see ``build``."""
    network = PosedDenoiser(pipeline.unet, pipeline.pose_net).float().to(world.device).train()
    teacher = _teacher(network, job, world)
    choose_trained(network, job.settings.trained)
    if job.runtime.compile:
        compile_blocks(network.unet, CHECKPOINTED[job.runtime.activation_checkpointing] or BLOCKS)
    checkpoint_activations(network, job.runtime.activation_checkpointing)
    shared: nn.Module = network
    if world.size > 1 and job.runtime.strategy == "fsdp":
        shard(network, half=job.settings.precision == "bfloat16")
    elif world.size > 1:
        shared = replicate(network, world)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return Built(
        network=network,
        shared=shared,
        trained=trained,
        optimiser=make_optimiser(
            job.settings.optimiser, trained, job.settings.learning_rate, job.settings.weight_decay
        ),
        average=MovingAverage(network, job.settings.ema_decay),
        encoders=_encoders(job, world.device, pipeline, cached),
        teacher=teacher,
    )


def _encoders(job: TrainingJob, device: torch.device, pipeline: Parts, cached: bool) -> Encoders:
    """The frozen networks; on a CPU they remember pictures, unless noise makes each one new."""
    encoders = encoders_of(
        pipeline.vae,
        pipeline.image_encoder,
        pipeline.feature_extractor,
        device,
        resident=not cached,
        half=device.type == "cuda" and job.settings.precision == "bfloat16",
    )
    if device.type != "cpu" or job.settings.reference_noise != "none":
        return encoders
    return replace(encoders, latents=Remembered(encoders.latents), embeddings=Remembered(encoders.embeddings))


def _teacher(network: PosedDenoiser, job: TrainingJob, world: World) -> Teacher | None:
    """The network as it starts, frozen; spread over the workers where the student is."""
    settings = job.settings
    if not isinstance(settings, DistillationSettings):
        return None
    frozen = copy.deepcopy(network).requires_grad_(False).eval()
    if job.runtime.compile:
        compile_blocks(frozen.unet)
    if world.size > 1 and job.runtime.strategy == "fsdp":
        shard(frozen, half=settings.precision == "bfloat16")
    return Teacher(frozen, settings.guidance_scale, settings.teacher_steps)


def autocast(job: TrainingJob, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which the network computes."""
    if job.settings.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@contextmanager
def products_in_tf32(job: TrainingJob, device: torch.device) -> Iterator[None]:
    """Let a GPU that trains in float32 multiply in TF32, as it convolves; a CPU has no such thing."""
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda" and job.settings.precision == "float32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def encoders_of(
    vae: Any,
    image_encoder: Any,
    feature_extractor: Any,
    device: torch.device,
    resident: bool = True,
    half: bool = False,
) -> Encoders:
    """Return the frozen networks as functions on a device.

    Args:
        vae: SVD's autoencoder.
        image_encoder: CLIP's picture tower.
        feature_extractor: its preprocessor.
        device: where they work.
        resident: whether they stay there; else each comes for its work and goes back to the host.
        half: hold and run them in half precision, as a GPU should.
    """
    if half:
        # SVD's VAE overflows in float16.
        vae.bfloat16()
        image_encoder.half()
    for module in (vae, image_encoder):
        module.requires_grad_(False).eval().to(device if resident else "cpu")

    @contextmanager
    def at_work(module: nn.Module) -> Iterator[None]:
        module.to(device)
        try:
            yield
        finally:
            module.to(device if resident else "cpu")

    def latents(pictures: Tensor) -> Tensor:
        with at_work(vae):
            return encode_frames(vae, pictures)

    def embeddings(pictures: Tensor) -> Tensor:
        with at_work(image_encoder):
            return embed_images(pictures, image_encoder, feature_extractor)

    def pictures(latents: Tensor) -> np.ndarray:
        with at_work(vae):
            return np.stack(list(decode_frames(vae, latents)))

    scale, channels = float(vae.config.scaling_factor), int(vae.config.latent_channels)
    return Encoders(latents, embeddings, pictures, scale, channels)

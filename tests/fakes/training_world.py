"""A training world small enough for seconds: moving squares with poses, and the smallest networks."""

import json
import os
import signal
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip import CLIPImageProcessorPil

from mimicmotion.model.pipeline import MimicMotionPipeline
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.training.data.samples import Clip
from mimicmotion.training.job import TrainingJob
from mimicmotion.training.loop import train
from mimicmotion.training.settings import TrainingRuntime, TrainingSettings
from mimicmotion.video.files import write_preview
from mimicmotion.video.framing import framing
from mimicmotion.video.size import Size

NUM_FRAMES = 14


def _person(x, y):
    rng = np.random.default_rng(5)
    keypoints = np.array([x, y]) + rng.uniform(-14, 14, (133, 2))
    keypoints[91:112] = np.array([x + 20, y]) + rng.uniform(-4, 4, (21, 2))
    confidences = np.full(133, 0.9)
    confidences[112:] = 0.1
    box = np.array([x - 20, y - 20, x + 25, y + 20])
    return Person(box.astype(np.float32), 1.0, keypoints.astype(np.float32), confidences.astype(np.float32))


def make_clip(folder, name, size, seed, frames=(2, 4, 6), references=(0, 9, 13), target=(64, 64)):
    width, height = size
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    pictures, people = [], []
    for t in range(NUM_FRAMES):
        x, y = width // 3 + 2 * t, height // 2 + round(6 * np.sin(t + seed))
        picture = np.full((height, width, 3), colours[0], np.uint8)
        picture[y - 8 : y + 8, x - 8 : x + 8] = colours[1]
        pictures.append(picture)
        people.append([(0, _person(x, y))])
    write_preview(folder / f"{name}.mp4", pictures, 12)
    info = PosesInfo(
        video_id=name, width_px=width, height_px=height, fps=12.0, num_frames=NUM_FRAMES, models={}
    )
    pq.write_table(poses_table(info, people), folder / f"{name}.parquet")
    return Clip(
        clip_id=f"{name}-clip",
        unit=f"{name}-clip",
        video=folder / f"{name}.mp4",
        poses=folder / f"{name}.parquet",
        latents=None,
        frames=frames,
        references=references,
        video_frames=NUM_FRAMES,
        num_windows=1,
        reference_distance=1,
        fit=framing(Size(*size), [Size(*target)]),
        fps=12.0,
    )


def make_pipeline(width=32):
    """A pipeline; its norms have 32 groups, so at width 32 some biases have no gradient but rounding."""
    torch.manual_seed(0)
    unet = PoseUNet(
        sample_size=8,
        in_channels=16,
        out_channels=8,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=(width, width),
        layers_per_block=1,
        cross_attention_dim=16,
        num_attention_heads=2,
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=48,
    )
    pose_net = PoseNet(block_out_channels=(8, 8, 8, 8), out_channels=width)
    torch.nn.init.normal_(pose_net.final_proj.weight, std=0.1)
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=8,  # not SVD's 4: no code may take those for granted
    )
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
            projection_dim=16,
        )
    )
    return MimicMotionPipeline(
        vae=vae,
        image_encoder=encoder,
        feature_extractor=CLIPImageProcessorPil(),
        unet=unet,
        pose_net=pose_net,
    )


class RecordedReport:
    """A report that keeps what it was told."""

    def __init__(self):
        self.values: dict[str, list[tuple[int, float]]] = {}
        self.images: list[tuple[str, tuple[int, ...], int | None]] = []
        self.files: list[tuple[str, str, int]] = []
        self.machines: list[str] = []
        self.texts: dict[str, str] = {}
        self.tables: dict[str, int] = {}

    def metrics(self, values, step=0):
        for name, value in values.items():
            self.values.setdefault(name, []).append((step, value))

    def image(self, name, image, step=None):
        assert image.dtype == np.uint8
        self.images.append((name, image.shape, step))

    def file(self, path, folder=""):
        self.files.append((path.name, folder, path.stat().st_size))

    def watched(self, machine=""):
        self.machines.append(machine)
        return nullcontext()

    def text(self, name, text):
        self.texts[name] = text

    def table(self, name, table):
        self.tables[name] = table.num_rows


class FileReport:
    """A report that any process can write to: a line of JSON for each call with numbers."""

    def __init__(self, path):
        self.path = path

    def metrics(self, values, step=0):
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, "pid": os.getpid(), **values}) + "\n")

    def image(self, name, image, step=None):
        pass

    def file(self, path, folder=""):
        pass

    def watched(self, machine=""):
        return nullcontext()

    def lines(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def train_and_be_killed(arguments):
    """A training loop whose second worker is killed, once, as soon as there is a checkpoint."""
    marker = Path(arguments["killed"])

    def kill(checkpoints):
        while not list(checkpoints.glob("step-*/facts.json")):
            time.sleep(0.002)
        marker.write_text("once")
        os.kill(os.getpid(), signal.SIGKILL)

    if torch.distributed.get_rank() == 1 and not marker.exists():
        threading.Thread(target=kill, args=(arguments["job"].checkpoints,), daemon=True).start()
    train(arguments)


def changed(job: TrainingJob, **values: Any) -> TrainingJob:
    """The same run with other values, wherever each of them belongs."""
    own = {name: values.pop(name) for name in ("steps", "state", "clips", "test_clips") if name in values}
    settings = {name: value for name, value in values.items() if name in TrainingSettings.model_fields}
    runtime = {name: value for name, value in values.items() if name not in settings}
    assert runtime.keys() <= TrainingRuntime.model_fields.keys()
    return replace(
        job,
        settings=job.settings.model_copy(update=settings),
        runtime=job.runtime.model_copy(update=runtime),
        **own,
    )

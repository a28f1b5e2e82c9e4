"""A training world small enough for seconds: two moving squares with poses, and the smallest networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip import CLIPImageProcessorPil

from mimicmotion.guidance.drawing import GuidanceStyle
from mimicmotion.model.pipeline import MimicMotionPipeline
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.training.plan import Plan, Preview, write_clips
from mimicmotion.training.samples import Clip, Recipe
from mimicmotion.video.files import write_preview

NUM_FRAMES = 14


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """One thread: small networks gain nothing from more, and lose much where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _person(x, y):
    rng = np.random.default_rng(5)
    keypoints = np.array([x, y]) + rng.uniform(-14, 14, (133, 2))
    keypoints[91:112] = np.array([x + 20, y]) + rng.uniform(-4, 4, (21, 2))
    confidences = np.full(133, 0.9)
    confidences[112:] = 0.1
    box = np.array([x - 20, y - 20, x + 25, y + 20])
    return Person(box.astype(np.float32), 1.0, keypoints.astype(np.float32), confidences.astype(np.float32))


def make_clip(folder, name, size, seed, frames=(2, 4, 6), references=(0, 9, 13)):
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
        video=folder / f"{name}.mp4",
        poses=folder / f"{name}.parquet",
        latents=None,
        frames=frames,
        references=references,
        video_frames=NUM_FRAMES,
        size_px=size,
    )


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> list[Clip]:
    """Two clips of two videos of one shape."""
    folder = tmp_path_factory.mktemp("videos")
    return [make_clip(folder, f"video{n}", (80, 80), n) for n in range(2)]


@pytest.fixture(scope="session")
def wide_clip(tmp_path_factory) -> Clip:
    """A clip of a video of another shape."""
    return make_clip(tmp_path_factory.mktemp("wide"), "wide", (128, 64), 7)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(
        sizes_px=((64, 64),),
        style=GuidanceStyle(canvas_short_side_px=480),
        noise="svd",
        reference_noise="none",
        dropout=0.1,
        hand_weight=10.0,
        hand_threshold=0.3,
        seed=3,
    )


def make_pipeline():
    torch.manual_seed(0)
    unet = PoseUNet(
        sample_size=8,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=(32, 32),
        layers_per_block=1,
        cross_attention_dim=16,
        num_attention_heads=2,
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=48,
    )
    pose_net = PoseNet(block_out_channels=(8, 8, 8, 8), out_channels=32)
    torch.nn.init.normal_(pose_net.final_proj.weight, std=0.1)
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
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


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """Folder of the smallest pipeline."""
    folder = tmp_path_factory.mktemp("base")
    make_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def plan(tmp_path: Path, base: Path, clips: list[Clip], recipe: Recipe) -> Plan:
    """A run of a few steps on one worker, in float32."""
    write_clips(tmp_path / "clips.jsonl", clips)
    write_clips(tmp_path / "test.jsonl", [replace(clips[0], references=(0,))])
    return Plan(
        base=base,
        init_from=None,
        clips=tmp_path / "clips.jsonl",
        test_clips=tmp_path / "test.jsonl",
        state=tmp_path / "state",
        recipe=recipe,
        fps=7,
        motion_bucket=127,
        steps=4,
        batch=2,
        learning_rate=1e-3,
        warmup_steps=2,
        weight_decay=1e-2,
        clip_norm=1.0,
        ema_decay=0.9,
        trained="all",
        precision="float32",
        preview=Preview(every=100, clips=0, num_steps=2, guidance=1.0),
        checkpoint_every=100,
        keep=2,
        micro_batch=None,
        sharing="replicate",
        recompute="off",
        compile=False,
        loader_threads=2,
        log_every=1,
    )


class RecordedReport:
    """A report that keeps what it was told."""

    def __init__(self):
        self.values: dict[str, list[tuple[int, float]]] = {}
        self.images: list[tuple[str, tuple[int, ...], int | None]] = []
        self.files: list[tuple[str, str, int]] = []

    def metrics(self, values, step=0):
        for name, value in values.items():
            self.values.setdefault(name, []).append((step, value))

    def image(self, name, image, step=None):
        assert image.dtype == np.uint8
        self.images.append((name, image.shape, step))

    def file(self, path, folder=""):
        self.files.append((path.name, folder, path.stat().st_size))


@pytest.fixture
def report() -> RecordedReport:
    return RecordedReport()


@pytest.fixture
def second_report() -> RecordedReport:
    return RecordedReport()

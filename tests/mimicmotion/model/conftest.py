"""Small networks for the tests of this folder."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip import CLIPImageProcessorPil

from mimicmotion.model.pipeline import MimicMotionPipeline
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet


def fill_by_name(module: nn.Module, prefix: str, seed: int = 0) -> None:
    """Give weights that follow from parameter names; see tests/golden/README.md."""
    state = module.state_dict()
    for name, value in state.items():
        if name.endswith("position_ids"):
            continue
        generator = np.random.default_rng([seed, zlib.crc32((prefix + name).encode())])
        a = generator.standard_normal(tuple(value.shape)).astype(np.float32)
        if value.ndim >= 2:
            a *= np.float32(0.7 / np.sqrt(np.prod(value.shape[1:])))
        elif name.endswith("weight"):
            a = 1 + np.float32(0.1) * a
        else:
            a *= np.float32(0.1)
        state[name] = torch.from_numpy(a)
    module.load_state_dict(state)


@pytest.fixture(scope="session")
def fill() -> Callable[[nn.Module, str], None]:
    """What gives a network the weights of the golden vectors."""
    return fill_by_name


@pytest.fixture(scope="session")
def tiny_config() -> dict:
    """Config of the smallest UNet with attention."""
    return {
        "sample_size": 8,
        "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        "block_out_channels": (32, 32),
        "layers_per_block": 1,
        "cross_attention_dim": 16,
        "num_attention_heads": 2,
        "addition_time_embed_dim": 16,
        "projection_class_embeddings_input_dim": 48,
    }


@pytest.fixture(scope="module")
def tiny(tiny_config: dict) -> PoseUNet:
    torch.manual_seed(0)
    return PoseUNet(**tiny_config).eval()


def make_pipeline(unet: dict, vae: dict, image_encoder: dict) -> MimicMotionPipeline:
    """Return a pipeline whose weights follow from their names."""
    parts = {
        "unet": PoseUNet(**unet),
        "pose_net": PoseNet(out_channels=unet["block_out_channels"][0]),
        "vae": AutoencoderKLTemporalDecoder(**vae),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**image_encoder)),
    }
    for name, part in parts.items():
        fill_by_name(part.eval(), f"{name}.")
    return MimicMotionPipeline(feature_extractor=CLIPImageProcessorPil(), **parts)


@pytest.fixture(scope="session")
def released(golden: Path) -> SimpleNamespace:
    """The sampler's golden vectors: their settings, the arrays, and a pipeline with their weights."""
    settings = json.loads((golden / "sampler.json").read_text())
    with np.load(golden / "sampler.npz") as file:
        vectors = {name: torch.from_numpy(file[name]) for name in file}
    pipeline = make_pipeline(settings["unet"], settings["vae"], settings["image_encoder"])
    return SimpleNamespace(settings=settings, pipeline=pipeline, **vectors)


@pytest.fixture
def small_pipeline(tiny_config: dict) -> MimicMotionPipeline:
    """A pipeline of the smallest parts, for pictures with sides divisible by 4."""
    vae = {
        "block_out_channels": (32, 32, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "layers_per_block": 1,
        "latent_channels": 4,
    }
    encoder = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
        "projection_dim": 16,
    }
    pipeline = make_pipeline(tiny_config, vae, encoder)
    pipeline.pose_net = PoseNet(block_out_channels=(8, 8, 8), out_channels=32)
    fill_by_name(pipeline.pose_net, "pose_net.")
    return pipeline

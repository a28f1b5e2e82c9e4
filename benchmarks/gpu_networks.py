"""Networks with random weights for the ``gpu_*.py`` benchmarks: SVD-XT's shape, or small ones for a CPU."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig

from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.svd import ImageEncoder, Vae
from mimicmotion.model.unet import PoseUNet

CLIP_MEAN_STD = SimpleNamespace(
    image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711]
)
"""What is used of CLIP's preprocessor."""

_SMALL_UNET: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    "layers_per_block": 1,
    "num_attention_heads": (2, 2),
    "cross_attention_dim": 32,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
}
_LARGE_VAE: dict[str, Any] = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
_SMALL_VAE: dict[str, Any] = {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
# SVD's image encoder is CLIP ViT-H/14.
_LARGE_CLIP: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}
_SMALL_CLIP: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "patch_size": 56,
    "projection_dim": 32,
}


@dataclass
class Networks:
    """The parts of a pipeline, as ``mimicmotion.training.building.assemble`` takes them."""

    unet: PoseUNet
    pose_net: PoseNet
    vae: Vae
    image_encoder: ImageEncoder
    feature_extractor: Any


def make_networks(small: bool, device: torch.device, seed: int = 0) -> Networks:
    """Return networks in float32 on the device; PoseNet's last layer is not zero, as after training."""
    torch.manual_seed(seed)
    with device:
        unet = PoseUNet(**_SMALL_UNET) if small else PoseUNet()
        pose_net = PoseNet(out_channels=unet.config.block_out_channels[0])
        vae = Vae(
            down_block_types=("DownEncoderBlock2D",) * 4,
            latent_channels=4,
            **(_SMALL_VAE if small else _LARGE_VAE),
        )
        clip = ImageEncoder(CLIPVisionConfig(**(_SMALL_CLIP if small else _LARGE_CLIP)))
    nn.init.normal_(pose_net.final_proj.weight, std=0.02)
    parts = [part.to(device).eval() for part in (unet, pose_net, vae, clip)]
    return Networks(*parts, CLIP_MEAN_STD)

"""A known ranking: what a metric should see, it sees; a stronger fault scores worse."""

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mimicmotion.metrics.backbones.features import load_backbone
from mimicmotion.metrics.backbones.small_video_net import SmallVideoNet
from mimicmotion.metrics.flicker import flicker
from mimicmotion.metrics.frechet import FeatureStatistics, frechet_distance
from mimicmotion.metrics.image import capped, l1, psnr, ssim
from mimicmotion.metrics.scores import METRICS as SHOWN


def moving_square(num_frames=24, seed=0):
    rng = np.random.default_rng(seed)
    background = cv2.resize(rng.integers(0, 256, (12, 8, 3)).astype(np.uint8), (64, 96))
    video = np.repeat(background[None], num_frames, axis=0)
    for i, frame in enumerate(video):
        cv2.rectangle(frame, (10 + i, 30 + i), (26 + i, 52 + i), (250, 240, 30), -1)
    return video


def blurred(video, sigma):
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in video])


def noisy(video, sigma):
    noise = np.random.default_rng(1).normal(0, sigma, video.shape)
    return np.clip(video + noise, 0, 255).astype(np.uint8)


def dropped(video, every):
    """Frames that were lost are filled with the one before, as a stuttering video shows."""
    return video[[i - 1 if i % every == every - 1 else i for i in range(len(video))]]


FAULTS = [(blurred, 1.0, 3.0), (noisy, 5.0, 25.0), (dropped, 8, 3)]
METRICS = {
    "psnr": lambda a, b: -capped(psnr(a, b)).mean(),
    "ssim": lambda a, b: -ssim(a, b).mean(),
    "l1": lambda a, b: l1(a, b).mean(),
    "flicker": lambda a, b: flicker(a, b).mean(),
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(("fault", "light", "strong"), FAULTS, ids=["blur", "noise", "frame drop"])
def test_frame_metrics_rank_faults(name, fault, light, strong):
    true = moving_square()
    scores = [METRICS[name](true, video) for video in (true, fault(true, light), fault(true, strong))]
    assert scores[0] < scores[1] < scores[2]


def test_video_distance_ranks_faults(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    save_file(SmallVideoNet().state_dict(), path)
    backbone = load_backbone("fvd_small", path, torch.device("cpu"), batch_size=32)

    def statistics(change):
        merged = FeatureStatistics.of(np.zeros((0, 64)))
        for seed in range(3):
            merged = merged.merged(
                FeatureStatistics.of(backbone.features(change(moving_square(seed=seed)), 8))
            )
        return merged

    true = statistics(lambda video: video)
    for fault, light, strong in FAULTS:
        near = frechet_distance(true, statistics(lambda v, f=fault, s=light: f(v, s)))
        far = frechet_distance(true, statistics(lambda v, f=fault, s=strong: f(v, s)))
        assert 0 < near < far, fault.__name__


@pytest.fixture(scope="module")
def world():
    """Summary by (metric, fault) of two dancers of the toy world."""
    from mimicmotion.synthetic.faults import score_faults

    scores = score_faults(range(900_000, 900_002), 12)
    return {(score.metric, score.method): score.value for score in scores if score.clip_id == "summary"}


SEEN_BY = {
    "blur, light": ("psnr", "ssim", "l1", "fvd_small", "flicker", "hand_psnr", "hand_ssim"),
    "noise, light": ("psnr", "ssim", "l1", "fvd_small", "flicker", "hand_psnr", "hand_ssim"),
    "1 frame of 8 lost": ("psnr", "ssim", "l1", "fvd_small", "flicker", "hand_psnr", "hand_ssim"),
    "hands erased": ("psnr", "fvd_small", "hand_psnr", "hand_ssim", "pose_error_hands", "pose_found_hands"),
    "another dancer": ("psnr", "ssim", "l1", "fvd_small", "pose_error_body", "pose_error_face"),
}


@pytest.mark.parametrize("fault", SEEN_BY)
def test_faults_in_the_embedded_world_are_seen(world, fault):
    for metric in SEEN_BY[fault]:
        better = 1 if SHOWN[metric].higher_is_better else -1
        assert better * world[metric, fault] < better * world[metric, "truth"], metric


@pytest.mark.parametrize(
    ("light", "strong"),
    [
        ("blur, light", "blur, strong"),
        ("noise, light", "noise, strong"),
        ("1 frame of 8 lost", "1 frame of 3 lost"),
    ],
)
def test_stronger_faults_score_worse_in_the_embedded_world(world, light, strong):
    for metric in ("psnr", "ssim", "l1", "fvd_small", "flicker", "hand_psnr", "hand_ssim"):
        better = 1 if SHOWN[metric].higher_is_better else -1
        assert better * world[metric, strong] < better * world[metric, light], metric


def test_erased_hands_are_seen_where_hands_are_measured(world):
    """Over the whole picture a strong blur looks as bad; in the hands, erasing them is far worse."""
    assert world["ssim", "hands erased"] > world["ssim", "blur, strong"]
    assert world["hand_ssim", "hands erased"] < 0.5 * world["hand_ssim", "blur, strong"]
    assert world["pose_found_hands", "hands erased"] < 0.8 * world["pose_found_hands", "truth"]
    assert world["pose_found_body", "hands erased"] > 0.95

"""The shipped small models keep their bars on dancers they never saw, judged on a few films."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder

from mimicmotion.animation.driving import reference_pose
from mimicmotion.errors import InputError
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet
from mimicmotion.pose.models.detector import PersonDetector
from mimicmotion.pose.models.estimator import configured_estimator
from mimicmotion.pose.models.simcc import WholeBodyModel
from mimicmotion.synthetic.render import Visibility
from mimicmotion.synthetic.trainers.detector import person_boxes
from mimicmotion.synthetic.world import HEIGHT, WIDTH, film
from mimicmotion.video.size import Size
from stages.engine.config import load_config

WEIGHTS = Path(__file__).resolve().parents[3] / "mimicmotion" / "synthetic" / "weights"
SEEDS = range(950_000, 950_060)


@pytest.fixture(scope="module")
def films():
    return [film(seed, 2, occluded=0.4) for seed in SEEDS]


def test_weights_are_small() -> None:
    total = sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file())
    assert total <= 30e6


def test_detector_finds_the_dancer() -> None:
    detector = PersonDetector.open(WEIGHTS / "detector.onnx", cuda=False, allow_cpu=True)
    found = []
    for shown in (film(seed, 1) for seed in range(951_000, 951_100)):
        detections = detector.detect(detector.prepare(shown.frames), Size(WIDTH, HEIGHT))[0]
        truth = person_boxes(shown.keypoints, WIDTH, HEIGHT)[0]
        found.append(any(_iou(box, truth) > 0.5 for box in detections.boxes))
    assert np.mean(found) >= 0.98


def test_keypoints_and_confidences(films) -> None:
    model = WholeBodyModel.open(WEIGHTS / "wholebody.onnx", cuda=False, allow_cpu=True)
    errors, confidences, seen = [], [], []
    for shown in films:
        boxes = person_boxes(shown.keypoints, WIDTH, HEIGHT)
        crops = np.concatenate([model.prepare(f, b[None]) for f, b in zip(shown.frames, boxes, strict=True)])
        places, confidence = model.estimate(crops, boxes)
        height = (boxes[:, 3] - boxes[:, 1])[:, None]
        errors.append(np.linalg.norm(places - shown.keypoints, axis=-1) / height)
        confidences.append(confidence)
        seen.append(shown.visibility)
    error, confidence, kind = (np.concatenate(values) for values in (errors, confidences, seen))
    visible = kind == Visibility.VISIBLE
    assert np.median(error[:, :23][visible[:, :23]]) <= 0.03
    assert np.median(error[:, 91:][visible[:, 91:]]) <= 0.03
    mean = {k: confidence[kind == k].mean() for k in (0, 1, 2)}
    assert mean[Visibility.VISIBLE] - mean[Visibility.BEHIND_OCCLUDER] >= 0.3
    assert mean[Visibility.SELF_OCCLUDED] < mean[Visibility.VISIBLE]


def test_vae_reconstructs(films) -> None:
    vae = AutoencoderKLTemporalDecoder.from_pretrained(WEIGHTS / "base" / "vae", torch_dtype=torch.float32)
    values = []
    for shown in films[:8]:
        images = torch.from_numpy(shown.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            decoded = vae.decode(vae.encode(images).latent_dist.mode(), num_frames=2).sample.clamp(-1, 1)
        values.append(-10 * ((decoded - images) / 2).square().mean((1, 2, 3)).log10().mean().item())
    assert np.mean(values) >= 27


def test_base_network_has_the_files_form() -> None:
    unet = PoseUNet.from_pretrained(WEIGHTS / "base" / "unet", torch_dtype=torch.float32)
    pose_net = PoseNet.from_pretrained(WEIGHTS / "base" / "pose_net", torch_dtype=torch.float32)
    features = pose_net(torch.rand(1, 3, 64, 64))
    assert features.abs().max() > 0
    assert unet.config.in_channels == 2 * unet.config.out_channels


@pytest.mark.parametrize("ramps", [(0, 0, 0), ("x", "y", 0), ("y", "y", "y")])
def test_nobody_is_in_a_black_picture_or_a_ramp(ramps: tuple) -> None:
    size = 256
    down, across = np.mgrid[:size, :size].astype(np.uint8)
    picture = np.stack([{"x": across, "y": down, 0: 0 * down}[ramp] for ramp in ramps], axis=-1)
    models = configured_estimator(load_config("demo").stages["pose"], cuda=False, allow_cpu=True)
    with pytest.raises(InputError, match="nobody was found in the reference picture"):
        reference_pose(picture, models)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.maximum(high - low, 0))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))

"""Known faults put into films of rendered dancers, and what every metric makes of them.

``python -m mimicmotion.synthetic.faults`` prints the table; a metric that should see a fault and does not is
of no use on generated videos either.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from mimicmotion.metrics.backbones.features import load_backbone
from mimicmotion.metrics.hand_crops import crop_bounds
from mimicmotion.metrics.judging import Judge
from mimicmotion.metrics.protocols import PROTOCOLS
from mimicmotion.metrics.scores import SUMMARY, Score, summary_markdown
from mimicmotion.pose.hands import hand_boxes
from mimicmotion.pose.models.estimator import open_estimator
from mimicmotion.synthetic.render import Visibility
from mimicmotion.synthetic.world import Film, film
from mimicmotion.video.size import Size

WEIGHTS = Path(__file__).with_name("weights")
WINDOW = 8
_OTHER = 5_000
"""Added to a dancer's seed: somebody else, in another room."""


def blurred(frames: np.ndarray, sigma_px: float) -> np.ndarray:
    """Every frame behind a Gaussian blur."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma_px) for frame in frames])


def noisy(frames: np.ndarray, sigma: float) -> np.ndarray:
    """New noise on every frame, in levels of 0 to 255."""
    noise = np.random.default_rng(0).normal(0, sigma, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def dropped(frames: np.ndarray, every: int) -> np.ndarray:
    """Each ``every``-th frame lost and filled with the one before."""
    return frames[[i - 1 if i % every == every - 1 else i for i in range(len(frames))]]


def without_hands(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Both hands painted over with the mean colour around them.

    Args:
        frames: uint8 (n, h, w, 3).
        boxes: float (n, 2, 4) xyxy pixels; nan where there is no hand.
    """
    erased = frames.copy()
    for frame, hands in zip(erased, boxes, strict=True):
        for box in hands:
            bounds = crop_bounds(box, Size.of(frame))
            if bounds is not None:
                top, bottom, left, right = bounds
                edge = np.concatenate([frame[top, left:right], frame[bottom - 1, left:right]])
                frame[top:bottom, left:right] = edge.mean(axis=0)
    return erased


def faulty(one: Film, seed: int) -> dict[str, np.ndarray]:
    """The frames of a film by fault: light and strong where there are degrees."""
    frames = one.frames
    return {
        "truth": frames.copy(),
        "blur, light": blurred(frames, 0.7),
        "blur, strong": blurred(frames, 2.0),
        "noise, light": noisy(frames, 5),
        "noise, strong": noisy(frames, 20),
        "1 frame of 8 lost": dropped(frames, 8),
        "1 frame of 3 lost": dropped(frames, 3),
        "hands erased": without_hands(frames, _hand_boxes(one)),
        "another dancer": film(seed + _OTHER, len(frames), dance_seed=seed, truth=False).frames,
    }


def score_faults(seeds: range, num_frames: int, weights: Path = WEIGHTS) -> list[Score]:
    """Scores of every fault over some dancers; the name of a fault stands for the method."""
    device = torch.device("cpu")
    backbone = load_backbone("fvd_small", weights / "fvd_small.safetensors", device, 16)
    estimator = open_estimator(
        weights / "detector.onnx", weights / "wholebody.onnx", cuda=False, allow_cpu=True
    )
    judge = Judge(PROTOCOLS["native"].with_window(WINDOW), {"fvd_small": backbone}, estimator)
    for seed in seeds:
        one = film(seed, num_frames, occluded=0, blurred=0)
        judge.add(f"dancer-{seed}", one.frames, faulty(one, seed), (one.keypoints, confidences(one)))
    return judge.scores()


def _hand_boxes(one: Film) -> np.ndarray:
    return hand_boxes(one.keypoints, np.ones(one.visibility.shape, np.float32))


def confidences(one: Film) -> np.ndarray:
    """1 for each point that can be seen, else 0, float32 (n, 133)."""
    return (one.visibility == Visibility.VISIBLE).astype(np.float32)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What every metric makes of known faults.")
    parser.add_argument("--dancers", type=int, default=10)
    parser.add_argument("--frames", type=int, default=24)
    arguments = parser.parse_args()
    first = 900_000
    scores = score_faults(range(first, first + arguments.dancers), arguments.frames)
    rows = [score for score in scores if score.clip_id == SUMMARY]
    print(summary_markdown(rows, f"native-w{WINDOW}"))  # noqa: T201


if __name__ == "__main__":
    main()

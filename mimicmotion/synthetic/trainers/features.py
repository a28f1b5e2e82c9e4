"""Trains the small video network behind ``fvd_small`` on rendered dancers: a few minutes of one core.

    python -m mimicmotion.synthetic.trainers.features --out OUT.safetensors

The network sees windows of eight frames, clean or spoilt, and tells where body and fingers are in the first,
middle and last frame (pose and motion), what the dancer looks like, and how the window was spoilt. So its
features react to all that a generated video can get wrong. At the end they are whitened over such windows, so
that pose, look and faults weigh alike in a distance.
"""

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from mimicmotion.metrics.backbones.small_video_net import FEATURES, SIZE, WINDOW, SmallVideoNet
from mimicmotion.metrics.protocols import resize_frames
from mimicmotion.synthetic.world import HEIGHT, WIDTH, film

POINTS = (*range(17), 95, 99, 103, 107, 111, 116, 120, 124, 128, 132)
"""Body points and all finger tips."""
MOMENTS = (0, WINDOW // 2, WINDOW - 1)
LOOK_NUMBERS = 27
NUM_FAULTS = 3


@dataclass(frozen=True)
class Dancers:
    """Rendered films: frames uint8 (v, n, h, w, 3), points float32 (v, n, p, 2) in [0, 1], looks (v, 27)."""

    frames: np.ndarray
    points: np.ndarray
    looks: np.ndarray


def render(num_films: int, num_frames: int, first_seed: int) -> Dancers:
    """Films of different dancers at the size of the network."""
    frames, points, looks = [], [], []
    for seed in range(first_seed, first_seed + num_films):
        one = film(seed, num_frames, truth=False)
        frames.append(resize_frames(one.frames, SIZE))
        points.append(one.keypoints[:, POINTS] / np.array([WIDTH, HEIGHT], np.float32))
        looks.append(one.look)
    return Dancers(np.stack(frames), np.stack(points).astype(np.float32), np.stack(looks))


def spoil(windows: Tensor, strengths: Tensor, generator: torch.Generator) -> Tensor:
    """Windows (b, 3, t, h, w) with blur, noise and repeated frames of strengths (b, 3) in [0, 1]."""
    blurred = functional.avg_pool3d(windows, (1, 5, 5), stride=1, padding=(0, 2, 2), count_include_pad=False)
    blur, noise, stutter = (strengths[:, i, None, None, None, None] for i in range(NUM_FAULTS))
    windows = windows + blur * (blurred - windows)
    windows = windows + 0.3 * noise * torch.randn(windows.shape, generator=generator)
    late = torch.cat([windows[:, :, :1], windows[:, :, :-1]], dim=2)
    lost = torch.rand((len(windows), 1, windows.shape[2], 1, 1), generator=generator) < 0.5 * stutter
    return torch.where(lost, late, windows)


class Heads(nn.Module):
    """Linear read-outs of the features: points, look, faults."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Linear(FEATURES, len(MOMENTS) * len(POINTS) * 2)
        self.look = nn.Linear(FEATURES, LOOK_NUMBERS)
        self.faults = nn.Linear(FEATURES, NUM_FAULTS)


def draw_batch(dancers: Dancers, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Windows float (b, 3, t, h, w) in [-1, 1], points (b, m, p, 2), looks (b, 27)."""
    films = rng.integers(0, len(dancers.frames), size)
    starts = rng.integers(0, dancers.frames.shape[1] - WINDOW + 1, size)
    frames = np.stack([dancers.frames[f, s : s + WINDOW] for f, s in zip(films, starts, strict=True)])
    points = np.stack(
        [dancers.points[f, [s + m for m in MOMENTS]] for f, s in zip(films, starts, strict=True)]
    )
    windows = torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    return windows, torch.from_numpy(points), torch.from_numpy(dancers.looks[films]).float()


def draw_faults(size: int, generator: torch.Generator) -> Tensor:
    """Strengths (b, 3) of blur, noise and stutter: most are none, weak ones are more frequent than strong."""
    strengths = torch.rand((size, NUM_FAULTS), generator=generator) ** 1.5
    return strengths * (torch.rand(strengths.shape, generator=generator) < 0.4)


def losses(
    network: SmallVideoNet, heads: Heads, batch: tuple[Tensor, Tensor, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """Mean squared errors of the three read-outs, each scaled to about one at the start."""
    windows, points, looks = batch
    strengths = draw_faults(len(windows), generator)
    features = network(spoil(windows, strengths, generator))
    return {
        "points": 100 * functional.mse_loss(heads.points(features).view(points.shape), points - 0.5),
        "look": 4 * functional.mse_loss(heads.look(features), looks),
        "faults": 20 * functional.mse_loss(heads.faults(features), strengths),
    }


def train(dancers: Dancers, held_out: Dancers, num_steps: int, batch_size: int, seed: int) -> SmallVideoNet:
    """The trained network in evaluation mode; prints losses as it goes, at the end on held-out dancers."""
    torch.manual_seed(seed)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    network, heads = SmallVideoNet(), Heads()
    parameters = [*network.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / 30) * (0.52 + 0.48 * math.cos(math.pi * step / num_steps)),
    )
    start = time.monotonic()
    for step in range(num_steps):
        parts = losses(network, heads, draw_batch(dancers, batch_size, rng), generator)
        optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == num_steps - 1:
            shown = " ".join(f"{name} {value.item():.3f}" for name, value in parts.items())
            print(f"step {step} {shown} {time.monotonic() - start:.0f} s", flush=True)
    network.eval()
    with torch.no_grad():
        parts = losses(network, heads, draw_batch(held_out, 128, rng), generator)
        shown = " ".join(f"{name} {value.item():.3f}" for name, value in parts.items())
        print(f"held-out {shown}; point error {math.sqrt(parts['points'].item() / 100):.3f} of the picture")
        whiten(network, dancers, rng, generator)
    return network


def whiten(
    network: SmallVideoNet, dancers: Dancers, rng: np.random.Generator, generator: torch.Generator
) -> None:
    """Change the last layer so that features have mean 0 and covariance 1 over clean and spoilt windows."""
    rows = []
    for _ in range(64):
        windows, _, _ = draw_batch(dancers, 32, rng)
        rows.append(network(spoil(windows, draw_faults(len(windows), generator), generator)))
    features = torch.cat(rows).double()
    values, vectors = torch.linalg.eigh(torch.cov(features.T))
    # Directions that hardly vary are not blown up without bound.
    whitening = vectors / values.clamp(min=1e-3 * values[-1].item()).sqrt()
    weight, bias = network.project.weight.double(), network.project.bias.double()
    network.project.weight.copy_(whitening.T @ weight)
    network.project.bias.copy_(whitening.T @ (bias - features.mean(0)))


def main() -> None:
    """Train and save the weights in half precision."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--num-films", type=int, default=500)
    parser.add_argument("--num-steps", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    dancers = render(options.num_films, 20, first_seed=500_000)
    held_out = render(32, 20, first_seed=800_000)
    print(f"rendered {options.num_films} films in {time.monotonic() - start:.0f} s", flush=True)
    network = train(dancers, held_out, options.num_steps, options.batch_size, options.seed)
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

"""Trains the small whole-body model.

    python -m mimicmotion.synthetic.trainers.simcc .cache/corpus OUT.onnx

SimCC's form, as DWPose's file: crops (n, 3, 160, 120) in, ``simcc_x`` (n, 133, 240) and ``simcc_y``
(n, 133, 320) out. Where a point lies is learned apart from how well it can be seen: each vector has its
maximum at the place and, there, the visibility as its height, so that maxima are confidences worth the name.
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mimicmotion.pose.models.simcc import crop, crop_frame, decode, to_frame
from mimicmotion.synthetic.look import Occluder
from mimicmotion.synthetic.render import Visibility
from mimicmotion.synthetic.trainers.corpus import Corpus, open_corpus
from mimicmotion.synthetic.trainers.detector import person_boxes
from mimicmotion.video.size import Size

SIZE = Size(120, 160)
SPLIT, SPREAD_BINS = 2, 2.5
CONFIDENCE = np.array([1.0, 0.72, 0.20, 0.0], np.float32)
"""Confidence to learn by ``Visibility``; a blurred point loses up to 0.25."""


def _conv(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.SiLU())


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """x plus what two convolutions make of it."""
        return x + self.body(x)


class SmallSimcc(nn.Module):
    """Features at an eighth, context from a sixteenth, a map for each keypoint, two vectors from each map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv(3, 16, 2), _conv(16, 32, 2), _Residual(32), _conv(32, 64, 2), _Residual(64)
        )
        self.context = nn.Sequential(_conv(64, 96, 2), _Residual(96), nn.Conv2d(96, 64, 1))
        self.mix = nn.Sequential(_Residual(64), _conv(64, 96))
        self.maps = nn.Conv2d(96, 133, 1)
        cells = (SIZE.width_px // 8) * (SIZE.height_px // 8)
        self.shared = nn.Sequential(nn.LayerNorm(cells), nn.Linear(cells, 192), nn.GELU())
        self.x, self.y = (nn.Linear(192, side * SPLIT) for side in SIZE)
        self.visible = nn.Linear(192 + 2, 1)

    def logits(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the place over x (n, 133, 240) and y (n, 133, 320), and of the confidence (n, 133, 1)."""
        fine = self.stem(crops)
        wide = F.interpolate(self.context(fine), size=fine.shape[-2:], mode="nearest")
        maps = self.maps(self.mix(fine + wide)).flatten(2)
        shared = self.shared(maps)
        # The norm hides how strongly a map answers, which is what tells a hidden point.
        strength = torch.stack([maps.amax(-1), maps.std(-1)], -1)
        return 10 * self.x(shared), 10 * self.y(shared), self.visible(torch.cat([shared, strength], -1))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors over x (n, 133, 240) and y (n, 133, 320) of normalised crops (n, 3, 160, 120)."""
        x, y, visible = self.logits(crops)
        height = visible.sigmoid()
        return tuple(height * (v - v.amax(-1, keepdim=True)).exp() for v in (x, y))  # type: ignore[return-value]


def _sample(corpus: Corpus, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crop (3, h, w), its keypoints in crop pixels (133, 2) and target heights (133,)."""
    row, n = rng.integers(len(corpus.frames)), rng.integers(corpus.frames.shape[1])
    frame, points = corpus.frames[row, n], corpus.keypoints[row, n]
    heights = CONFIDENCE[corpus.visibility[row, n]] - 0.03 * np.minimum(corpus.blur_px[row, n], 8)
    box = person_boxes(points[None], frame.shape[1], frame.shape[0])[0]
    extent = box[2:] - box[:2]
    box = box + rng.normal(0, 0.05, 4) * np.tile(extent, 2)
    if rng.random() < 0.25:  # pictures made by a network are soft; lose no confidence over that
        frame = cv2.GaussianBlur(np.ascontiguousarray(frame), (0, 0), rng.uniform(0.4, 1.1))
    if rng.random() < 0.6:  # one more thing in the way, so that hidden points are often seen in training
        frame, heights = _hide(frame.copy(), points, heights, rng)
    centre, size = crop_frame(box, SIZE)
    inside = (points - centre) / size * np.array(SIZE) + np.array(SIZE) / 2
    heights[((inside < 0) | (inside >= np.array(SIZE))).any(1)] = 0
    return crop(frame, box, SIZE), inside, np.maximum(heights, 0)


def _hide(
    frame: np.ndarray, points: np.ndarray, heights: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The frame with a post or a box in front of the dancer, and the heights that are left."""
    thing = Occluder.sample(rng)
    corners = thing.corners(0.0, frame.shape[1], frame.shape[0])
    middle = points[rng.integers(133)] + rng.normal(0, 4, 2)
    shift = middle - corners.mean(0)
    corners = corners + (shift * [1, 0] if thing.height == 1 else shift)
    low, high = corners.min(0), corners.max(0)
    cv2.rectangle(frame, low.astype(int).tolist(), high.astype(int).tolist(), thing.colour, -1)
    hidden = ((points > low) & (points < high)).all(1)
    return frame, np.where(hidden, np.minimum(heights, CONFIDENCE[Visibility.BEHIND_OCCLUDER]), heights)


def simcc_loss(x: Tensor, y: Tensor, visible: Tensor, points: Tensor, heights: Tensor) -> Tensor:
    """Cross entropy of the place where a point lies in the crop, plus squared error of the confidence."""
    total = 20 * (visible[..., 0].sigmoid() - heights).square().mean()
    for axis, logits in enumerate((x, y)):
        away = torch.arange(logits.shape[-1]) - points[..., axis, None] * SPLIT
        place = torch.exp(-0.5 * (away / SPREAD_BINS) ** 2)
        place = place / place.sum(-1, keepdim=True).clamp(min=1e-6)
        entropy = -(place * F.log_softmax(logits, -1)).sum(-1)
        total = total + 0.4 * (entropy * heights).mean()
    return total


def batch(corpus: Corpus, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Crops (n, 3, h, w), keypoints (n, 133, 2) in crop pixels, heights (n, 133)."""
    crops, points, heights = (
        np.stack(v) for v in zip(*(_sample(corpus, rng) for _ in range(size)), strict=True)
    )
    return torch.from_numpy(crops), torch.from_numpy(points).float(), torch.from_numpy(heights).float()


@torch.no_grad()
def quality(model: nn.Module, corpus: Corpus) -> dict[str, float]:
    """Median error of visible points in shares of the box height, and mean confidence by visibility."""
    errors: dict[str, list[np.ndarray]] = {"body": [], "hands": [], "face": []}
    confidences: list[np.ndarray] = []
    for row in range(len(corpus.frames)):
        frames, points = corpus.frames[row, ::4], corpus.keypoints[row, ::4]
        boxes = person_boxes(points, frames.shape[2], frames.shape[1])
        crops = torch.from_numpy(np.stack([crop(f, b, SIZE) for f, b in zip(frames, boxes, strict=True)]))
        x, y = model.eval()(crops)
        places, confidence = decode(x.numpy(), y.numpy(), SIZE)
        error = (
            np.linalg.norm(to_frame(places, boxes, SIZE) - points, axis=-1)
            / (boxes[:, 3] - boxes[:, 1])[:, None]
        )
        seen = corpus.visibility[row, ::4] == Visibility.VISIBLE
        for name, part in (("body", slice(0, 23)), ("face", slice(23, 91)), ("hands", slice(91, 133))):
            errors[name].append(error[:, part][seen[:, part]])
        confidences.append(confidence)
    all_confidences, seen = np.stack(confidences), corpus.visibility[:, ::4]
    result = {f"median_error_{name}": float(np.median(np.concatenate(v))) for name, v in errors.items()}
    for kind in Visibility:
        result[f"confidence_{kind.name.lower()}"] = float(all_confidences[seen == kind].mean())
    return {name: round(value, 4) for name, value in result.items()}


def main() -> None:
    """Train and export; prints errors and confidences on held-out dancers."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2500)
    options = parser.parse_args()
    torch.manual_seed(0)
    rng, started = np.random.default_rng(0), time.time()
    corpus, held_out = open_corpus(options.corpus / "train"), open_corpus(options.corpus / "held_out")
    model = SmallSimcc()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=options.steps, pct_start=0.08)
    for step in range(options.steps):
        crops, points, heights = batch(corpus, rng, 24)
        with torch.autocast("cpu", torch.bfloat16):
            x, y, visible = model.train().logits(crops)
        loss = simcc_loss(x.float(), y.float(), visible.float(), points, heights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f} {time.time() - started:.0f} s", flush=True)
    print(
        json.dumps({**quality(model, held_out), "parameters": sum(p.numel() for p in model.parameters())}),
        flush=True,
    )
    outputs = ["simcc_x", "simcc_y"]
    torch.save(model.state_dict(), options.out.with_suffix(".pt"))
    torch.onnx.export(
        model.eval(), (torch.zeros(1, 3, *SIZE.shape),), options.out,
        input_names=["input"], output_names=outputs,
        dynamic_axes={name: {0: "batch"} for name in ("input", *outputs)}, opset_version=17, dynamo=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()

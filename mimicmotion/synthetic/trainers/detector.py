"""Trains the small person detector.

``python -m mimicmotion.synthetic.trainers.detector .cache/corpus OUT.onnx``

YOLOX's form: input (1, 3, s, s) RGB 0-255 letterboxed onto grey 114; output rows (cx, cy, w, h, objectness,
80 class scores), offsets in cells and log sizes still raw, for strides 8, 16 and 32.
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

from mimicmotion.synthetic.trainers.corpus import Corpus, open_corpus

SIZE, STRIDES, NUM_CLASSES = 128, (8, 16, 32), 80
PERSON = 0


def _conv(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.SiLU())


class SmallYolox(nn.Module):
    """Three scales, one box a cell, person only; the other 79 classes are given as zero scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 12, 2), _conv(12, 24, 2), _conv(24, 32, 2))
        self.down = nn.ModuleList([nn.Identity(), _conv(32, 48, 2), _conv(48, 64, 2)])
        self.mix = nn.ModuleList([_conv(32, 32), _conv(48, 48), nn.Sequential(_conv(64, 64), _conv(64, 64))])
        self.heads = nn.ModuleList([nn.Conv2d(c, 6, 1) for c in (32, 48, 64)])
        for head in self.heads:
            nn.init.constant_(head.bias[4:], -3.0)  # type: ignore[index]

    def forward(self, images: Tensor) -> Tensor:
        """Rows (n, cells, 85) of pictures (n, 3, s, s) in 0-255; scores are probabilities."""
        x = self.stem(images / 128 - 1)
        rows = []
        for down, mix, head in zip(self.down, self.mix, self.heads, strict=True):
            x = mix(down(x))
            out = head(x).flatten(2).transpose(1, 2)
            others = torch.zeros_like(out[..., :1]).expand(-1, -1, NUM_CLASSES - 1)
            rows.append(torch.cat([out[..., :4], out[..., 4:].sigmoid(), others], -1))
        return torch.cat(rows, 1)


def cells(size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Corner (cells, 2) and stride (cells, 1) of every row, in cells and pixels."""
    corners, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(size // stride), torch.arange(size // stride), indexing="ij")
        corners.append(torch.stack([x.flatten(), y.flatten()], 1))
        strides.append(torch.full((len(corners[-1]), 1), stride))
    return torch.cat(corners).float(), torch.cat(strides).float()


def detector_loss(rows: Tensor, boxes: Tensor, present: Tensor) -> Tensor:
    """Objectness of cells near the centre of the box, and 1 - IoU plus centre distance of their boxes.

    Args:
        rows: (n, cells, 85).
        boxes: true cx, cy, w, h in pixels (n, 4).
        present: whether there is a person (n,).
    """
    corner, stride = cells()
    centre = (rows[..., :2] + corner) * stride
    size = rows[..., 2:4].exp() * stride
    away = ((corner + 0.5) * stride - boxes[:, None, :2]).abs().amax(-1)
    mine = (away < 1.5 * stride[:, 0]) & present[:, None]
    iou = overlap(rows, boxes)
    offset = ((centre - boxes[:, None, :2]) / boxes[:, None, 2:]).abs().sum(-1)
    log_size = (size.log() - boxes[:, None, 2:].log()).abs().sum(-1)
    weight = mine.float()
    box_loss = ((1 - iou + offset + log_size) * weight).sum() / weight.sum().clamp(min=1)
    score = sum(F.binary_cross_entropy(rows[..., k], weight, reduction="sum") for k in (4, 5))
    return box_loss + score / weight.sum().clamp(min=1)


def person_boxes(keypoints: np.ndarray, width: int, height: int) -> np.ndarray:
    """Box xyxy (n, 4) around all points of each person, grown a little to hold hair and clothes."""
    low, high = keypoints.min(1), keypoints.max(1)
    size = high - low
    box = np.concatenate([low - size * [0.03, 0.07], high + size * [0.03, 0.02]], 1)
    return np.clip(box, 0, [width, height, width, height])


def _scene(corpus: Corpus, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
    """A random letterboxed picture (s, s, 3), its box, and whether it shows a person."""
    row, n = rng.integers(len(corpus.frames)), rng.integers(corpus.frames.shape[1])
    frame = corpus.frames[row, n]
    height, width = frame.shape[:2]
    box = person_boxes(corpus.keypoints[row, n : n + 1], width, height)[0]
    present = rng.random() > 0.2
    if not present:  # a strip of the room beside the dancer, stretched over the picture
        left, right = box[0], width - box[2]
        strip = frame[:, : int(left)] if left > right else frame[:, int(box[2]) :]
        frame = (
            cv2.resize(strip, (width, height)) if strip.shape[1] > 8 else frame[:10].repeat(20, 0)[:height]
        )
    scale = SIZE / max(height, width) * rng.uniform(0.55, 1.0)
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    canvas = np.full((SIZE, SIZE, 3), 114, np.uint8)
    dx = rng.integers(SIZE - small.shape[1] + 1) if rng.random() < 0.5 else 0
    dy = rng.integers(SIZE - small.shape[0] + 1) if rng.random() < 0.5 else 0
    canvas[dy : dy + small.shape[0], dx : dx + small.shape[1]] = small
    if rng.random() < 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 2.0))
    x0, y0, x1, y1 = box * scale + [dx, dy, dx, dy]
    return canvas, np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]), present


def batch(corpus: Corpus, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (n, 3, s, s) in 0-255, boxes (n, 4) cxcywh, presence (n,)."""
    images, boxes, present = zip(*(_scene(corpus, rng) for _ in range(size)), strict=True)
    pictures = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return pictures, torch.from_numpy(np.stack(boxes)).float(), torch.tensor(present)


def overlap(rows: Tensor, boxes: Tensor) -> Tensor:
    """IoU (n, cells) of every row's box with the true one, cx, cy, w, h (n, 4)."""
    corner, stride = cells()
    centre, size = (rows[..., :2] + corner) * stride, rows[..., 2:4].exp() * stride
    low = torch.maximum(centre - size / 2, (boxes[:, :2] - boxes[:, 2:] / 2)[:, None])
    high = torch.minimum(centre + size / 2, (boxes[:, :2] + boxes[:, 2:] / 2)[:, None])
    common = (high - low).clamp(min=0).prod(-1)
    return common / (size.prod(-1) + boxes[:, None, 2:].prod(-1) - common)


@torch.no_grad()
def quality(model: nn.Module, corpus: Corpus, num: int = 500) -> dict[str, float]:
    """Shares: people found (score > 0.3, IoU > 0.5), pictures with a box elsewhere, empty ones with a box."""
    images, boxes, present = batch(corpus, np.random.default_rng(5), num)
    rows = model.eval()(images)
    score, iou = rows[..., 4] * rows[..., 5], overlap(rows, boxes)
    sure = score > 0.3
    best = score.argmax(1)
    found = (score.amax(1) > 0.3) & (iou[torch.arange(num), best] > 0.5)
    elsewhere = (sure & (iou < 0.45)).any(1)
    result = {"found": found[present], "elsewhere": elsewhere[present], "false_alarms": sure.any(1)[~present]}
    return {name: round(value.float().mean().item(), 4) for name, value in result.items()}


def main() -> None:
    """Train and export; prints the share of held-out people found and of false alarms."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2200)
    options = parser.parse_args()
    torch.manual_seed(0)
    rng, started = np.random.default_rng(0), time.time()
    corpus, held_out = open_corpus(options.corpus / "train"), open_corpus(options.corpus / "held_out")
    model = SmallYolox()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=options.steps, pct_start=0.1)
    for step in range(options.steps):
        images, boxes, present = batch(corpus, rng, 32)
        loss = detector_loss(model.train()(images), boxes, present)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f} {time.time() - started:.0f} s", flush=True)
    result = quality(model, held_out)
    model.eval()
    torch.onnx.export(
        model, (torch.zeros(1, 3, SIZE, SIZE),), options.out, input_names=["images"], output_names=["output"],
        opset_version=17, dynamo=False,
    )  # fmt: skip
    print(json.dumps({**result, "parameters": sum(p.numel() for p in model.parameters())}))


if __name__ == "__main__":
    main()

"""Trains the small image encoder.

    python -m mimicmotion.synthetic.trainers.encoder .cache/corpus OUT_FOLDER

A CLIP vision model with projection in the small, that learns to name a dancer's look (colours, hair,
clothes). Its embedding is what the UNet attends to; the linear reader of the look is thrown away.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPImageProcessor, CLIPVisionConfig

from mimicmotion.model.svd import ImageEncoder
from mimicmotion.synthetic.trainers.corpus import Corpus, open_corpus

IMAGE_SIZE, EMBEDDING = 96, 64
NUM_COLOURS = 18
"""The first numbers of a look are colours; the rest are yes or no."""


def build_encoder() -> tuple[ImageEncoder, CLIPImageProcessor]:
    """The untrained encoder and the processor that goes with it."""
    config = CLIPVisionConfig(
        hidden_size=128, intermediate_size=320, projection_dim=EMBEDDING, num_hidden_layers=4,
        num_attention_heads=4, image_size=IMAGE_SIZE, patch_size=12,
    )  # fmt: skip
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return ImageEncoder(config), CLIPImageProcessor(size=size, crop_size=size)


def pixels(frames: np.ndarray, processor: CLIPImageProcessor) -> Tensor:
    """Normalised pictures (n, 3, s, s) of uint8 frames (n, h, w, 3)."""
    images = torch.from_numpy(frames.astype(np.float32) / 255).permute(0, 3, 1, 2)
    images = F.interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v)[:, None, None] for v in (processor.image_mean, processor.image_std))
    return (images - mean) / std


def look_loss(answer: Tensor, look: Tensor) -> Tensor:
    """Squared error of colours plus cross entropy of yes/no answers."""
    colours = (answer[:, :NUM_COLOURS] - look[:, :NUM_COLOURS]).square().mean()
    return 10 * colours + 0.2 * F.binary_cross_entropy_with_logits(
        answer[:, NUM_COLOURS:], look[:, NUM_COLOURS:]
    )


def _batch(corpus: Corpus, rng: np.random.Generator, size: int) -> tuple[np.ndarray, Tensor]:
    rows, times = rng.integers(len(corpus.frames), size=size), rng.integers(corpus.frames.shape[1], size=size)
    return corpus.frames[rows, times], torch.from_numpy(corpus.look[rows])


def main() -> None:
    """Train and save the encoder; prints the colour error on held-out dancers."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path, help="folder that gets image_encoder/ and feature_extractor/")
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    torch.manual_seed(0)
    rng, started = np.random.default_rng(0), time.time()
    corpus, held_out = open_corpus(options.corpus / "train"), open_corpus(options.corpus / "held_out")
    model, processor = build_encoder()
    reader = nn.Linear(EMBEDDING, corpus.look.shape[1])
    parameters = [*model.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=options.steps, pct_start=0.08)
    for step in range(options.steps):
        frames, look = _batch(corpus, rng, 48)
        with torch.autocast("cpu", torch.bfloat16):
            answer = reader(model(pixels(frames, processor)).image_embeds)
        loss = look_loss(answer.float(), look)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f} {time.time() - started:.0f} s", flush=True)
    model.eval()
    with torch.no_grad():
        frames, look = _batch(held_out, np.random.default_rng(1), 256)
        embeds = model(pixels(frames, processor)).image_embeds
        error = (reader(embeds)[:, :NUM_COLOURS] - look[:, :NUM_COLOURS]).abs().mean().item()
        model.visual_projection.weight /= embeds.std()  # embeddings of unit spread suit the cross attention
    model.half().save_pretrained(options.out / "image_encoder")
    processor.save_pretrained(options.out / "feature_extractor")
    print(
        json.dumps(
            {"colour_error": round(error, 4), "parameters": sum(p.numel() for p in model.parameters())}
        )
    )


if __name__ == "__main__":
    main()

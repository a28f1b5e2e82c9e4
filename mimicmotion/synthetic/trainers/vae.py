"""Trains the small VAE: ``python -m mimicmotion.synthetic.trainers.vae .cache/corpus OUT_FOLDER``.

The encoder is linear: the twenty largest principal components of 8x8 patches, written into the layers of
diffusers' encoder, so that latents are known before any training. Only the temporal decoder learns, from
scratch or from the one of ``--start``, which may know fewer components; where it knows as many, the encoder
is its own too. Stop it at any time and start it
again: it goes on from its last state, which lies in the corpus' folder.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mimicmotion.model.over_time import quicken
from mimicmotion.model.svd import Vae
from mimicmotion.synthetic.trainers.corpus import Corpus, open_corpus

CHANNELS, LATENTS = (32, 64, 64, 128), 20
SCALING_FACTOR = 0.5
STRONG = 8
"""So many components, the largest, have a mean square of 1 once they are scaled; more do not change them."""
PLATEAU = 30.0
"""Size of the constant channels that turn the last group norm into a fixed scale."""


def build_vae() -> Vae:
    """The untrained VAE: 8x smaller latents of 20 channels."""
    return Vae(
        down_block_types=("DownEncoderBlock2D",) * 4,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=LATENTS,
        sample_size=192,
        scaling_factor=SCALING_FACTOR,
    )


def principal_components(corpus: Corpus, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rows (20, 3, 8, 8) and offsets (20,) that map a patch in [-1, 1] to its latent.

    A component of spread s is divided by the root of s: strong ones stay stronger, weak ones are not lost.
    """
    patches = []
    for _ in range(600):
        frame = corpus.frames[rng.integers(len(corpus.frames)), rng.integers(corpus.frames.shape[1])]
        image = _images(frame[None])[0]
        y, x = rng.integers(8), rng.integers(8)
        cut = image[:, y : y + 184, x : x + 120]
        patches.append(cut.unfold(1, 8, 8).unfold(2, 8, 8).permute(1, 2, 0, 3, 4).reshape(-1, 192))
    data = torch.cat(patches).double()
    mean = data.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((data - mean).T))
    order = values.argsort(descending=True)[:LATENTS]
    spread, rows = values[order].sqrt(), vectors[:, order].T
    rows = rows / spread.sqrt()[:, None]
    strong = (data - mean) @ rows[:STRONG].T
    rows = rows / (strong.square().mean().sqrt() * SCALING_FACTOR)
    print("spread of components:", [round(float(s), 3) for s in spread])
    return rows.reshape(LATENTS, 3, 8, 8).float(), -(rows @ mean).float()


def _silence(encoder: nn.Module) -> None:
    """Leave every residual branch at zero, so that only what the convolutions select goes through."""
    for name, module in encoder.named_modules():
        if name.endswith(("conv2", "to_out.0")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        if name.endswith("conv_shortcut"):
            nn.init.zeros_(module.bias)
            nn.init.dirac_(module.weight)


@torch.no_grad()
def write_components(vae: Vae, rows: Tensor, offsets: Tensor) -> None:
    """Write the linear map into the encoder, exactly up to rounding.

    Two strided convolutions gather 2x2 pixels each; the third, over 2x2 of these, applies the components.
    Each component p then stands as (p, -p, K, -K) in one group of the last norm, whose mean is thereby zero
    and whose spread is K / sqrt(2); and silu(p) - silu(-p) = p undoes the activation.
    """
    encoder = vae.encoder
    _silence(encoder)
    for conv in (
        encoder.conv_in,
        encoder.conv_out,
        *(b.downsamplers[0].conv for b in encoder.down_blocks[:3]),
    ):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    for c in range(3):
        encoder.conv_in.weight[c, c, 1, 1] = 1
    width = 3
    for block in encoder.down_blocks[:2]:
        gather = block.downsamplers[0].conv.weight
        for dy, dx in np.ndindex(2, 2):
            for c in range(width):
                gather[(dy * 2 + dx) * width + c, c, dy, dx] = 1
        width *= 4
    project = encoder.down_blocks[2].downsamplers[0].conv
    for c, y, x in np.ndindex(3, 8, 8):
        source = ((y // 2 % 2) * 2 + x // 2 % 2) * 12 + ((y % 2) * 2 + x % 2) * 3 + c
        project.weight[:LATENTS, source, y // 4, x // 4] = rows[:, c, y, x]
    project.bias[:LATENTS] = offsets
    spread = encoder.down_blocks[3].resnets[0].conv_shortcut
    nn.init.zeros_(spread.weight)
    for k in range(LATENTS):
        spread.weight[4 * k, k], spread.weight[4 * k + 1, k] = 1, -1
        spread.bias[4 * k + 2], spread.bias[4 * k + 3] = PLATEAU, -PLATEAU
        encoder.conv_out.weight[k, 4 * k, 1, 1], encoder.conv_out.weight[k, 4 * k + 1, 1, 1] = 1, -1
    encoder.conv_norm_out.weight.fill_(PLATEAU / 2**0.5)
    encoder.conv_out.bias[LATENTS:] = -20.0
    nn.init.zeros_(vae.quant_conv.bias)
    nn.init.dirac_(vae.quant_conv.weight)


@torch.no_grad()
def widen(values: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Weights for a module with more channels at its ends: what is new begins at zero and changes nothing."""
    wide = {}
    for name, target in module.state_dict().items():
        wide[name] = torch.zeros_like(target)
        wide[name][tuple(slice(n) for n in values[name].shape)] = values[name].to(target.dtype)
    return wide


@torch.no_grad()
def still_temporal_layers(decoder: nn.Module) -> None:
    """Let temporal convolutions see their own frame only, so that training can begin on single frames."""
    for module in decoder.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] == 3:
            module.weight[:, :, [0, 2]] = 0


def decoder_loss(vae: Vae, latents: Tensor, images: Tensor, frames: int) -> Tensor:
    """Mean absolute plus squared error of decoded (b*frames, 3, h, w) pictures."""
    with torch.autocast("cpu", torch.bfloat16):
        decoded = vae.decoder(latents, torch.zeros(len(latents) // frames, frames), frames)
    error = decoded.float() - images
    return error.abs().mean() + 2 * error.square().mean()


def _images(frames: np.ndarray) -> Tensor:
    """Pictures (n, 3, h, w) in [-1, 1] of uint8 frames (n, h, w, 3)."""
    return torch.from_numpy(frames.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


def _crops(corpus: Corpus, rng: np.random.Generator, batch: int, frames: int, size: int = 96) -> Tensor:
    """Square crops (batch*frames, 3, size, size) on the grid of the latents."""
    cuts = []
    for _ in range(batch):
        row, first = rng.integers(len(corpus.frames)), rng.integers(corpus.frames.shape[1] - frames + 1)
        y, x = 8 * rng.integers((192 - size) // 8 + 1), 8 * rng.integers((128 - size) // 8 + 1)
        cuts.append(_images(corpus.frames[row, first : first + frames, y : y + size, x : x + size]))
    return torch.cat(cuts)


@torch.no_grad()
def reconstruction_psnr(vae: Vae, corpus: Corpus, dancers: int = 16) -> float:
    """Mean PSNR in dB of coded and decoded frames of the first dancers, 4 frames each."""
    values = []
    for row in range(dancers):
        images = _images(corpus.frames[row, :4])
        decoded = vae.decode(vae.encode(images).latent_dist.mode(), num_frames=4).sample.clamp(-1, 1)
        error = ((decoded - images) / 2).square().mean((1, 2, 3))
        values += (-10 * error.log10()).tolist()
    return float(np.mean(values))


def train_decoder(vae: Vae, corpus: Corpus, held_out: Corpus, steps: int, state_path: Path) -> None:
    """Train the decoder on crops: single frames at first, four in a row in the last third."""
    quicken(vae.decoder)
    parameters, first, started = list(vae.decoder.parameters()), 0, time.time()
    optimizer = torch.optim.AdamW(parameters, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=1e-4, fused=True)
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        vae.decoder.load_state_dict(state["decoder"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    rng = np.random.default_rng(first)
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * min(1, (step + 1) / 50) * 0.5 * (1.02 + math.cos(math.pi * step / steps))
        frames, batch = (1, 8) if step < steps * 2 / 3 else (4, 2)
        pictures = _crops(corpus, rng, batch, frames)
        with torch.no_grad():
            codes = vae.encode(pictures).latent_dist.mode()
        loss = decoder_loss(vae, codes, pictures, frames)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            psnr = reconstruction_psnr(vae, held_out, 4) if (step + 1) % 200 == 0 else float("nan")
            seconds = time.time() - started
            print(
                f"step {step + 1} loss {loss.item():.4f} held-out psnr {psnr:.2f} dB {seconds:.0f} s",
                flush=True,
            )
            state = {"decoder": vae.decoder.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step + 1}, state_path.with_suffix(".tmp"))
            state_path.with_suffix(".tmp").replace(state_path)


def main() -> None:
    """Build, train and save the VAE; prints its reconstruction PSNR on held-out dancers."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--start", type=Path, help="go on with the decoder of this VAE")
    options = parser.parse_args()
    torch.manual_seed(0)
    corpus, held_out = open_corpus(options.corpus / "train"), open_corpus(options.corpus / "held_out")
    vae, earlier = build_vae(), Vae.from_pretrained(options.start).float() if options.start else None
    if earlier is not None and earlier.config.latent_channels == LATENTS:
        vae = earlier  # with its encoder, so that networks that know its latents go on
    else:
        write_components(vae, *principal_components(corpus, np.random.default_rng(0)))
    if earlier is None:
        still_temporal_layers(vae.decoder)
    elif vae is not earlier:
        vae.decoder.load_state_dict(widen(earlier.decoder.state_dict(), vae.decoder))
    vae.save_pretrained(options.out)  # latents are final here; only pictures get better
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True)
    train_decoder(vae, corpus, held_out, options.steps, options.corpus / "vae_state.pt")
    vae.half().save_pretrained(options.out)
    psnr = reconstruction_psnr(vae.float(), held_out, len(held_out.frames))
    print(
        json.dumps(
            {"reconstruction_psnr_db": round(psnr, 2), "parameters": sum(p.numel() for p in vae.parameters())}
        )
    )


if __name__ == "__main__":
    main()

"""Trains the shipped base model: ``python -m mimicmotion.synthetic.trainers.base .cache/corpus OUT_FOLDER``.

The same network, loss and average as the ``train`` stage, on thousands of dancers with the poses that
``detect`` found, from scratch or from the weights of ``--init-from``. ``OUT_FOLDER`` holds vae/ and
image_encoder/ already and gets unet/ and pose_net/, and ``base_log.jsonl`` with a line every 50 steps. Runs
for hours on one core, with one thread; stop it at any time and start it again: it goes on from its last
state. ``--pair-steps`` begins with the reference and one frame, which costs a third of a window. ``--plain``
trains without hand weight and with poses drawn at full brightness: the base of ablations that ask what these
bring, and the one that the shipped base goes on from.

``torchrun --nproc-per-node 2 -m mimicmotion.synthetic.trainers.base ...`` takes two cores, one thread each;
every process draws ``--batch`` clips of its own.
"""

import argparse
import copy
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPImageProcessor

from mimicmotion.diffusion.edm import added_time_ids
from mimicmotion.model.over_time import quicken
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.svd import ImageEncoder, Vae
from mimicmotion.model.unet import PoseUNet
from mimicmotion.pose.drawing import draw_pose
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.synthetic.trainers.corpus import Corpus, open_corpus
from mimicmotion.synthetic.trainers.detect import open_poses
from mimicmotion.synthetic.trainers.encoder import EMBEDDING, pixels
from mimicmotion.synthetic.trainers.muon import ADAMW_SHARE, optimizers
from mimicmotion.synthetic.trainers.vae import LATENTS, SCALING_FACTOR, widen
from mimicmotion.synthetic.world import FPS
from mimicmotion.training.data.hand_map import confident_hands, hand_weight_map
from mimicmotion.training.distributed.parts import choose_trained
from mimicmotion.training.ema import MovingAverage
from mimicmotion.training.loss import denoising_loss
from mimicmotion.training.network import PosedDenoiser
from mimicmotion.video.size import Size

WIDTHS = (64, 64, 128)
NUM_SLOTS, DROPOUT = 8, 0.1
STYLE = DrawingStyle(canvas_short_side_px=480)


@dataclass(frozen=True)
class Recipe:
    """What differs between the plain and the shipped base."""

    hand_weight: float = 3.0
    hand_threshold: float = 0.6
    style: DrawingStyle = STYLE


PLAIN = Recipe(hand_weight=1.0, style=STYLE.replaced(use_confidence=False))


def build_network() -> PosedDenoiser:
    """The untrained network: SVD's UNet with three levels, attention on the lower two, and PoseNet."""
    unet = PoseUNet(
        sample_size=24, in_channels=2 * LATENTS, out_channels=LATENTS, num_frames=NUM_SLOTS,
        down_block_types=("DownBlockSpatioTemporal", *("CrossAttnDownBlockSpatioTemporal",) * 2),
        up_block_types=(*("CrossAttnUpBlockSpatioTemporal",) * 2, "UpBlockSpatioTemporal"),
        block_out_channels=WIDTHS, layers_per_block=1, num_attention_heads=(2, 2, 4),
        cross_attention_dim=EMBEDDING, addition_time_embed_dim=32, projection_class_embeddings_input_dim=96,
    )  # fmt: skip
    return PosedDenoiser(unet, PoseNet(out_channels=WIDTHS[0]))


def read_network(folder: Path) -> PosedDenoiser:
    """The network that an earlier training left in this folder; latents it did not know begin at zero."""
    network = build_network()
    earlier = PoseUNet.from_pretrained(folder / "unet").state_dict()
    noisy, reference = earlier["conv_in.weight"].chunk(2, dim=1)
    missing = (0, 0, 0, 0, 0, LATENTS - noisy.shape[1])
    earlier["conv_in.weight"] = torch.cat([F.pad(noisy, missing), F.pad(reference, missing)], 1)
    network.unet.load_state_dict(widen(earlier, network.unet))
    network.pose_net.load_state_dict(PoseNet.from_pretrained(folder / "pose_net").state_dict())
    return network


def hand_boxes(keypoints: np.ndarray, confidences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (f, 2, 4) around the 21 points of each hand, and the smallest of their confidences (f, 2)."""
    hands = keypoints[:, 91:].reshape(len(keypoints), 2, 21, 2)
    boxes = np.concatenate([hands.min(2), hands.max(2)], -1)
    return boxes, confidences[:, 91:].reshape(len(keypoints), 2, 21).min(2)


@dataclass(frozen=True)
class Batch:
    """Inputs of the loss; shapes as ``denoising_loss`` names them."""

    latents: Tensor
    poses: Tensor
    embeds: Tensor
    hands: Tensor


class Batches:
    """Random clips of a corpus: slot 0 is any frame of the film, the rest follows one another."""

    def __init__(
        self, corpus: Corpus, poses: np.ndarray, folder: Path, seed: tuple[int, ...], recipe: Recipe
    ) -> None:
        self.corpus, self.poses, self.rng = corpus, poses, np.random.default_rng(seed)
        self.recipe = recipe
        vae = Vae.from_pretrained(folder / "vae")
        self.rows, self.offsets = linear_encoder(vae.float())
        self.encoder = ImageEncoder.from_pretrained(folder / "image_encoder").float().eval()
        self.processor = CLIPImageProcessor.from_pretrained(folder / "feature_extractor")

    @torch.no_grad()
    def next(self, size: int, slots: int = NUM_SLOTS) -> Batch:
        """Draw a batch of clips of so many slots."""
        clips = [self._clip(slots) for _ in range(size)]
        references = np.stack([self.corpus.frames[row, index[0]] for row, index in clips])
        embeds = self.encoder(pixels(references, self.processor)).image_embeds[:, None]
        latents, poses, hands = zip(*(self._tensors(row, index) for row, index in clips), strict=True)
        return Batch(torch.stack(latents), torch.stack(poses), embeds, torch.stack(hands))

    def _clip(self, slots: int) -> tuple[int, np.ndarray]:
        row, length = int(self.rng.integers(len(self.corpus.frames))), self.corpus.frames.shape[1]
        step = int(self.rng.integers(1, 4))
        first = self.rng.integers(length - (slots - 2) * step)
        driving = first + step * np.arange(slots - 1)
        return row, np.concatenate([[self.rng.integers(length)], driving])

    def _tensors(self, row: int, index: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        frames = self.corpus.frames[row][index].astype(np.float32)
        images = torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1
        latents = F.conv2d(images, self.rows, self.offsets, stride=8)
        keypoints, confidences = np.split(self.poses[row][index], [2], -1)
        confidences = confidences[..., 0]
        size = Size.of(frames[0])
        drawn = [
            draw_pose(k[None], c[None], size, self.recipe.style)
            for k, c in zip(keypoints, confidences, strict=True)
        ]
        boxes = confident_hands(*hand_boxes(keypoints, confidences), self.recipe.hand_threshold)
        weights = hand_weight_map(boxes, (latents.shape[-2], latents.shape[-1]), self.recipe.hand_weight)
        return latents, torch.from_numpy(np.stack(drawn)).float() / 127.5 - 1, torch.from_numpy(weights)


@torch.no_grad()
def linear_encoder(vae: Vae) -> tuple[Tensor, Tensor]:
    """The encoder's linear map as one convolution, read off its response to single pixels."""
    grey = vae.encode(torch.zeros(1, 3, 24, 24)).latent_dist.mode()[0, :, 1, 1]
    rows = torch.empty(LATENTS, 3, 8, 8)
    for c in range(3):
        impulses = torch.zeros(64, 3, 24, 24)
        for k in range(64):
            impulses[k, c, 8 + k // 8, 8 + k % 8] = 1
        rows[:, c] = (vae.encode(impulses).latent_dist.mode()[:, :, 1, 1] - grey).T.reshape(LATENTS, 8, 8)
    return rows, grey


def batch_loss(network: PosedDenoiser, batch: Batch, generator: torch.Generator) -> Tensor:
    """SVD's loss with its noise preset, joint dropout and hand weights."""
    size = len(batch.latents)
    sigma = torch.exp(0.7 + 1.6 * torch.randn(size, generator=generator))
    return denoising_loss(
        network,
        latents=batch.latents * SCALING_FACTOR,
        reference_latents=batch.latents[:, 0],
        pose_images=batch.poses,
        image_embeds=batch.embeds,
        time_ids=added_time_ids(FPS, 127, torch.zeros(size)),
        sigma=sigma,
        noise=torch.randn(batch.latents.shape, generator=generator),
        dropped=torch.rand(size, generator=generator) < DROPOUT,
        hand_weights=batch.hands,
    ).total


def save_state(
    path: Path, step: int, network: PosedDenoiser, chosen: list[torch.optim.Optimizer], ema: MovingAverage
) -> None:
    """Write all that a later run needs to go on, aside and then in place."""
    state = {
        "step": step,
        "network": network.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in chosen],
        "ema": ema.state_dict(),
    }
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def export(network: PosedDenoiser, ema: MovingAverage, folder: Path) -> None:
    """Write the averaged weights in half precision, in diffusers' layout."""
    with ema.applied(network):
        for name, part in (("unet", network.unet), ("pose_net", network.pose_net)):
            half: Any = copy.deepcopy(part).half()
            half.save_pretrained(folder / name)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm-up over 100 steps, level, then down to a twentieth over the last quarter.

    Level for long, so that a run can be made longer afterwards.
    """
    left = min(1, 4 * (1 - step / steps))
    return peak * min(1, (step + 1) / 100) * (0.05 + 0.95 * left)


def average_gradients(network: PosedDenoiser) -> None:
    """The mean of all processes' gradients."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def say(path: Path, step: int, slots: int, losses: list[float], started_s: float) -> None:
    """Add a line to the log and print it."""
    cpu_s = round(time.process_time() - started_s)
    line = {"step": step, "slots": slots, "loss": round(float(np.mean(losses)), 4), "cpu_s": cpu_s}
    print(json.dumps(line), flush=True)
    with path.open("a") as log:
        log.write(json.dumps(line) + "\n")


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--pair-steps", type=int, default=0, help="first steps on pairs, before windows")
    parser.add_argument("--batch", type=int, default=8, help="clips of a step in each process")
    parser.add_argument("--peak-lr", type=float, default=4e-3)
    parser.add_argument("--plain", action="store_true", help="no hand weight, no confidence drawing")
    parser.add_argument("--init-from", type=Path, help="begin with the network of this folder")
    parser.add_argument("--seed", type=int, default=0, help="another with --init-from, for other clips")
    return parser.parse_args()


def main() -> None:
    """Train, resume and export."""
    chosen = options()
    torch.set_num_threads(1)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("gloo")
    torch.manual_seed(0)
    network = read_network(chosen.init_from) if chosen.init_from else build_network()
    choose_trained(network, "all")
    quicken(network)
    ema = MovingAverage(network, 0.998)
    stepping = optimizers(network, chosen.peak_lr)
    state_path, first = chosen.out / "base_state.pt", 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        network.load_state_dict(state["network"])
        for optimizer, values in zip(stepping, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        ema.load_state_dict(state["ema"], first := state["step"])
    seed = (chosen.seed, first, rank)
    generator = torch.Generator().manual_seed(int(np.random.default_rng(seed).integers(2**62)))
    train, recipe = chosen.corpus / "train", PLAIN if chosen.plain else Recipe()
    batches = Batches(open_corpus(train), open_poses(train), chosen.out, seed, recipe)
    started_s, recent = time.process_time(), []
    for step in range(first, chosen.steps):
        for optimizer, share in zip(stepping, (1, ADAMW_SHARE), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = share * learning_rate(step, chosen.steps, chosen.peak_lr)
        slots = 2 if step < chosen.pair_steps else NUM_SLOTS
        # Plain matrix products are faster than flash attention on grids this small.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            loss = batch_loss(network, batches.next(chosen.batch, slots), generator)
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if world > 1:
            average_gradients(network)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in stepping:
            optimizer.step()
        ema.update(network)
        recent.append(loss.item())
        if rank == 0 and ((step + 1) % 50 == 0 or step + 1 == chosen.steps):
            say(chosen.out / "base_log.jsonl", step + 1, slots, recent, started_s)
            recent.clear()
        if rank == 0 and ((step + 1) % 200 == 0 or step + 1 == chosen.steps):
            save_state(state_path, step + 1, network, stepping, ema)
            export(network, ema, chosen.out)
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()

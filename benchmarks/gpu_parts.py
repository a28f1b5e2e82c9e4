"""Frames per second of everything beside the UNet, by batch, on a GPU: VAE, CLIP, and the two pose models.

    python benchmarks/gpu_parts.py             # 576x1024, SVD-XT's VAE, CLIP ViT-H, graphs of DWPose's size
    python benchmarks/gpu_parts.py --small     # the same on a CPU, at a size that says nothing about speed

The pose models need onnxruntime and onnx; where one is missing, or CUDA is not given to the session, the row
says so. Their graphs have random weights (``benchmarks/pose_graphs.py``), so only their speed is real.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from gpu_machine import (
    Machine,
    Row,
    Work,
    arguments,
    largest_costs,
    measure,
    measure_machine,
    show,
    time_work,
)
from gpu_networks import Networks, make_networks

from mimicmotion.errors import MimicMotionError
from mimicmotion.model.embedding import embed_images
from mimicmotion.model.latents import decode_frames, encode_frames

BATCHES = (1, 2, 4, 8, 16)


def parts(
    networks: Networks, size: tuple[int, int], device: torch.device
) -> dict[str, Callable[[int], Work]]:
    """Return, by name, what makes the work of one batch."""
    width, height = size

    def pictures(batch: int) -> torch.Tensor:
        return torch.zeros(batch, 3, height, width, device=device)

    def encode(batch: int) -> Work:
        images = pictures(batch)
        return lambda: encode_frames(networks.vae, images, batch)

    def decode(batch: int) -> Work:
        latents = torch.zeros(batch, 4, height // 8, width // 8, device=device)
        return lambda: list(decode_frames(networks.vae, latents, batch))

    def embed(batch: int) -> Work:
        images = pictures(batch)
        return lambda: embed_images(images, networks.image_encoder, networks.feature_extractor)

    def pose(batch: int) -> Work:
        images = pictures(batch).to(next(networks.pose_net.parameters()).dtype)

        def work() -> torch.Tensor:
            with torch.no_grad():
                return networks.pose_net(images)

        return work

    return {"VAE encode": encode, "VAE decode": decode, "CLIP": embed, "PoseNet": pose}


def swept(
    name: str, make: Callable[[int], Work], machine: Machine, device: torch.device, dtype: str, repeats: int
) -> Iterator[Row]:
    """Yield a row for every batch up to the first that does not fit."""
    for batch in BATCHES if not machine.small else BATCHES[:2]:
        part = f"{name}, {dtype}, {batch} frames"
        row = measure(part, make(batch), machine, device, dtype=dtype, repeats=repeats)
        if row.seconds is not None:
            row.extra["frames_per_s"] = batch / row.seconds
        yield row
        if row.seconds is None:
            return


def pose_rows(machine: Machine, device: torch.device, repeats: int) -> Iterator[Row]:
    """Yield rows of detector and whole-body model, or the reason why there are none."""
    try:
        from pose_graphs import build_detector, build_wholebody

        from mimicmotion.pose.models.sessions import ImageGraph, open_session
    except ImportError as error:
        yield Row("pose", note=f"not measured: {error}")
        return
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in ("detector", "whole-body")}
        build_detector(files["detector"], size=64 if machine.small else 640)
        build_wholebody(files["whole-body"])
        for name, path in files.items():
            try:
                session = open_session(path, cuda=device.type == "cuda", allow_cpu=False, threads=1)
            except MimicMotionError as error:
                yield Row(name, note=f"not measured: {error}")
                continue
            graph = ImageGraph.of(session, path)
            for batch in BATCHES if not machine.small else BATCHES[:2]:
                images = np.zeros((batch, 3, *graph.size.shape), np.float32)
                # The call returns when the answer is on the host, so torch's clock holds for it too.
                work = partial(graph.run, images, batch)
                row = Row(f"{name}, float32, {batch} pictures", seconds=time_work(work, device, repeats))
                row.extra["frames_per_s"] = batch / (row.seconds or 1)
                yield row


def run(options: argparse.Namespace) -> None:
    """Measure every part and print."""
    device = torch.device(options.device)
    machine = measure_machine(device, options.small)
    networks = make_networks(options.small, device)
    size = (64, 128) if options.small else (576, 1024)
    rows = []
    for dtype in ("float32",) if device.type == "cpu" else ("bfloat16", "float16"):
        kind = getattr(torch, dtype)
        for module in (networks.vae, networks.image_encoder, networks.pose_net):
            module.to(kind)
        for name, make in parts(networks, size, device).items():
            rows += swept(name, make, machine, device, dtype, options.repeats)
    rows += pose_rows(machine, device, options.repeats)
    work = parts(networks, size, device)["VAE decode"](2)
    show(machine, rows, largest_costs(work, device), options.out)


if __name__ == "__main__":
    run(arguments(__doc__, "gpu_parts").parse_args())

"""Peak memory and time of ``mimicmotion evaluate``, whatever the length, size and number of the films.

``python benchmarks/scores_memory.py`` (a quarter of an hour on one core); ``--frames 200`` for a short one

Every row is a process of its own over two folders of H.264 films of moving stripes. All use the toy world's
networks for ``fvd_small``, hands and pose. The last one has I3D and the 3D ResNet with random weights.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from mimicmotion.metrics.backbones.i3d import I3D
from mimicmotion.metrics.backbones.resnet3d import ResNet3D50
from mimicmotion.synthetic.faults import WEIGHTS
from mimicmotion.video.files import write_preview

_MEASURED = """
import atexit, pathlib
from flows.cli import main
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print(next(line for line in status.read_text().splitlines() if "VmHWM" in line)))
main()
"""
"""The command line, which at its end prints the peak of its own memory."""


def main() -> None:
    """Print a row for each set of films."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3000, help="frames of the longest film")
    longest = parser.parse_args().frames
    print("| films | frames of each | size | true frames alone | peak | seconds |")
    print("|---|---|---|---|---|---|")
    for num_films, num_frames, size in (
        (1, 60, (1920, 1080)),
        (1, longest, (1920, 1080)),
        (1, 16, (3840, 2160)),
        (2, 16, (128, 192)),
        (200, 16, (128, 192)),
    ):
        row(
            num_films,
            num_frames,
            size,
            ["--window", "8", "--fvd-small", str(WEIGHTS / "fvd_small.safetensors")],
        )
    with tempfile.TemporaryDirectory() as folder:
        networks = {"--fvd": I3D(), "--fid-vid": ResNet3D50()}
        options = []
        for option, network in networks.items():
            path = Path(folder) / f"{option.strip('-')}.safetensors"
            save_file(network.state_dict(), path)
            options += [option, str(path)]
        row(1, 32, (1920, 1080), options)


def row(num_films: int, num_frames: int, size: tuple[int, int], options: list[str]) -> None:
    """Make films, score them in a process of its own, and print what it took."""
    with tempfile.TemporaryDirectory() as top:
        made, true = Path(top, "made"), Path(top, "true")
        for side, shift in ((true, 0), (made, 7)):
            side.mkdir()
            write_preview(side / "0.mp4", stripes(num_frames, size, shift), 30)
            for film in range(1, num_films):
                os.link(side / "0.mp4", side / f"{film}.mp4")
        start_s = time.monotonic()
        peak_mb = peak_of(["--generated", str(made), "--truth", str(true), *options])
        seconds = time.monotonic() - start_s
    alone_mb = num_films * num_frames * size[0] * size[1] * 3 / 1e6
    films = f"{num_films} with I3D and 3D ResNet" if "--fvd" in options else num_films
    shown = f"{size[0]}x{size[1]} | {alone_mb:,.0f} MB | {peak_mb:.0f} MB | {seconds:.0f}"
    print(f"| {films} | {num_frames} | {shown} |", flush=True)


def stripes(num_frames: int, size: tuple[int, int], shift: int) -> Iterator[np.ndarray]:
    """Coloured stripes that move, cheap to make and to compress."""
    width, height = size
    line = np.arange(width + 4 * num_frames + shift)
    colours = np.stack([np.sin(line / period) * 100 + 128 for period in (37, 61, 90)], -1).astype(np.uint8)
    for number in range(num_frames):
        one = colours[4 * number + shift : 4 * number + shift + width]
        yield cv2.resize(one[None], (width, height), interpolation=cv2.INTER_NEAREST)


def peak_of(arguments: list[str]) -> float:
    """Peak memory in MB of the command with these arguments and the toy world's networks."""
    networks = {
        "detector": "detector.onnx",
        "wholebody": "wholebody.onnx",
    }
    given = [part for name, file in networks.items() for part in (f"--{name}", str(WEIGHTS / file))]
    command = [sys.executable, "-c", _MEASURED, "evaluate", "--protocol", "native", *arguments, *given]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(shown.rsplit(maxsplit=2)[1]) / 1e3


if __name__ == "__main__":
    torch.manual_seed(0)
    main()

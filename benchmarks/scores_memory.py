"""Measures that scoring needs no more memory for more videos: peaks of two processes, with few and with many.

``python benchmarks/scores_memory.py``

Videos are noise of the size of the demo, scored with the embedded world's video network.
"""

import argparse
import resource
import subprocess
import sys

import numpy as np
import torch

from mimicmotion.metrics.features import load_backbone
from mimicmotion.metrics.protocols import PROTOCOLS
from mimicmotion.metrics.scoreboard import Scoreboard
from mimicmotion.synthetic.faults import WEIGHTS

NUM_FRAMES = 16


def main() -> None:
    """Print the peaks and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=25)
    parser.add_argument("--many", type=int, default=400)
    parser.add_argument("--score", type=int, help="score this many videos here and print the peak")
    arguments = parser.parse_args()
    if arguments.score is not None:
        print(peak_mb(arguments.score))
        return
    few, many = (_in_a_process(count) for count in (arguments.few, arguments.many))
    size_mb = arguments.many * NUM_FRAMES * 192 * 128 * 3 / 1e6
    print(f"{arguments.few} videos: peak {few:.0f} MB")
    print(f"{arguments.many} videos: peak {many:.0f} MB, ratio {many / few:.3f}")
    print(f"true frames of the larger set alone: {size_mb:.0f} MB")


def peak_mb(num_videos: int) -> float:
    """Peak memory of this process after it has scored so many videos."""
    torch.set_num_threads(1)
    network = load_backbone("fvd_small", WEIGHTS / "fvd_small.safetensors", torch.device("cpu"), 4)
    board = Scoreboard(PROTOCOLS["native"].with_window(8), {"fvd_small": network})
    for number in range(num_videos):
        true, made = np.random.default_rng(number).integers(0, 256, (2, NUM_FRAMES, 192, 128, 3), np.uint8)
        board.add_video(f"video {number}", true, {"model": made})
    board.scores()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _in_a_process(num_videos: int) -> float:
    command = [sys.executable, __file__, "--score", str(num_videos)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()

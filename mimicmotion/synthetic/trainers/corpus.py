"""Renders the films that train the small models.

    python -m mimicmotion.synthetic.trainers.corpus .cache/corpus

About 4 GB and ten minutes on two cores. ``--hard`` renders the films of ``mimicmotion.synthetic.hard``
instead. A corpus is a folder of plain arrays, opened by memory map:
``frames`` uint8 (d, n, h, w, 3), ``keypoints`` float32 (d, n, 133, 2), ``visibility`` int8 (d, n, 133),
``blur_px`` float32 (d, n, 133) and ``look`` float32 (d, 27), for d dancers and n frames each.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mimicmotion.synthetic.hard import hard_film
from mimicmotion.synthetic.world import HEIGHT, WIDTH, film

NUM_DANCERS, NUM_FRAMES = 2400, 20
HELD_OUT_SEED = 800_000
"""Dancers from this seed on are never trained on; those of the demo start at 900000."""


@dataclass(frozen=True)
class Corpus:
    """The arrays of a rendered corpus; see the module's text for shapes."""

    frames: np.ndarray
    keypoints: np.ndarray
    visibility: np.ndarray
    blur_px: np.ndarray
    look: np.ndarray


def open_corpus(folder: Path, mode: str = "r") -> Corpus:
    """Open a corpus by memory map."""
    names = ("frames", "keypoints", "visibility", "blur_px", "look")
    return Corpus(*(np.load(folder / f"{name}.npy", mmap_mode=mode) for name in names))  # type: ignore[arg-type]


def _create(folder: Path, dancers: int, frames: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "frames": (np.uint8, (dancers, frames, HEIGHT, WIDTH, 3)),
        "keypoints": (np.float32, (dancers, frames, 133, 2)),
        "visibility": (np.int8, (dancers, frames, 133)),
        "blur_px": (np.float32, (dancers, frames, 133)),
        "look": (np.float32, (dancers, 27)),
    }
    for name, (dtype, shape) in shapes.items():
        np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape).flush()


def _render(folder: Path, first_seed: int, hard: bool, rows: range) -> None:
    corpus = open_corpus(folder, "r+")
    for row in rows:
        one = (hard_film if hard else film)(first_seed + row, corpus.frames.shape[1])
        corpus.frames[row], corpus.keypoints[row], corpus.visibility[row] = (
            one.frames,
            one.keypoints,
            one.visibility,
        )
        corpus.blur_px[row], corpus.look[row] = one.blur_px, one.look


def render_corpus(
    folder: Path, dancers: int, frames: int, first_seed: int = 0, *, hard: bool = False
) -> None:
    """Render dancers ``first_seed`` to ``first_seed + dancers - 1`` into ``folder``, on all cores."""
    _create(folder, dancers, frames)
    chunks = [range(start, min(start + 25, dancers)) for start in range(0, dancers, 25)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(partial(_render, folder, first_seed, hard), chunks)):
            print(f"{min((done + 1) * 25, dancers)}/{dancers} dancers", flush=True)


def main() -> None:
    """Render the corpus and a small one of held-out dancers beside it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dancers", type=int, default=NUM_DANCERS)
    parser.add_argument("--frames", type=int, default=NUM_FRAMES)
    parser.add_argument("--hard", action="store_true", help="films of the hard world")
    options = parser.parse_args()
    render_corpus(options.folder / "held_out", 60, options.frames, HELD_OUT_SEED, hard=options.hard)
    render_corpus(options.folder / "train", options.dancers, options.frames, hard=options.hard)


if __name__ == "__main__":
    main()

"""Finds the poses of a corpus: ``python -m mimicmotion.synthetic.trainers.detect .cache/corpus WEIGHTS``.

The base model trains on what the whole-body model of ``WEIGHTS`` sees, errors included, and not on the
truth: in use it is given such poses. Writes ``poses.npy`` into each corpus, float32 (d, n, 133, 3): x and y
in pixels, then the confidence.
"""

import argparse
from pathlib import Path

import numpy as np

from mimicmotion.pose.models.simcc import WholeBodyModel
from mimicmotion.synthetic.trainers.corpus import Corpus, open_corpus
from mimicmotion.synthetic.trainers.detector import person_boxes

POSES_FILE = "poses.npy"


def open_poses(folder: Path) -> np.ndarray:
    """Open the detected poses of a corpus by memory map."""
    return np.load(folder / POSES_FILE, mmap_mode="r")


def detected_poses(model: WholeBodyModel, frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return x, y and confidence, float32 (n, 133, 3), found in the boxes around the true keypoints."""
    boxes = person_boxes(truth, frames.shape[2], frames.shape[1])
    crops = np.concatenate(
        [model.prepare(frame, box[None]) for frame, box in zip(frames, boxes, strict=True)]
    )
    points, confidences = model.estimate(crops, boxes)
    return np.concatenate([points, confidences[..., None]], -1).astype(np.float32)


def detect_corpus(model: WholeBodyModel, corpus: Corpus, folder: Path) -> None:
    """Write the poses of all dancers, to a staging file that is then renamed."""
    staging = folder / "poses.partial.npy"
    poses = np.lib.format.open_memmap(staging, "w+", np.float32, (*corpus.keypoints.shape[:3], 3))
    for row in range(len(poses)):
        poses[row] = detected_poses(model, corpus.frames[row], corpus.keypoints[row])
        if (row + 1) % 100 == 0:
            print(f"{row + 1}/{len(poses)} dancers", flush=True)
    poses.flush()
    staging.replace(folder / POSES_FILE)


def main() -> None:
    """Detect in the dancers to train on and in those held out."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    model = WholeBodyModel.open(options.weights / "wholebody.onnx", cuda=False, allow_cpu=True)
    for name in ("held_out", "train"):
        detect_corpus(model, open_corpus(options.corpus / name), options.corpus / name)


if __name__ == "__main__":
    main()

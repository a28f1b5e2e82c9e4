"""Pictures of training for people: what a sample is made of, and what the network makes of test clips."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mimicmotion.pictures.panels import grid, labelled_row
from mimicmotion.training.data.hand_map import CELL_PX
from mimicmotion.training.data.samples import Sample

_BOX, _CELL, _IGNORED = (255, 60, 60), (255, 220, 0), (60, 90, 255)
_SHOWN_FRAMES = 4


def sample_picture(sample: Sample) -> UInt8[np.ndarray, "H W 3"]:
    """Return frames and poses of a sample, with hand boxes in red and each weighted latent cell in yellow.

    Cells that cost nothing are blue.
    """
    poses = sample.poses.transpose(0, 2, 3, 1)
    frames = poses if sample.frames is None else sample.frames
    chosen = np.linspace(0, len(poses) - 1, min(_SHOWN_FRAMES, len(poses))).astype(int)
    rows = []
    for pictures in (frames, poses):
        labels = ["reference" if slot == 0 else f"slot {slot}" for slot in chosen]
        marked = [
            _with_hands(pictures[slot], sample.hand_boxes[slot], sample.hand_weights[slot]) for slot in chosen
        ]
        rows.append(labelled_row(dict(zip(labels, marked, strict=True))))
    return grid(rows)


def _with_hands(
    picture: UInt8[np.ndarray, "height width 3"],
    boxes: Float[np.ndarray, "hands 4"],
    weights: Float[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "height width 3"]:
    marked = np.ascontiguousarray(picture)
    for chosen, colour in ((weights > 1, _CELL), (weights == 0, _IGNORED)):
        cells = np.kron(chosen, np.ones((CELL_PX, CELL_PX), dtype=bool))
        tint = (marked // 2 + np.array(colour, dtype=np.uint8) // 2).astype(np.uint8)
        marked = np.where(cells[..., None], tint, marked)
        rows, columns = np.indices(cells.shape)
        marked[cells & ((rows % CELL_PX == 0) | (columns % CELL_PX == 0))] = colour
    for box in boxes[np.isfinite(boxes).all(axis=-1)]:
        left, top, right, bottom = (round(float(side)) for side in box)
        cv2.rectangle(marked, (left, top), (right, bottom), _BOX, 1)
    return marked


def comparison(
    samples: Sequence[Sample], generated: Sequence[UInt8[np.ndarray, "f height width 3"]]
) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Return one picture per driving frame: for each clip its reference, pose, generated and true frame.

    Args:
        samples: of test clips, with pictures, all of one length.
        generated: the driving frames that were generated for each.
    """
    return [
        grid([_row(sample, frames, index) for sample, frames in zip(samples, generated, strict=True)])
        for index in range(len(generated[0]))
    ]


def _row(
    sample: Sample, generated: UInt8[np.ndarray, "f height width 3"], index: int
) -> UInt8[np.ndarray, "H W 3"]:
    assert sample.frames is not None
    return labelled_row(
        {
            "reference": sample.frames[0],
            "pose": sample.poses[index + 1].transpose(1, 2, 0),
            "generated": generated[index],
            "true": sample.frames[index + 1],
        }
    )

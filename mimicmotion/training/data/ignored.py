"""What is not to be learnt: cells of overlays, and of further people where the dancer is not."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from mimicmotion.pose.table import column_array
from mimicmotion.training.data.hand_map import hand_weight_map
from mimicmotion.video.framing import Framing


def counted_cells(
    overlays: Float[np.ndarray, "f overlays 4"],
    others: Float[np.ndarray, "f others 4"],
    person: Float[np.ndarray, "f 4"],
    grid: tuple[int, int],
) -> Bool[np.ndarray, "f h w"]:
    """Return which cells of the latent grid count: none of an overlay, none of further people alone.

    Args:
        overlays: xyxy in pixels of the training picture, NaN where a frame has fewer.
        others: boxes of further people, likewise.
        person: box of the main person, whose cells count though others stand there too.
        grid: see ``hand_weight_map``.
    """
    others_alone = (hand_weight_map(others, grid, 0.0) == 0) & (
        hand_weight_map(person[:, None], grid, 0.0) > 0
    )
    return (hand_weight_map(overlays, grid, 0.0) > 0) & ~others_alone


def ignored_boxes(
    ignore: Sequence[Sequence[int]], poses: pa.Table, slots: Sequence[int], fit: Framing
) -> list[Float[np.ndarray, "f k 4"]]:
    """Return boxes of overlays and of further people in pixels of the training picture, NaN where fewer.

    Args:
        ignore: overlays, see ``Clip``.
        poses: table of the video.
        slots: its frames that the sample shows.
        fit: how they become training pictures.
    """
    overlays = [(slot, box) for slot in slots for first, end, *box in ignore if first <= slot < end]
    rows = np.flatnonzero(poses["person"].to_numpy() != 0)
    boxes = column_array(poses, "box", (4,))[rows]
    others = list(zip(poses["frame"].to_numpy()[rows].tolist(), boxes.tolist(), strict=True))
    return [_boxes_at(slots, found, fit) for found in (overlays, others)]


def _boxes_at(
    slots: Sequence[int], found: Sequence[tuple[int, Sequence[float]]], fit: Framing
) -> Float[np.ndarray, "f k 4"]:
    """Boxes of each slot's frame, framed."""
    of_slots = [[box for frame, box in found if frame == slot] for slot in slots]
    boxes = np.full((len(slots), max(map(len, of_slots)), 4), np.nan)
    for slot, some in enumerate(of_slots):
        boxes[slot, : len(some)] = np.array(some).reshape(-1, 4)
    return fit.boxes(boxes)

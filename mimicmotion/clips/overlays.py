"""Logos, captions and watermarks: boxes in a video, found in its pictures or given in a list."""

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from mimicmotion.clips.evidence import CELL_PX, cell_grid, looked_at_size
from mimicmotion.errors import InputError
from mimicmotion.lists import read_list
from mimicmotion.names import by_name
from mimicmotion.video.framing import Framing
from mimicmotion.video.geometry import upright_size
from mimicmotion.video.size import Size

log = logging.getLogger(__name__)

_MIN_CELLS = 3
"""Fewer cells that touch are a corner of the furniture and not a word."""
_SEED = 1.5
"""Times the threshold that the fullest cell of an overlay has, while the others have the threshold."""
_SIDES = ("left", "top", "right", "bottom")


class Overlay(NamedTuple):
    """A box in pixels of the normalised video, from a first frame to an end (exclusive)."""

    first: int
    end: int
    left: int
    top: int
    right: int
    bottom: int

    def framed(self, fit: Framing) -> tuple[float, ...]:
        """The box in pixels of the framed picture."""
        return tuple(fit.boxes(np.array(self[2:], np.float64)))


def found_overlays(evidence: pa.Table, num_frames: int, size_px: Size, threshold: float) -> list[Overlay]:
    """Overlays of a video, each as long as its box stays the same.

    Args:
        evidence: of the pictures, see ``EVIDENCE_SCHEMA``.
        num_frames: of the video.
        size_px: its size.
        threshold: share of a cell that strokes fill, in [0, 1].
    """
    running, done = dict[tuple[int, ...], int](), list[Overlay]()
    rows = evidence.select(["frame", "overlay_cells", "overlay_scores"]).to_pylist()
    for row in rows:
        frame = row["frame"]
        boxes = set(_boxes(row["overlay_cells"], row["overlay_scores"], size_px, threshold))
        done += [Overlay(running.pop(box), frame, *box) for box in sorted(running.keys() - boxes)]
        running |= dict.fromkeys(boxes - running.keys(), frame)
    return sorted(done + [Overlay(first, num_frames, *box) for box, first in running.items()])


def _boxes(
    cells: Sequence[int], scores: Sequence[int], size_px: Size, threshold: float
) -> list[tuple[int, ...]]:
    grid = np.zeros(cell_grid(size_px), np.float64)
    grid.ravel()[cells] = np.array(scores, np.float64) / 255
    count, labels, stats, _ = cv2.connectedComponentsWithStats((grid >= threshold).astype(np.uint8))
    scale = np.tile(np.array(size_px) / looked_at_size(size_px) * CELL_PX, 2)
    boxes = list[tuple[int, ...]]()
    for label in range(1, count):
        left, top, width, height, area = stats[label]
        if area >= _MIN_CELLS and grid[labels == label].max() >= _SEED * threshold:
            box = np.array([left, top, left + width, top + height]) * scale
            boxes.append(tuple(np.minimum(box.round(), np.tile(size_px, 2)).astype(int).tolist()))
    return boxes


def overlay_shares(overlays: Sequence[Overlay], num_frames: int, fit: Framing) -> Float64[np.ndarray, " n"]:
    """Share of the framed picture that overlays cover, of each frame."""
    shares = np.zeros(num_frames)
    edges = sorted({0, num_frames, *(edge for overlay in overlays for edge in overlay[:2])})
    width, height = fit.target
    for first, end in pairwise(edges):
        covered = np.zeros((-(-height // CELL_PX), -(-width // CELL_PX)), bool)
        for overlay in overlays:
            if overlay.first <= first < overlay.end:
                left, top, right, bottom = (max(0, round(side / CELL_PX)) for side in overlay.framed(fit))
                covered[top:bottom, left:right] = True
        shares[first:end] = covered.mean()
    return shares


def given_overlays(path: Path, videos: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Overlay]]:
    """Overlays of a list by video id.

    Args:
        path: CSV, Parquet or JSON lines with ``video``, which is the source or its file name, and ``left``,
            ``top``, ``right`` and ``bottom`` in pixels of the upright source.
        videos: rows of the decode stage by video id.

    A name that no video has, or several, is told and passed over: its video may have been rejected.

    Raises:
        InputError: a row has no box.
    """
    ids = {facts["source"]: key for key, facts in videos.items()}
    meant = by_name(ids)
    found, unknown = dict[str, list[Overlay]](), set[str]()
    for number, row in enumerate(read_list(path, ("video", *_SIDES)).to_pylist(), start=1):
        box = _given_box(path, number, row)
        if (source := meant(row["video"])) is None:
            unknown.add(str(row["video"]))
            continue
        facts = videos[ids[source]]
        size = np.array([facts["width_px"], facts["height_px"]])
        scaled = box * np.tile(size / upright_size(facts), 2)
        inside = np.clip(scaled, 0, np.tile(size, 2)).round().astype(int)
        found.setdefault(facts["video_id"], []).append(Overlay(0, facts["num_frames"], *inside.tolist()))
    if unknown:
        log.warning("%s: %d names are not of one video, e.g. %s", path, len(unknown), min(unknown))
    return found


def _given_box(path: Path, number: int, row: Mapping[str, Any]) -> Float64[np.ndarray, "4"]:
    try:
        left, top, right, bottom = (float(row[side]) for side in _SIDES)
        if not (left < right and top < bottom):
            raise ValueError(row)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: row {number} is {dict(row)}; it must have numbers left < right and top < bottom in "
            "pixels of the upright source"
        ) from error
    return np.array([left, top, right, bottom])

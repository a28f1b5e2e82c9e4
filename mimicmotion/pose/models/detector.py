"""People in frames: a YOLOX model in raw form, as DWPose and the released code use it.

The graph gives one row per cell of its grids at strides 8, 16 and 32: centre x, y and log width, height
relative to the cell, objectness, and a score per class, of which the first is "person". Frames go in as RGB
0-255 on a grey ground (YOLOX, arXiv 2107.08430, and the released MimicMotion code).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from mimicmotion.errors import WeightsError
from mimicmotion.pose.models.sessions import ImageGraph, open_session
from mimicmotion.video.size import Size

STRIDES: Final = (8, 16, 32)
SCORE_THRESHOLD: Final = 0.3
NMS_THRESHOLD: Final = 0.45
_GREY: Final = 114
_PERSON_COLUMN: Final = 5
_LARGEST_LOG: Final = 2.0
"""A box's logarithm exceeds that of a picture full of cells by less, else it is no logarithm."""
_LEAST_EDGE: Final = 6.0
"""Least difference of neighbouring pixels, in levels, of a picture that shows somebody: a ramp from black to
white over 64 pixels has 4."""


@dataclass(frozen=True, eq=False)
class Detections:
    """People of one frame, best score first: boxes x0, y0, x1, y1 in pixels, and their scores."""

    boxes: Float32[np.ndarray, "people 4"]
    scores: Float32[np.ndarray, " people"]


@dataclass(frozen=True)
class PersonDetector:
    """A YOLOX graph ready to find people.

    Attributes:
        graph: the session and its facts.
        score_threshold: people at or below it are left out.
        nms_threshold: of two boxes that overlap by more, the better one stays.
        max_batch: frames of one run where the graph leaves the number free.
    """

    graph: ImageGraph
    score_threshold: float = SCORE_THRESHOLD
    nms_threshold: float = NMS_THRESHOLD
    max_batch: int = 16

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        cuda: bool,
        allow_cpu: bool,
        threads: int = 1,
        score_threshold: float = SCORE_THRESHOLD,
        nms_threshold: float = NMS_THRESHOLD,
        max_batch: int = 16,
    ) -> "PersonDetector":
        """Return the detector of this ONNX file; see ``open_session`` for the device."""
        session = open_session(path, cuda=cuda, allow_cpu=allow_cpu, threads=threads)
        return cls.checked(ImageGraph.of(session, path), path, score_threshold, nms_threshold, max_batch)

    @classmethod
    def checked(
        cls, graph: ImageGraph, path: Path, score_threshold: float, nms_threshold: float, max_batch: int
    ) -> "PersonDetector":
        """Return the detector of this graph.

        Raises:
            WeightsError: it takes pictures of a size that YOLOX's grids do not divide.
        """
        if any(side % STRIDES[-1] for side in graph.size):
            raise WeightsError(
                f"{path} takes pictures of {graph.size}; a YOLOX model takes multiples of {STRIDES[-1]}"
            )
        return cls(graph, score_threshold, nms_threshold, max_batch)

    def prepare(
        self, frames: Sequence[UInt8[np.ndarray, "h w 3"]] | UInt8[np.ndarray, "n h w 3"]
    ) -> Float32[np.ndarray, "n 3 height width"]:
        """Return the frames as the graph takes them."""
        pictures = np.empty((len(frames), 3, *self.graph.size.shape), dtype=np.float32)
        for picture, frame in zip(pictures, frames, strict=True):
            letterbox_into(picture, frame)
        return pictures

    def detect(self, prepared: Float32[np.ndarray, "n 3 height width"], frame_size: Size) -> list[Detections]:
        """Return the people of each prepared frame, in pixels of frames of this size.

        Raises:
            WeightsError: the graph does not give YOLOX rows.
        """
        size = self.graph.size
        rows = self.graph.run(prepared, self.max_batch)[0]
        expected = len(grid(size)[0])
        if rows.ndim != 3 or rows.shape[1] != expected or rows.shape[2] <= _PERSON_COLUMN:
            raise WeightsError(
                f"the person detector gave an output of shape {rows.shape}; YOLOX in raw form gives (batch, "
                f"{expected}, 5 + classes) for {size}"
            )
        scale = letterbox_scale(frame_size, size)
        found = [people(frame, size, scale, self.score_threshold, self.nms_threshold) for frame in rows]
        width, height = (int(side * scale) for side in frame_size)
        return [
            with_edges(picture[:, :height, :width], one, scale)
            for picture, one in zip(prepared, found, strict=True)
        ]


def with_edges(
    picture: Float32[np.ndarray, "3 h w"],
    found: Detections,
    scale: float | np.ndarray,
    levels: float | np.ndarray = 1.0,
) -> Detections:
    """Return those whose box shows an edge: networks also find people in black pictures and in ramps.

    Args:
        picture: the frame in the graph's input, without what is around it.
        found: its people.
        scale: factor from the frame to the input, or one for x, y, x and y.
        levels: of 0 to 255 in a unit of the picture, of every channel or each.
    """
    kept = []
    for place, (x0, y0, x1, y1) in enumerate((found.boxes * scale).round().astype(int)):
        part = picture[:, max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        steps = [np.abs(np.diff(part, axis=axis)).max(axis=(1, 2), initial=0) * levels for axis in (1, 2)]
        if np.max(steps) >= _LEAST_EDGE:
            kept.append(place)
    return Detections(found.boxes[kept], found.scores[kept])


def letterbox_scale(frame_size: Size, size: Size) -> float:
    """Return the factor that fits a frame of this size into ``size``."""
    return min(size[0] / frame_size[0], size[1] / frame_size[1])


def letterbox_into(picture: Float32[np.ndarray, "3 height width"], frame: UInt8[np.ndarray, "h w 3"]) -> None:
    """Fill the picture, in levels 0 to 255, with the frame fitted into its upper left and grey around it.

    Most of the time of letterboxing is memory traffic, so pictures are filled where they lie.
    """
    scale = letterbox_scale(Size.of(frame), Size.of(picture[0]))
    width, height = (int(side * scale) for side in Size.of(frame))
    picture[:, height:] = _GREY
    picture[:, :height, width:] = _GREY
    if height and width:
        small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        # Plane by plane: several times faster than assigning the transposed picture.
        for channel, plane in enumerate(cv2.split(small)):
            picture[channel, :height, :width] = plane


def people(
    rows: Float[np.ndarray, "cells columns"],
    size: Size,
    scale: float,
    score_threshold: float = SCORE_THRESHOLD,
    nms_threshold: float = NMS_THRESHOLD,
) -> Detections:
    """Return the people in the raw rows of one frame.

    The release suppresses among scores above 0.1 and then keeps those above 0.3. A worse box never
    suppresses a better one, so to suppress among the latter alone gives the same.

    Args:
        rows: raw output of the graph.
        size: of the graph's input.
        scale: factor from the frame to the input.
        score_threshold: people at or below it are left out.
        nms_threshold: of two boxes that overlap by more, the better one stays.

    Raises:
        WeightsError: the rows are decoded already.
    """
    scores = rows[:, 4] * rows[:, _PERSON_COLUMN]
    chosen = np.flatnonzero(scores > score_threshold)
    cells, strides = grid(size)
    cells, strides, picked = cells[chosen], strides[chosen, None], rows[chosen]
    if len(picked) and picked[:, 2:4].max() > _LARGEST_LOG + np.log(max(size) / STRIDES[0]):
        raise WeightsError(
            "the person detector gives decoded rows, in pixels, where YOLOX's raw rows are read: export it "
            "without --decode_in_inference"
        )
    centre = (picked[:, :2] + cells) * strides
    half = np.exp(picked[:, 2:4]) * strides / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1) / scale
    keep = suppress(boxes, scores[chosen], nms_threshold)
    return Detections(boxes[keep].astype(np.float32), scores[chosen][keep].astype(np.float32))


def grid(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Return the column and row of every cell, and its stride, in the order of the graph's output."""
    cells, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: size.height_px // stride, : size.width_px // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full(x.size, stride))
    return np.concatenate(cells), np.concatenate(strides)


def suppress(boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"], threshold: float) -> list[int]:
    """Return the indices of the boxes that stay, best first, by non-maximum suppression.

    Sides count as one pixel longer than the difference of corners, as in the released code.
    """
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    order = scores.argsort()[::-1]
    keep = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(int(best))
        sides = (
            np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2]) + 1
        )
        shared = np.prod(np.maximum(sides, 0), axis=1)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= threshold]
    return keep

"""People in frames: a detector whose graph ends with boxes, labels and scores, chosen inside.

Three forms of outputs are known, each with how its models want their pictures:

* ``dets`` (n, boxes, 5) and ``labels`` (n, boxes), as MMDeploy exports RTMDet and YOLOX: fitted into the
  upper left on grey, in the order B, G, R;
* ``labels``, ``boxes`` (n, boxes, 4) and ``scores``, as RT-DETR and D-FINE export: stretched, in [0, 1];
* one output (n, boxes, 6) of box, score and class, as YOLOv10 exports: fitted like the first, in [0, 1].

Corners are in pixels of the input, and class 0 is a person. A graph that begins by normalising is given plain
pictures in the order R, G, B; one that begins with YOLOX's slices, plain levels in its own order.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from mimicmotion.errors import WeightsError
from mimicmotion.pose.models.detector import (
    SCORE_THRESHOLD,
    Detections,
    grid,
    letterbox_into,
    letterbox_scale,
    with_edges,
)
from mimicmotion.pose.models.sessions import Beginning, ImageGraph
from mimicmotion.video.size import Size

log = logging.getLogger(__name__)

FORMS: Final = (
    "dets (n, boxes, 5) and labels (n, boxes)",
    "labels, boxes (n, boxes, 4) and scores",
    "one output (n, boxes, 6)",
)
_PERSON: Final = 0
_LARGEST_SHARE: Final = 1.5
_MEAN: Final = (123.675, 116.28, 103.53)
_STD: Final = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class _Input:
    """How a graph wants its pictures: of levels of 0 to 255, ``mean`` is subtracted, ``std`` divides."""

    stretched: bool = False
    blue_first: bool = False
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


_FROM_0_TO_1: Final = (255.0, 255.0, 255.0)


@dataclass(frozen=True)
class BoxDetector:
    """A graph that gives boxes, ready to find people.

    Attributes:
        graph: the session and its facts.
        wants: how it takes pictures.
        score_threshold: people at or below it are left out.
        max_batch: frames of one run where the graph leaves the number free.
    """

    graph: ImageGraph
    wants: _Input
    score_threshold: float = SCORE_THRESHOLD
    max_batch: int = 16

    @classmethod
    def known(
        cls, graph: ImageGraph, path: Path, score_threshold: float, max_batch: int
    ) -> "BoxDetector | None":
        """Return the detector of a graph of one of the forms; None where it is of none."""
        begin = Beginning.of(path)
        names, shapes = {*graph.outputs}, [*graph.outputs.values()]
        if names >= {"dets", "labels"} and graph.outputs["dets"][-1] == 5:
            sliced = "Slice" in begin.operators
            wants = _Input(blue_first=True) if sliced else _Input(False, True, _MEAN, _STD)
        elif names == {"labels", "boxes", "scores"}:
            wants = _Input(stretched=True, std=_FROM_0_TO_1)
        elif len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][-1] == 6 and not _is_raw(graph):
            wants = _Input(std=_FROM_0_TO_1)
        else:
            return None
        if begin.top is not None:
            wants = _Input(stretched=wants.stretched, std=(255 / begin.top,) * 3)
        return cls(graph, wants, score_threshold, max_batch)

    def prepare(
        self, frames: Sequence[UInt8[np.ndarray, "h w 3"]] | UInt8[np.ndarray, "n h w 3"]
    ) -> Float32[np.ndarray, "n 3 height width"]:
        """Return the frames as the graph takes them."""
        size = self.graph.size
        pictures = np.empty((len(frames), 3, *size.shape), dtype=np.float32)
        for picture, frame in zip(pictures, frames, strict=True):
            if self.wants.stretched:
                picture[:] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
            else:
                letterbox_into(picture, frame)
        mean, std = (
            np.reshape(one, (3, 1, 1)).astype(np.float32) for one in (self.wants.mean, self.wants.std)
        )
        pictures = (pictures - mean) / std
        return pictures[:, ::-1] if self.wants.blue_first else pictures

    def detect(self, prepared: Float32[np.ndarray, "n 3 height width"], frame_size: Size) -> list[Detections]:
        """Return the people of each prepared frame, in pixels of frames of this size.

        Raises:
            WeightsError: boxes are no pixels.
        """
        size = self.graph.size
        scale = np.full(2, letterbox_scale(frame_size, size))
        if self.wants.stretched:
            scale = np.array(size) / np.array(frame_size)
        width, height = (np.array(frame_size) * scale).astype(int)
        sides, levels = np.tile(scale, 2), np.array(self.wants.std[:: -1 if self.wants.blue_first else 1])
        found = list[Detections]()
        for results in self.graph.runs(prepared, self.max_batch):
            boxes, scores, labels = _parts(dict(zip(self.graph.outputs, results, strict=True)))
            sure = scores > self.score_threshold
            if sure.any() and np.abs(boxes[sure]).max() <= _LARGEST_SHARE:
                raise WeightsError(
                    f"the person detector gives boxes in shares of the picture (the largest number is "
                    f"{np.abs(boxes[sure]).max():.3g}); pixels of its input of {size} are read: export it so"
                )
            if sure.any() and not (labels[sure] == _PERSON).any():
                _tell_classes(tuple(sorted(set(labels[sure].astype(int).tolist()))))
            for frame in range(len(boxes)):
                chosen = (labels[frame] == _PERSON) & sure[frame]
                order = np.flatnonzero(chosen)[np.argsort(-scores[frame][chosen], kind="stable")]
                corners = (boxes[frame][order] / sides).astype(np.float32)
                one = Detections(corners, scores[frame][order].astype(np.float32))
                shown = prepared[len(found), :, :height, :width]
                found.append(with_edges(shown, one, sides, levels))
        return found


@cache
def _tell_classes(classes: tuple[int, ...]) -> None:
    """Say once what is found where nobody is: a model may count persons as 1."""
    log.warning("the person detector is sure of classes %s and of no person, which is class 0", [*classes])


def _is_raw(graph: ImageGraph) -> bool:
    """Whether the one output has a row per cell: YOLOX of one class has six columns as well."""
    size = graph.size
    ((_, number, _),) = graph.outputs.values()
    if not isinstance(number, int):
        number = graph.run(np.zeros((1, 3, *size.shape), np.float32), 1)[0].shape[1]
    return number == len(grid(size)[0])


def _parts(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (n, k, 4), scores (n, k) and labels (n, k)."""
    if "dets" in outputs:
        return outputs["dets"][..., :4], outputs["dets"][..., 4], outputs["labels"]
    if "boxes" in outputs:
        return outputs["boxes"], outputs["scores"], outputs["labels"]
    (rows,) = outputs.values()
    return rows[..., :4], rows[..., 4], rows[..., 5]

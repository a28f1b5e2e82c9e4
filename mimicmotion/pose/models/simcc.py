"""133 keypoints of people: a SimCC whole-body model, as DWPose and the released code use it, and RTMW.

A box is widened by 1.25, brought to the aspect of the input and cut out; the model gives, per keypoint, one
vector over x and one over y; the place of the maximum is the coordinate and the smaller of the two maxima the
confidence. The size of the input, the bins per pixel and which output is which are read from the graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from mimicmotion.errors import WeightsError
from mimicmotion.pose.layout import NUM_KEYPOINTS
from mimicmotion.pose.models.sessions import Beginning, ImageGraph, open_session
from mimicmotion.video.size import Size

_PADDING: Final = 1.25
# ImageNet's mean and deviation of R, G, B.
_MEAN: Final = (123.675, 116.28, 103.53)
_STD: Final = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class WholeBodyModel:
    """A SimCC graph ready to place keypoints.

    Attributes:
        graph: the session and its facts.
        max_batch: people of one run where the graph leaves the number free.
        top: level of white where the graph normalises by itself; None where it wants ImageNet's form.
    """

    graph: ImageGraph
    max_batch: int = 32
    top: float | None = None

    @classmethod
    def open(
        cls, path: Path, *, cuda: bool, allow_cpu: bool, threads: int = 1, max_batch: int = 32
    ) -> "WholeBodyModel":
        """Return the model of this ONNX file; see ``open_session`` for the device."""
        session = open_session(path, cuda=cuda, allow_cpu=allow_cpu, threads=threads)
        graph = ImageGraph.of(session, path)
        if len(graph.outputs) != 2:
            raise WeightsError(f"{path} must have two outputs, simcc_x and simcc_y; it has {graph.form}")
        return cls(graph, max_batch, Beginning.of(path).top)

    @property
    def size(self) -> Size:
        """Size of the model's input."""
        return self.graph.size

    def prepare(
        self, frame: UInt8[np.ndarray, "h w 3"], boxes: Float[np.ndarray, "people 4"]
    ) -> Float32[np.ndarray, "people 3 height width"]:
        """Return the people of one frame as the graph takes them."""
        if not len(boxes):
            return np.zeros((0, 3, *self.size.shape), dtype=np.float32)
        return np.stack([self._cut(frame, box) for box in boxes])

    def estimate(
        self, crops: Float32[np.ndarray, "people 3 height width"], boxes: Float[np.ndarray, "people 4"]
    ) -> tuple[Float32[np.ndarray, "people 133 2"], Float32[np.ndarray, "people 133"]]:
        """Return keypoints in pixels of their frames, and confidences, of crops cut at these boxes.

        The people may come from many frames.

        Raises:
            WeightsError: the graph does not give what its form promises of 133 keypoints.
        """
        if not len(crops):
            return np.zeros((0, NUM_KEYPOINTS, 2), np.float32), np.zeros((0, NUM_KEYPOINTS), np.float32)
        return self._place(self.graph.run(crops, self.max_batch), boxes)

    def _cut(
        self, frame: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]
    ) -> Float32[np.ndarray, "3 height width"]:
        return crop(frame, box, self.size, self.top)

    def _place(
        self, results: Sequence[np.ndarray], boxes: Float[np.ndarray, "people 4"]
    ) -> tuple[Float32[np.ndarray, "people 133 2"], Float32[np.ndarray, "people 133"]]:
        outputs = dict(zip(self.graph.outputs, results, strict=True))
        first, second = self.graph.outputs
        # Named as in DWPose's file where they are; else by whose bins fit which side; else in its order.
        width, height = self.size
        if outputs[first].shape[-1] * width == outputs[second].shape[-1] * height and width != height:
            first, second = second, first
        along_x, along_y = outputs.get("simcc_x", outputs[first]), outputs.get("simcc_y", outputs[second])
        places, confidences = decode(along_x, along_y, self.size)
        return to_frame(places, boxes, self.size).astype(np.float32), confidences


def crop_frame(
    box: Float[np.ndarray, "4"], size: Size
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Return the centre and the width and height of the part of the frame that a crop of this box shows."""
    centre = (box[:2] + box[2:]) * 0.5
    width, height = (box[2:] - box[:2]) * _PADDING
    aspect = size.width_px / size.height_px
    if width > height * aspect:
        return centre, np.array([width, width / aspect])
    return centre, np.array([height * aspect, height])


def crop(
    frame: UInt8[np.ndarray, "h w 3"],
    box: Float[np.ndarray, "4"],
    size: Size,
    top: float | None = None,
) -> Float32[np.ndarray, "3 height width"]:
    """Return the person in the box, normalised or in levels of 0 to ``top``, black outside the frame."""
    centre, extent = crop_frame(box, size)
    # Three corners of a square on the width, as float32, since the release solves for the matrix so.
    half = extent[0] * 0.5
    source = np.array([centre, centre - [0, half], centre - [half, half]], dtype=np.float32)
    middle, side = np.array(size) * 0.5, size.width_px * 0.5
    target = np.array([middle, middle - [0, side], middle - [side, side]], dtype=np.float32)
    matrix = cv2.getAffineTransform(source, target)
    return cut(frame, matrix, size, top)


def cut(
    frame: UInt8[np.ndarray, "h w 3"],
    matrix: Float[np.ndarray, "2 3"],
    size: Size,
    top: float | None,
) -> Float32[np.ndarray, "3 height width"]:
    """Return what this matrix brings into a picture of this size, as ``crop`` does."""
    picture = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR)
    if top is not None:
        return picture.transpose(2, 0, 1).astype(np.float32) * np.float32(top / 255)
    # 256 levels are normalised instead of all pixels, and plane by plane, since transposing is slow.
    levels = np.arange(256, dtype=np.float64)
    tables = [((levels - mean) / std).astype(np.float32) for mean, std in zip(_MEAN, _STD, strict=True)]
    return np.stack([cv2.LUT(plane, table) for plane, table in zip(cv2.split(picture), tables, strict=True)])


def decode(
    along_x: Float[np.ndarray, "people 133 bins_x"],
    along_y: Float[np.ndarray, "people 133 bins_y"],
    size: Size,
) -> tuple[Float[np.ndarray, "people 133 2"], Float32[np.ndarray, "people 133"]]:
    """Return the places of the maxima in pixels of the crop, and the confidences.

    The split ratio (bins per pixel) is read from the shapes. Where no maximum is above 0 the place is one
    bin before the first, as in the released code.

    Raises:
        WeightsError: the shapes are not those of 133 keypoints, or x and y disagree on the ratio.
    """
    ratio = along_x.shape[-1] / size.width_px
    if along_x.shape[:2] != along_y.shape[:2] or along_x.shape[1:2] != (NUM_KEYPOINTS,) or along_x.ndim != 3:
        raise WeightsError(
            f"a whole-body model gives simcc_x and simcc_y of shape (people, {NUM_KEYPOINTS}, bins), got "
            f"{along_x.shape} and {along_y.shape}"
        )
    if ratio != along_y.shape[-1] / size.height_px:
        raise WeightsError(
            f"simcc_x has {along_x.shape[-1]} bins for {size.width_px} pixels, simcc_y has "
            f"{along_y.shape[-1]} for {size.height_px}: both must have the same number per pixel"
        )
    confidences = np.minimum(along_x.max(axis=-1), along_y.max(axis=-1))
    places = np.stack([along_x.argmax(axis=-1), along_y.argmax(axis=-1)], axis=-1).astype(np.float32)
    places[confidences <= 0] = -1
    return places / np.float32(ratio), confidences


def to_frame(
    places: Float[np.ndarray, "people 133 2"], boxes: Sequence[np.ndarray] | np.ndarray, size: Size
) -> Float[np.ndarray, "people 133 2"]:
    """Return places in crops as pixels of the frames that the crops were cut from."""
    moved = np.empty(places.shape, dtype=np.float64)
    for person, box in enumerate(boxes):
        centre, extent = crop_frame(box, size)
        moved[person] = places[person] / np.array(size) * extent + centre - extent / 2
    return moved

"""Finds people with 133 keypoints in pictures: what an estimator is, and its form in two steps.

A ``PoseEstimator`` takes pictures and gives people. Every other file takes one whatever is behind it. Which
class reads a graph is told from its outputs: another form of detector or of keypoints is a class in a file
beside this one and a line in ``open_detector`` or ``open_wholebody``; another kind of estimator, in
``open_estimator``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from mimicmotion.errors import WeightsError
from mimicmotion.pose.calibration import Calibration
from mimicmotion.pose.layout import NUM_KEYPOINTS
from mimicmotion.pose.models.boxes import FORMS as BOX_FORMS
from mimicmotion.pose.models.boxes import BoxDetector
from mimicmotion.pose.models.detector import NMS_THRESHOLD, SCORE_THRESHOLD, Detections, PersonDetector
from mimicmotion.pose.models.heatmaps import HeatmapModel
from mimicmotion.pose.models.sessions import Beginning, ImageGraph, Providers, open_session
from mimicmotion.pose.models.simcc import WholeBodyModel
from mimicmotion.pose.people import Person
from mimicmotion.pose.settings import EstimatorSettings
from mimicmotion.pose.tracks import link
from mimicmotion.video.ahead import ahead, prefetched
from mimicmotion.video.size import Size

Frames = UInt8[np.ndarray, "n h w 3"]


class FrameReader(Protocol):
    """Random access to the frames of a video; ``video.reader.open_video`` gives one."""

    @property
    def num_frames(self) -> int:
        """Frames in the video."""

    def read(self, indices: Sequence[int]) -> Frames:
        """Frames uint8 (n, h, w, 3) RGB."""


class PoseEstimator(Protocol):
    """Finds everybody in pictures, with 133 keypoints in the order of COCO-WholeBody each."""

    @property
    def files(self) -> Mapping[str, Path]:
        """Its weight files by role, e.g. ``detector``."""

    def people(self, chunks: Iterable[Frames]) -> Iterator[list[Person]]:
        """Yield the people of each frame, from frames uint8 (n, h, w, 3) RGB that come in chunks.

        Boxes and keypoints are in pixels of the frame, confidences as the model gave them.
        """


class Detector(Protocol):
    """Finds people in frames; see ``PersonDetector``."""

    def prepare(self, frames: Frames) -> np.ndarray:
        """Frames as ``detect`` takes them."""

    def detect(self, prepared: np.ndarray, frame_size: Size) -> list[Detections]:
        """People of each frame, in pixels of frames of this size."""


@dataclass(frozen=True)
class TopDownEstimator:
    """A person detector, then a whole-body model on each person.

    Attributes:
        detector: finds people.
        wholebody: places their keypoints.
        files: both weight files by role.
        batches_in_flight: batches that each model works on at the same time.
    """

    detector: Detector
    wholebody: WholeBodyModel
    files: Mapping[str, Path] = field(default_factory=dict)
    batches_in_flight: int = 1

    def people(self, chunks: Iterable[Frames]) -> Iterator[list[Person]]:
        """Yield the people of each frame, from frames that come in chunks.

        Reading, the detector and the whole-body model each run in threads of their own; people of many frames
        go through the models together. While a batch is on the device, threads prepare those that follow.
        """
        num = self.batches_in_flight
        searched = ahead(prefetched(self._search, ahead(chunks), num, num))
        for people in prefetched(self._place, searched, num, num):
            yield from people

    def _search(self, frames: Frames) -> tuple[Sequence[Detections], np.ndarray]:
        """The people of a chunk, and their pictures as the whole-body model takes them."""
        found = self.detector.detect(self.detector.prepare(frames), Size.of(frames[0]))
        cut = [self.wholebody.prepare(frame, one.boxes) for frame, one in zip(frames, found, strict=True)]
        return found, np.concatenate(cut)

    def _place(self, searched: tuple[Sequence[Detections], np.ndarray]) -> list[list[Person]]:
        """The people of each frame of a chunk, with their keypoints."""
        found, crops = searched
        points, sure = self.wholebody.estimate(crops, np.concatenate([one.boxes for one in found]))
        rest = zip(points, sure, strict=True)
        return [
            [
                Person(box, score, *next(rest))
                for box, score in zip(one.boxes, one.scores.tolist(), strict=True)
            ]
            for one in found
        ]


def open_estimator(
    detector: Path,
    wholebody: Path,
    *,
    cuda: bool,
    allow_cpu: bool,
    threads: int = 1,
    score_threshold: float = SCORE_THRESHOLD,
    nms_threshold: float = NMS_THRESHOLD,
    frames_per_batch: int = 16,
    people_per_batch: int = 32,
    batches_in_flight: int = 1,
    half: bool = False,
    providers: Providers | None = None,
) -> PoseEstimator:
    """The estimator of these ONNX files; see ``open_session`` for the device.

    Args:
        detector: finds people, see ``open_detector``.
        wholebody: places keypoints, see ``open_wholebody``.
        cuda: work on the GPU.
        allow_cpu: go on with the CPU, with a warning, where ONNX Runtime cannot use the GPU.
        threads: CPU threads of each model.
        score_threshold: people with a score above it are kept.
        nms_threshold: of two boxes that overlap by more, the better one stays; a graph that chooses by itself
            does not use it.
        frames_per_batch: most frames searched together.
        people_per_batch: most people whose keypoints are placed together.
        batches_in_flight: batches that each model works on at the same time.
        half: run the models in half precision.
        providers: see ``open_session``.

    Raises:
        WeightsError: a file is missing or of another form.
        InputError: CUDA is not there, and the CPU is not allowed.
    """
    device = {
        "cuda": cuda, "allow_cpu": allow_cpu, "threads": threads, "half": half, "providers": providers,
    }  # fmt: skip
    return TopDownEstimator(
        open_detector(detector, score_threshold, nms_threshold, frames_per_batch, **device),
        open_wholebody(wholebody, people_per_batch, **device),
        {"detector": detector, "wholebody": wholebody},
        batches_in_flight,
    )


def configured_estimator(settings: EstimatorSettings, **how: Any) -> PoseEstimator | None:
    """The estimator of these settings, None where they name no models; see ``open_estimator``."""
    if settings.detector is None or settings.wholebody is None:
        return None
    return open_estimator(
        settings.detector,
        settings.wholebody,
        score_threshold=settings.score_threshold,
        nms_threshold=settings.nms_threshold,
        **how,
    )


@dataclass(frozen=True)
class CalibratedEstimator:
    """An estimator whose people carry probabilities for confidences.

    Attributes:
        estimator: finds them.
        calibration: of its whole-body model.

    Raises:
        InputError: the calibration is of another model.
    """

    estimator: PoseEstimator
    calibration: Calibration

    def __post_init__(self) -> None:
        self.calibration.check_files(self.files)

    @property
    def files(self) -> Mapping[str, Path]:
        """Its weight files by role."""
        return self.estimator.files

    def people(self, chunks: Iterable[Frames]) -> Iterator[list[Person]]:
        """Yield the people of each frame, from frames that come in chunks."""
        for people in self.estimator.people(chunks):
            yield [
                replace(person, confidences=self.calibration.probabilities(person.confidences))
                for person in people
            ]


def calibrated_estimator(settings: EstimatorSettings, **how: Any) -> PoseEstimator | None:
    """The estimator of these settings with their calibration, None where they name no models."""
    estimator, calibration = configured_estimator(settings, **how), settings.opened_calibration()
    if estimator is None or calibration is None:
        return estimator
    return CalibratedEstimator(estimator, calibration)


def open_detector(
    path: Path, score_threshold: float, nms_threshold: float, max_batch: int, **device: Any
) -> Detector:
    """The detector of a graph in YOLOX's raw form or one of ``boxes.FORMS``, told from its outputs.

    Raises:
        WeightsError: the graph is of no known form; names them.
    """
    graph = ImageGraph.of(open_session(path, **device), path)
    if found := BoxDetector.known(graph, path, score_threshold, max_batch):
        return found
    if len(graph.outputs) != 1 or any(len(shape) != 3 for shape in graph.outputs.values()):
        raise WeightsError(
            f"{path} is no person detector of a known form. Its outputs are {graph.form}; known are "
            f"YOLOX's raw rows (n, cells, 5 + classes); {'; '.join(BOX_FORMS)}"
        )
    return PersonDetector.checked(graph, path, score_threshold, nms_threshold, max_batch)


def open_wholebody(path: Path, max_batch: int, **device: Any) -> WholeBodyModel:
    """The whole-body model of a graph of SimCC vectors or heatmaps, told from its outputs.

    Raises:
        WeightsError: the graph is of no known form; names them.
    """
    graph = ImageGraph.of(open_session(path, **device), path)
    ranks = [len(shape) for shape in graph.outputs.values()]
    points = {shape[1] for shape in graph.outputs.values() if len(shape) > 1 and isinstance(shape[1], int)}
    kind = {(3, 3): WholeBodyModel, (4,): HeatmapModel}.get(tuple(ranks))
    if kind is None or points - {NUM_KEYPOINTS}:
        raise WeightsError(
            f"{path} is no whole-body model of a known form. Its outputs are {graph.form}; known are SimCC "
            f"vectors, simcc_x and simcc_y (n, {NUM_KEYPOINTS}, bins), as DWPose and RTMW give, and heatmaps "
            f"(n, {NUM_KEYPOINTS}, rows, columns), as ViTPose gives"
        )
    return kind(graph, max_batch, Beginning.of(path).top)


def estimate_image(estimator: PoseEstimator, image: UInt8[np.ndarray, "h w 3"]) -> list[Person]:
    """Return the people in a picture, the main person first; empty where there is nobody."""
    (people,) = estimator.people([image[None]])
    ranked = link([people], fps=1.0, size=Size.of(image))[0]
    return [person for _, person in sorted(ranked, key=lambda pair: pair[0])]


def estimate_video(
    estimator: PoseEstimator, reader: FrameReader, frames_per_batch: int
) -> list[list[Person]]:
    """Return the people of every frame of a video.

    Args:
        estimator: finds them.
        reader: the video.
        frames_per_batch: frames that are read and searched together.
    """

    def chunks() -> Iterator[Frames]:
        for start in range(0, reader.num_frames, frames_per_batch):
            yield reader.read(range(start, min(start + frames_per_batch, reader.num_frames)))

    return list(estimator.people(chunks()))

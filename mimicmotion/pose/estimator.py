"""Finds people with 133 keypoints in pictures: what an estimator is, and its first form.

A ``PoseEstimator`` takes pictures and gives people. Every other file takes one whatever is behind it: another
back end is a class here or in a file beside this one, and a line in ``open_estimator``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from mimicmotion.pose.ahead import ahead
from mimicmotion.pose.detector import NMS_THRESHOLD, SCORE_THRESHOLD, Detections, PersonDetector
from mimicmotion.pose.people import Person
from mimicmotion.pose.settings import EstimatorSettings
from mimicmotion.pose.simcc import WholeBodyModel
from mimicmotion.pose.tracks import link

Frames = UInt8[np.ndarray, "n h w 3"]


class FrameReader(Protocol):
    """Random access to the frames of a video; ``video.reader.VideoReader`` is one."""

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


@dataclass(frozen=True)
class TopDownEstimator:
    """A person detector of YOLOX's form, then a whole-body model of SimCC's form on each person.

    Attributes:
        detector: finds people.
        wholebody: places their keypoints.
        files: both weight files by role.
    """

    detector: PersonDetector
    wholebody: WholeBodyModel
    files: Mapping[str, Path] = field(default_factory=dict)

    def people(self, chunks: Iterable[Frames]) -> Iterator[list[Person]]:
        """Yield the people of each frame, from frames that come in chunks.

        Reading, letterboxing, detection, cutting out people, and the whole-body model each run in a thread of
        their own; people of many frames go through the models together.
        """
        detector, wholebody = self.detector, self.wholebody
        read = ahead(chunks)
        prepared = ahead((frames, detector.prepare(frames)) for frames in read)
        searched = ahead(
            (frames, detector.detect(pictures, frames.shape[1:3])) for frames, pictures in prepared
        )
        cut = ahead((found, _cut_out(wholebody, frames, found)) for frames, found in searched)
        for found, crops in cut:
            keypoints, confidences = wholebody.estimate(crops, np.concatenate([one.boxes for one in found]))
            first = 0
            for one in found:
                last = first + len(one.boxes)
                points, sure = keypoints[first:last], confidences[first:last]
                yield [
                    Person(*each) for each in zip(one.boxes, one.scores.tolist(), points, sure, strict=True)
                ]
                first = last


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
) -> PoseEstimator:
    """The estimator of these ONNX files; see ``open_session`` for the device.

    Args:
        detector: YOLOX person detector.
        wholebody: SimCC whole-body model.
        cuda: work on the GPU.
        allow_cpu: go on with the CPU, with a warning, where ONNX Runtime cannot use the GPU.
        threads: CPU threads of each model.
        score_threshold: people with a score above it are kept.
        nms_threshold: of two boxes that overlap by more, the better one stays.
        frames_per_batch: most frames searched together.
        people_per_batch: most people whose keypoints are placed together.

    Raises:
        WeightsError: a file is missing or of another form.
        InputError: CUDA is not there, and the CPU is not allowed.
    """
    return TopDownEstimator(
        PersonDetector.open(
            detector,
            cuda=cuda,
            allow_cpu=allow_cpu,
            threads=threads,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            max_batch=frames_per_batch,
        ),
        WholeBodyModel.open(
            wholebody, cuda=cuda, allow_cpu=allow_cpu, threads=threads, max_batch=people_per_batch
        ),
        {"detector": detector, "wholebody": wholebody},
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


def estimate_image(estimator: PoseEstimator, image: UInt8[np.ndarray, "h w 3"]) -> list[Person]:
    """Return the people in a picture, the main person first; empty where there is nobody."""
    (people,) = estimator.people([image[None]])
    ranked = link([people], fps=1.0, size=image.shape[:2])[0]
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


def _cut_out(
    wholebody: WholeBodyModel, frames: Frames, found: Sequence[Detections]
) -> Float32[np.ndarray, "people 3 height width"]:
    """Return the people of all these frames, as the model takes them."""
    return np.concatenate(
        [wholebody.prepare(frame, one.boxes) for frame, one in zip(frames, found, strict=True)]
    )

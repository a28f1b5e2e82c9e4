"""People with 133 keypoints in a picture or in every frame of a video: detector, then whole-body model."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from mimicmotion.pose.ahead import ahead
from mimicmotion.pose.detector import Detections, PersonDetector
from mimicmotion.pose.people import Person
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


def estimate_image(
    detector: PersonDetector, wholebody: WholeBodyModel, image: UInt8[np.ndarray, "h w 3"]
) -> list[Person]:
    """Return the people in a picture, the main person first; empty where there is nobody."""
    found = detector.detect(detector.prepare([image]), image.shape[:2])[0]
    boxes = found.boxes
    keypoints, confidences = wholebody.estimate(wholebody.prepare(image, boxes), boxes)
    people = [
        Person(*each) for each in zip(boxes, found.scores.tolist(), keypoints, confidences, strict=True)
    ]
    ranked = link([people], fps=1.0, size=image.shape[:2])[0]
    return [person for _, person in sorted(ranked, key=lambda pair: pair[0])]


def estimate_video(
    detector: PersonDetector, wholebody: WholeBodyModel, reader: FrameReader, frames_per_batch: int
) -> list[list[Person]]:
    """Return the people of every frame of a video.

    Reading, letterboxing, detection, cutting out people, and the whole-body model each run in a thread of
    their own; people of many frames go through the models together.

    Args:
        detector: finds people.
        wholebody: places their keypoints.
        reader: the video.
        frames_per_batch: frames that are read and searched together.
    """

    def chunks() -> Iterator[Frames]:
        for start in range(0, reader.num_frames, frames_per_batch):
            yield reader.read(range(start, min(start + frames_per_batch, reader.num_frames)))

    return list(estimate_frames(detector, wholebody, chunks()))


def estimate_frames(
    detector: PersonDetector, wholebody: WholeBodyModel, chunks: Iterable[Frames]
) -> Iterator[list[Person]]:
    """Yield the people of each frame, from frames that come in chunks."""
    read = ahead(chunks)
    prepared = ahead((frames, detector.prepare(frames)) for frames in read)
    searched = ahead((frames, detector.detect(pictures, frames.shape[1:3])) for frames, pictures in prepared)
    cut = ahead((found, _cut_out(wholebody, frames, found)) for frames, found in searched)
    for found, crops in cut:
        keypoints, confidences = wholebody.estimate(crops, np.concatenate([one.boxes for one in found]))
        first = 0
        for one in found:
            last = first + len(one.boxes)
            points, sure = keypoints[first:last], confidences[first:last]
            yield [Person(*each) for each in zip(one.boxes, one.scores.tolist(), points, sure, strict=True)]
            first = last


def _cut_out(
    wholebody: WholeBodyModel, frames: Frames, found: Sequence[Detections]
) -> Float32[np.ndarray, "people 3 height width"]:
    """Return the people of all these frames, as the model takes them."""
    return np.concatenate(
        [wholebody.prepare(frame, one.boxes) for frame, one in zip(frames, found, strict=True)]
    )

"""What other trainers want beside a clip's film: pose, face, hands, background, what is not to be learnt.

Every film has the frames of the clip, in its order and at its rate. Masks are white where something is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, UInt8

from mimicmotion.clips.overlays import Overlay
from mimicmotion.pose.drawing import draw_pose
from mimicmotion.pose.framing import framed_track
from mimicmotion.pose.layout import FACE
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PoseTrack, column_array
from mimicmotion.video.files import write_preview
from mimicmotion.video.framing import Framing
from mimicmotion.video.picture_files import write_picture
from mimicmotion.video.reader import VideoReader

FILMS: Final = ("video", "pose", "face", "hands", "ignore", "person", "background")
"""Names of the films; ``<name>.mp4`` each, and ``reference.png`` beside them."""

_AT_A_TIME: Final = 8
_FACE_MARGIN: Final = 1.3
_PERSON_MARGIN: Final = 1.15
"""Sides of the face crop over those of its points, as Wan-Animate takes them; and of the person's box."""


@dataclass(frozen=True)
class ClipConditions:
    """One clip and the poses of its film.

    Attributes:
        reader: the normalised film.
        track: its main person, in every frame of it.
        others: frame -> boxes of further people, in pixels of the film.
        overlays: of the film.
        frames: of the film, in the order of the clip.
        fit: how they become the clip's pictures.
        style: how poses are drawn.
        threshold: a face whose median confidence, or a hand whose least, exceeds it is there.
        face_px: sides of the face film.
    """

    reader: VideoReader
    track: PoseTrack
    others: dict[int, np.ndarray]
    overlays: Sequence[Overlay]
    frames: Sequence[int]
    fit: Framing
    style: DrawingStyle
    threshold: float
    face_px: int

    def write(self, folder: Path, reference_frame: int, fps: float) -> None:
        """Write every film, and the reference picture, into a folder."""
        films = {
            "video": self._pictures(),
            "pose": self.poses(),
            "face": self.faces(),
            "hands": self._masks(np.where(self.hands[..., None], self._framed.hand_boxes, np.nan)),
            "ignore": self._masks(self._ignored()),
            "person": self._masks(self._person),
            "background": self._backgrounds(),
        }
        for name in FILMS:
            write_preview(folder / f"{name}.mp4", films[name], fps)
        write_picture(folder / "reference.png", self.fit.frames(self.reader.read([reference_frame]))[0])

    @property
    def _framed(self) -> PoseTrack:
        return framed_track(self.track.select(self.frames), self.fit)

    @property
    def hands(self) -> Bool[np.ndarray, "n 2"]:
        """Which hands are there in each frame."""
        return self.track.select(self.frames).hand_confidences > self.threshold

    @property
    def shows_face(self) -> Bool[np.ndarray, " n"]:
        """Whether a face is there in each frame."""
        confidences = self.track.select(self.frames).confidences[:, FACE]
        return np.asarray(np.median(confidences, axis=1) > self.threshold)

    def _raw(self) -> Iterator[UInt8[np.ndarray, "k h w 3"]]:
        for begin in range(0, len(self.frames), _AT_A_TIME):
            yield self.reader.read(self.frames[begin : begin + _AT_A_TIME])

    def _pictures(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        for chunk in self._raw():
            yield from self.fit.frames(chunk)

    def poses(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """The drawn pose of the main person in each frame, as training draws it."""
        track = self._framed
        size = track.size_px
        for keypoints, confidences in zip(track.keypoints, track.confidences, strict=True):
            yield draw_pose(keypoints[None], confidences[None], size, self.style).transpose(1, 2, 0)

    def faces(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """The face in each frame, cut as a square from the film itself; black where none is there."""
        track = self.track.select(self.frames)
        known = (track.confidences[:, FACE] > 0) | ~self.shows_face[
            :, None
        ]  # what was not found lies at 0, 0
        points = np.where(known[..., None], track.keypoints[:, FACE], np.nan)
        low, high = np.nanmin(points, axis=1), np.nanmax(points, axis=1)
        sides = np.maximum(np.rint((high - low).max(axis=1) * _FACE_MARGIN), 2).astype(int)
        corners = np.rint((low + high) / 2 - sides[:, None] / 2).astype(int)
        frames = (frame for chunk in self._raw() for frame in chunk)
        for frame, shown, corner, side in zip(frames, self.shows_face, corners, sides, strict=True):
            if shown:
                size = (self.face_px, self.face_px)
                yield np.asarray(cv2.resize(_square(frame, corner[0], corner[1], side), size))
            else:
                yield np.zeros((self.face_px, self.face_px, 3), np.uint8)

    @property
    def _person(self) -> Float[np.ndarray, "n 1 4"]:
        boxes = self._framed.boxes
        middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * _PERSON_MARGIN
        return np.concatenate([middle - half, middle + half], axis=1)[:, None]

    def _ignored(self) -> Iterator[Float[np.ndarray, "k 4"]]:
        """Boxes of further people and of overlays in each frame."""
        for frame in self.frames:
            there = [one[2:] for one in self.overlays if one.first <= frame < one.end]
            boxes = np.array([*self.others.get(frame, ()), *there], np.float64)
            yield self.fit.boxes(boxes.reshape(-1, 4))

    def _masks(self, boxes: Iterable[np.ndarray]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        width, height = self.fit.target
        for of_frame in boxes:
            mask = np.zeros((height, width, 3), np.uint8)
            for rows, columns in _spans(of_frame, width, height):
                mask[rows, columns] = 255
            yield mask

    def _backgrounds(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        width, height = self.fit.target
        for frame, boxes in zip(self._pictures(), self._person, strict=True):
            for rows, columns in _spans(boxes, width, height):
                frame[rows, columns] = 0
            yield frame


def further_people(table: pa.Table) -> dict[int, np.ndarray]:
    """Frame -> boxes of all but the main person, of rows of the pose stage."""
    others = table.filter(pa.compute.greater(table["person"], 0))
    boxes, frames = column_array(others, "box", (4,)), others["frame"].to_numpy()
    return {int(frame): boxes[frames == frame] for frame in np.unique(frames)}


def _spans(boxes: Float[np.ndarray, "k 4"], width: int, height: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the boxes that are there, to whole pixels outward, inside the picture."""
    for box in boxes[np.isfinite(boxes).all(axis=1)]:
        left, top = np.clip(np.floor(box[:2]), 0, [width, height]).astype(int)
        right, bottom = np.clip(np.ceil(box[2:]), 0, [width, height]).astype(int)
        yield slice(top, bottom), slice(left, right)


def _square(frame: UInt8[np.ndarray, "h w 3"], left: int, top: int, side: int) -> UInt8[np.ndarray, "s s 3"]:
    """A square cut, black where it leaves the frame."""
    square = np.zeros((side, side, 3), np.uint8)
    height, width = frame.shape[:2]
    first, last = max(left, 0), min(left + side, width)
    above, below = max(top, 0), min(top + side, height)
    if first < last and above < below:
        square[above - top : below - top, first - left : last - left] = frame[above:below, first:last]
    return square

"""What the pictures of a video tell beside its poses: a moving camera, lasting text, blurred hands and faces.

Measured about three times a second where the poses are known, and stored as rows, so that the limits of
``clips`` can change without a picture being decoded again. Pictures are looked at with a short side of 256
pixels and in cells of 8, but hands and faces at their full size.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Float, UInt8

from mimicmotion.pose.layout import FACE, HANDS, NUM_KEYPOINTS
from mimicmotion.pose.table import PoseTrack, column_array, read_track
from mimicmotion.video.size import Size

EVIDENCE_SCHEMA = pa.schema(
    [
        ("frame", pa.int32()),
        ("background_motion", pa.float32()),
        ("left_hand_sharpness", pa.float32()),
        ("right_hand_sharpness", pa.float32()),
        ("face_sharpness", pa.float32()),
        ("overlay_cells", pa.list_(pa.int32())),
        ("overlay_scores", pa.list_(pa.uint8())),
    ]
)
"""One row per looked-at frame. ``background_motion`` is the way of corners outside of everybody, in heights
of the picture per second; null where there are too few. Sharpness, see ``sharpness``, is null where that part
was not located. Cells count row by row; 255 is one full of strokes in all directions that stay."""

_SAMPLES_PER_S, _KEY_FRAMES = 3, 10
_BLOCK_SAMPLES, _MIN_SAMPLES = 6, 3
"""Samples over which an overlay must stay, about two seconds; of fewer than three nothing can be said."""
_LAG_S = 0.1
_SHORT_SIDE_PX, CELL_PX = 256, 8
_MAX_CORNERS, _MIN_CORNERS, _CORNER_QUALITY, _CORNER_DISTANCE_PX = 200, 5, 0.01, 5
_ROUND_TRIP_PX = 0.5
"""A corner counts that is followed back to within this of where it came from."""
_STILL_SHARE = 0.25
"""Quantile of the ways of corners that counts: hair and shadows move before a still room."""
_GROWN = 0.08
"""How far the hull of a person's points is grown, as a share of its height: hair, clothes and fast hands."""
_MIN_EDGE, _MIN_STEADY = 15.0, 0.85
"""An edge has so many levels a pixel, and is steady where its mean over time keeps so much of it."""
_LETTERS = 40
"""Score of a cell that is not looked at for the motion of the background."""
_PART_PX, _MIN_PART_PX, _PART_GROWN = 48, 8, 0.15
_BLUR, _MIN_BLUR_PX = 1 / 24, 0.8
"""Width of the further blur over the size of a hand or face, which is at most 48 pixels."""
_NOISE_PX, _NOISE = 0.6, 0.3
"""A blur that noise does not outlive, and the squared gradient that is left of it."""

Grey = UInt8[np.ndarray, "h w"]


class _Reader(Protocol):
    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "n h w 3"]:
        """Frames by index."""


def looked_at_size(size: Size) -> Size:
    """Size at which pictures are looked at."""
    scale = min(1.0, _SHORT_SIDE_PX / min(size))
    return Size(*(max(1, round(side * scale)) for side in size))


def cell_grid(size: Size) -> tuple[int, int]:
    """Rows and columns of cells of a video of this size."""
    width, height = looked_at_size(size)
    return -(-height // CELL_PX), -(-width // CELL_PX)


def picture_evidence(reader: _Reader, poses: pa.Table, num_frames: int, fps: float) -> pa.Table:
    """The rows of one video in ``EVIDENCE_SCHEMA``.

    Args:
        reader: the normalised video.
        poses: its table of the pose stage.
        num_frames: of the video.
        fps: frames per second.
    """
    track = read_track(poses, num_frames)
    frames, points = poses["frame"].to_numpy(), column_array(poses, "keypoints", (NUM_KEYPOINTS, 2))
    # Other tools put what they did not find at 0, 0, far from the person.
    points[column_array(poses, "confidences", (NUM_KEYPOINTS,)) <= 0] = np.nan
    samples = np.arange(0, num_frames, _step(fps))
    lag = max(1, round(fps * _LAG_S))
    rows = []
    for block in np.array_split(samples, max(1, len(samples) // _BLOCK_SAMPLES)):
        pairs, backgrounds, sharp = list[tuple[Grey, Grey]](), list[Grey](), list[list[float]]()
        for frame in map(int, block):
            before, after = (_grey(one) for one in reader.read([frame, min(frame + lag, num_frames - 1)]))
            pairs.append((_small(before), _small(after)))
            scale = len(pairs[-1][0]) / track.height_px
            backgrounds.append(_background(pairs[-1][0].shape, points[frames == frame], scale))
            sharp.append(list(_parts(before, track, frame)))
        scores = overlay_scores([before for before, _ in pairs])
        scene = _without_overlays(scores, pairs[0][0].shape)
        cells = np.flatnonzero(scores)
        overlay = {"overlay_cells": cells.tolist(), "overlay_scores": scores.ravel()[cells].tolist()}
        for frame, pair, background, parts in zip(block.tolist(), pairs, backgrounds, sharp, strict=True):
            last = frame == num_frames - 1
            way = np.nan if last else background_motion(*pair, background & scene)
            values = [way / len(scene) * fps / min(lag, max(1, num_frames - 1 - frame)), *parts]
            known = (None if np.isnan(value) else float(value) for value in values)
            named = dict(zip(EVIDENCE_SCHEMA.names[1:5], known, strict=True))
            rows.append({"frame": frame, **named, **overlay})
    return pa.Table.from_pylist(rows, schema=EVIDENCE_SCHEMA)


def _step(fps: float) -> int:
    """Frames from one that is looked at to the next; at usual rates key frames, which are cheap to reach."""
    step = max(1, round(fps / _SAMPLES_PER_S))
    return step if 2 * step < _KEY_FRAMES else -(-step // _KEY_FRAMES) * _KEY_FRAMES


def _grey(picture: UInt8[np.ndarray, "h w 3"]) -> Grey:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY))


def _small(grey: Grey) -> Grey:
    return np.asarray(cv2.resize(grey, looked_at_size(Size.of(grey)), interpolation=cv2.INTER_AREA))


def _background(
    shape: tuple[int, ...], points: Float[np.ndarray, "m 133 2"], scale: float
) -> UInt8[np.ndarray, "h w"]:
    """255 outside of everybody, of a picture of this shape that is smaller than the video by a scale.

    Points are nan where they were not found.
    """
    mask = np.full(shape, 255, np.uint8)
    for person in (one[np.isfinite(one).all(axis=1)] for one in points * scale):
        if not len(person):
            continue
        body = cv2.fillConvexPoly(
            np.zeros(shape, np.uint8), cv2.convexHull(person.round().astype(np.int32)), 255
        )
        reach = 2 * max(1, round(_GROWN * float(np.ptp(person[:, 1])))) + 1
        mask[cv2.dilate(body, np.ones((reach, reach), np.uint8)) > 0] = 0
    return mask


def _without_overlays(scores: UInt8[np.ndarray, "rows columns"], shape: tuple[int, ...]) -> Grey:
    """255 outside of cells that may be letters, which stay where they are though the camera moves."""
    cells = np.kron(scores < _LETTERS, np.full((CELL_PX, CELL_PX), 255, np.uint8))
    return np.asarray(cells[: shape[0], : shape[1]], np.uint8)


def background_motion(before: Grey, after: Grey, background: UInt8[np.ndarray, "h w"]) -> float:
    """Way in pixels of the corners of the background that can be followed; nan where they are few."""
    start = cv2.goodFeaturesToTrack(
        before, _MAX_CORNERS, _CORNER_QUALITY, _CORNER_DISTANCE_PX, mask=background
    )
    if start is None or len(start) < _MIN_CORNERS:
        return float("nan")
    end, there, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None)
    back, here, _ = cv2.calcOpticalFlowPyrLK(after, before, end, None)
    followed = (there & here)[:, 0].astype(bool)
    followed &= np.linalg.norm(back - start, axis=-1)[:, 0] < _ROUND_TRIP_PX
    ways = np.linalg.norm(end - start, axis=-1)[followed, 0]
    return float(np.quantile(ways, _STILL_SHARE)) if len(ways) >= _MIN_CORNERS else float("nan")


def overlay_scores(greys: Sequence[Grey]) -> UInt8[np.ndarray, "rows columns"]:
    """How much each cell is full of strokes in all directions that stay where they are, up to 255.

    An edge that stays keeps its gradient in the mean over time, one that moves does not; and of a letter the
    gradients point to all sides, of a door frame to one.
    """
    stack = np.stack(greys).astype(np.float32)
    height, width = stack.shape[1:]
    rows, columns = -(-height // CELL_PX), -(-width // CELL_PX)
    if len(stack) < _MIN_SAMPLES:
        return np.zeros((rows, columns), np.uint8)
    across, down = _gradients(stack.mean(axis=0))
    lasting = np.hypot(across, down)
    usual = np.mean([np.hypot(*_gradients(picture)) for picture in stack], axis=0)
    strokes = (lasting > _MIN_EDGE) & (lasting > _MIN_STEADY * usual)
    sums = [strokes.astype(np.float32), across**2, down**2, across * down]
    edges = ((0, rows * CELL_PX - height), (0, columns * CELL_PX - width))
    density, xx, yy, xy = (
        np.pad(values * strokes, edges).reshape(rows, CELL_PX, columns, CELL_PX).mean(axis=(1, 3))
        for values in sums
    )
    spread = np.hypot(xx - yy, 2 * xy)
    all_round = np.sqrt((xx + yy - spread).clip(0) / np.maximum(xx + yy + spread, 1e-6))
    return np.asarray((255 * density * all_round).round().clip(0, 255).astype(np.uint8))


def _gradients(grey: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    return cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)


def _parts(grey: Grey, track: PoseTrack, frame: int) -> Iterator[float]:
    """Sharpness of the left hand, the right hand and the face."""
    for part in (*HANDS, FACE):
        located = track.present[frame] and (track.confidences[frame, part] > 0).all()
        yield sharpness(grey, track.keypoints[frame, part]) if located else float("nan")


def sharpness(grey: Grey, points: Float[np.ndarray, "k 2"]) -> float:
    """Share of the strength of edges around the points that a further blur of their size takes away.

    Of what is blurred already little more is taken away, whatever its size and contrast. nan where it is
    smaller than 8 pixels or mostly outside of the picture.
    """
    first, last = points.min(axis=0), points.max(axis=0)
    more = _PART_GROWN * (last - first).max()
    start = np.floor(first - more).clip(0).astype(int)
    end = np.minimum(np.ceil(last + more).astype(int) + 1, grey.shape[::-1])
    if min(end - start) < _MIN_PART_PX / 2 or max(end - start) < _MIN_PART_PX:
        return float("nan")
    crop = grey[start[1] : end[1], start[0] : end[0]]
    scale = min(1.0, _PART_PX / max(crop.shape))
    crop = np.asarray(cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)
    hull = cv2.convexHull(((points - start) * scale).round().astype(np.int32))
    reach = 2 * max(1, round(_PART_GROWN / 2 * max(crop.shape))) + 1
    inside = cv2.fillConvexPoly(np.zeros(crop.shape, np.uint8), hull, 1)
    inside = cv2.dilate(inside, np.ones((reach, reach), np.uint8)).astype(bool)
    if not inside.any():  # only the corners of its box reach into the picture
        return float("nan")
    plain = cv2.GaussianBlur(crop, (0, 0), _NOISE_PX)
    again = cv2.GaussianBlur(plain, (0, 0), max(_BLUR * max(crop.shape), _MIN_BLUR_PX))
    before, after = (
        float(np.square(_gradients(one))[:, inside].sum(axis=0).mean()) for one in (plain, again)
    )
    return 1 - np.sqrt((after + _NOISE) / (before + _NOISE))

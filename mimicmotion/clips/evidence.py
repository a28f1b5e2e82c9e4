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
"""One row per looked-at frame. ``background_motion`` is the way of edges outside of everybody, in heights
of the picture per second; null where there are too few. Sharpness, see ``sharpness``, is null where that part
was not located. Cells count row by row; 255 is one full of strokes in all directions that stay."""

_SAMPLES_PER_S, _KEY_FRAMES = 3, 10
_BLOCK_SAMPLES, _MIN_SAMPLES = 6, 3
"""Samples over which an overlay must stay, about two seconds; of fewer than three nothing can be said."""
_LAG_S = 0.1
_SHORT_SIDE_PX, CELL_PX = 256, 8
_EDGE_CELL_PX, _MIN_STEP, _MOST_EDGES = 4, 2.0, 4_000
"""Of each such cell the strongest edge is followed, if it has so many levels a pixel and more than noise."""
_CURVES = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_NOISE_OF_CURVES = 1 / (6 * 0.6745)
"""Slopes and straight edges leave nothing of it; deviation of noise over the median of what noise leaves."""
_REACH_PX, _FAR_PX, _MAX_REST = 4, 20, 0.2
"""What is compared on both sides of an edge, how far it is looked for, and which share of its contrast may be
otherwise where it is found."""
_COLUMNS, _MIN_APART, _MIN_EDGES, _COLUMNS_PER_FAULT = 8, 5, 3, 6
"""Columns of the picture, how far apart those must be that tell something, and edges that one needs for it.
The least way counts, but for one column where so many tell something."""
_GROWN = 0.08
"""How far hulls of a person's points are grown, as a share of the height: hair, clothes and fast hands."""
_EYES, _CHIN, _CROWN = slice(1, 3), 31, 133
_HULLS = (np.r_[0:5, 23:91, _CROWN], np.r_[5:7, 11:23], np.r_[5, 7, 9, 91:112], np.r_[6, 8, 10, 112:133])
"""Points of the head with hair, of trunk and legs, of either arm: between them there may be background."""
_MIN_EDGE, _MIN_STEADY = 15.0, 0.85
"""An edge has so many levels a pixel, and is steady where its mean over time keeps so much of it."""
_LETTERS = 40
"""Score of a cell that is not looked at for the motion of the background."""
_PART_PX, _MIN_PART_PX, _PART_GROWN = 48, 8, 0.15
_BLUR, _MIN_BLUR_PX = 1 / 24, 0.8
"""Width of the further blur over the size of a hand or face, which is at most 48 pixels."""
_SMOOTHED_PX = 1.0
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
    for found in points * scale:
        crown = 3 * found[_EYES].mean(axis=0) - 2 * found[_CHIN]
        person, body = np.vstack([found, crown]), np.zeros(shape, np.uint8)
        known = np.isfinite(person).all(axis=1)
        for hull in (person[part][known[part]] for part in _HULLS):
            if len(hull):
                cv2.fillConvexPoly(body, cv2.convexHull(hull.round().astype(np.int32)), 255)
        reach = 2 * max(1, round(_GROWN * float(np.ptp(person[known, 1])))) + 1 if known.any() else 1
        mask[cv2.dilate(body, np.ones((reach, reach), np.uint8)) > 0] = 0
    return mask


def _without_overlays(scores: UInt8[np.ndarray, "rows columns"], shape: tuple[int, ...]) -> Grey:
    """255 outside of cells that may be letters, which stay where they are though the camera moves."""
    cells = np.kron(scores < _LETTERS, np.full((CELL_PX, CELL_PX), 255, np.uint8))
    return np.asarray(cells[: shape[0], : shape[1]], np.uint8)


def background_motion(before: Grey, after: Grey, background: UInt8[np.ndarray, "h w"]) -> float:
    """Way in pixels of the edges of the background; nan where none are at both sides.

    An edge tells only its way across itself, so upright and level ones are asked apart; and each column of
    the picture has one voice, so that a thing that drifts before a still room is outvoted.
    """
    places, normals = _edges(before, background)
    ways = np.abs(_ways(before, after, places, normals))
    upright = np.abs(normals[:, 0]) > np.abs(normals[:, 1])
    columns = places[:, 0].astype(int) * _COLUMNS // before.shape[1]
    found = list[float]()
    for told in (upright & ~np.isnan(ways), ~upright & ~np.isnan(ways)):
        own = {column: ways[told & (columns == column)] for column in range(_COLUMNS)}
        voices = {column: np.median(some) for column, some in own.items() if len(some) >= _MIN_EDGES}
        if voices and max(voices) - min(voices) >= _MIN_APART:
            found.append(float(sorted(voices.values())[len(voices) // _COLUMNS_PER_FAULT]))
    return float(np.hypot.reduce(found)) if found else float("nan")


def _edges(
    grey: Grey, background: UInt8[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "m 2"]]:
    """Places of the strongest edges of the background, and the direction across each."""
    across, down = _gradients(cv2.GaussianBlur(grey, (0, 0), _SMOOTHED_PX).astype(np.float32))
    inside = cv2.erode(
        background, np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=(0,)
    )
    steps = np.hypot(across, down) * (inside > 0)
    curves = np.abs(cv2.filter2D(grey.astype(np.float32), -1, _CURVES))[background > 0]
    noise = float(np.median(curves)) * _NOISE_OF_CURVES if curves.size else 0.0
    side = _EDGE_CELL_PX
    height, width = (length // side for length in grey.shape)
    cells = steps[: height * side, : width * side].reshape(height, side, width, side).swapaxes(1, 2)
    cells = cells.reshape(height, width, side * side)
    row, column = np.nonzero(cells.max(axis=2) > max(_MIN_STEP, noise))
    down_in, across_in = np.divmod(cells.argmax(axis=2)[row, column], side)
    places = np.stack([column * side + across_in, row * side + down_in], axis=1)
    x, y = (places := places[:: 1 + len(places) // _MOST_EDGES]).T
    normals = np.stack([across[y, x], down[y, x]], axis=1) / steps[y, x, None]
    return places.astype(np.float32), normals.astype(np.float32)


def _ways(
    before: Grey, after: Grey, places: Float[np.ndarray, "m 2"], normals: Float[np.ndarray, "m 2"]
) -> Float[np.ndarray, " m"]:
    """How far each edge moved across itself, in pixels; nan where it is not found again."""
    if not len(places):
        return np.zeros(0, np.float32)
    along = np.arange(-_REACH_PX - _FAR_PX, _REACH_PX + _FAR_PX + 1)
    lines = (places[:, None] + normals[:, None] * along[:, None]).astype(np.float32)
    smooth = (cv2.GaussianBlur(grey, (0, 0), _SMOOTHED_PX).astype(np.float32) for grey in (before, after))
    early, late = (
        cv2.remap(grey, lines, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for grey in smooth
    )
    shown = early[:, _FAR_PX:-_FAR_PX]
    shown = shown - shown.mean(axis=1, keepdims=True)
    found = np.lib.stride_tricks.sliding_window_view(late, shown.shape[1], axis=1)
    found = found - found.mean(axis=2, keepdims=True)  # it may have become darker
    rest = np.square(found - shown[:, None]).mean(axis=2)
    best = rest.argmin(axis=1).clip(1, 2 * _FAR_PX - 1)
    nearer, least, farther = rest[np.arange(len(rest)), best + np.array([[-1], [0], [1]])]
    between = (nearer - farther) / np.maximum(2 * (nearer + farther - 2 * least), 1e-6)
    ways = best - _FAR_PX + between.clip(-0.5, 0.5)
    return np.where(rest.min(axis=1) < _MAX_REST * np.square(shown).mean(axis=1), ways, np.nan)


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

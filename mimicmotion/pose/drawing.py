"""The confidence-aware picture of poses, bit for bit as the released code draws it, but without its waste.

The released steps (facts in ``tests/golden/README.md``): draw all limbs on a black canvas whose short side is
2160 pixels, multiply it by 0.6, draw points, hands and faces, shrink it to the size of the picture, swap the
first and third channel. Three observations make the same bytes cheap:

* shapes are filled without blending, so scaling the canvas by 0.6 is scaling the colours of the limbs;
* only the box around the marks is ever bright, and shrinking that box alone gives the same pixels where its
  corners lie on whole pixels of both canvas and picture;
* swapping channels is drawing in swapped colours.
"""

import colorsys
import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from mimicmotion.errors import InputError
from mimicmotion.pose.layout import (
    HAND_EDGES,
    LIMBS,
    NUM_OPENPOSE_KEYPOINTS,
    OPENPOSE_BODY,
    OPENPOSE_FACE,
    OPENPOSE_LEFT_HAND,
    OPENPOSE_RIGHT_HAND,
    to_openpose,
)
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.video.size import Size

BODY_COLOURS: Final = (
    (255, 0, 0),
    (255, 85, 0),
    (255, 170, 0),
    (255, 255, 0),
    (170, 255, 0),
    (85, 255, 0),
    (0, 255, 0),
    (0, 255, 85),
    (0, 255, 170),
    (0, 255, 255),
    (0, 170, 255),
    (0, 85, 255),
    (0, 0, 255),
    (85, 0, 255),
    (170, 0, 255),
    (255, 0, 255),
    (255, 0, 170),
    (255, 0, 85),
)
EDGE_COLOURS: Final = tuple(
    colorsys.hsv_to_rgb(edge / len(HAND_EDGES), 1.0, 1.0) for edge in range(len(HAND_EDGES))
)
_LIMB_DIMMING: Final = 0.6
_POINT_RADIUS, _FACE_RADIUS, _LIMB_HALF_WIDTH, _EDGE_WIDTH = 4, 3, 4, 2
# The reach of a dot around its point, and a black rim for interpolation.
_MARGIN_PX: Final = _POINT_RADIUS + 4
# Limbs are turned by whole degrees, so the tip of one lies up to a degree beside its point.
_TURN: Final = math.sin(math.radians(1))


def draw_pose(
    keypoints: Float[np.ndarray, "p 133 2"],
    confidences: Float[np.ndarray, "p 133"],
    size: Size,
    style: DrawingStyle,
) -> UInt8[np.ndarray, "3 h w"]:
    """Return the pose picture of all people of one frame, uint8 RGB (3, h, w).

    Args:
        keypoints: COCO-WholeBody points, pixels of a picture of ``size``.
        confidences: raw SimCC maxima. They may exceed 1; as in the released code each channel is its value
            times the confidence, truncated and cut to 255, so brightness saturates.
        size: of the picture.
        style: what to draw, and how.

    Raises:
        InputError: a coordinate or confidence is not a finite number.
    """
    if not (np.isfinite(keypoints).all() and np.isfinite(confidences).all()):
        raise InputError("cannot draw a pose with keypoints or confidences that are not finite numbers")
    points, scores = to_openpose(keypoints, confidences, style.keypoint_threshold)
    return draw_openpose(points / np.array(size, dtype=np.float64), scores, size, style)


def draw_openpose(
    points: Float[np.ndarray, "p 134 2"],
    scores: Float[np.ndarray, "p 134"],
    size: Size,
    style: DrawingStyle,
) -> UInt8[np.ndarray, "3 h w"]:
    """Return the pose picture of people in OpenPose order, in [0, 1] of the picture; see ``draw_pose``."""
    width, height = size
    scale = style.canvas_short_side_px / min(height, width)
    canvas_height, canvas_width = int(height * scale), int(width * scale)
    points = points * np.array([canvas_width, canvas_height], dtype=np.float64)
    visible = _visible(points, scores, style)
    image = np.zeros((3, height, width), dtype=np.uint8)
    if not visible.any():
        return image
    longest = float(np.linalg.norm(np.ptp(points[visible], axis=0)))
    margin = _MARGIN_PX + math.ceil(longest / 2 * _TURN)
    columns = _Span.around(points[visible, 0], margin, canvas_width, width)
    rows = _Span.around(points[visible, 1], margin, canvas_height, height)
    if columns.is_empty or rows.is_empty:
        return image
    marks = _Marks(
        canvas=np.zeros((rows.canvas_len, columns.canvas_len, 3), dtype=np.uint8),
        origin=np.array([columns.canvas_start, rows.canvas_start]),
        points=points,
        brightness=scores if style.use_confidence else visible.astype(np.float64),
        visible=visible,
    )
    marks.draw()
    shrunk = cv2.resize(marks.canvas, (columns.picture_len, rows.picture_len))
    image[:, rows.picture, columns.picture] = shrunk.transpose(2, 0, 1)
    return image


def _visible(
    points: Float[np.ndarray, "p 134 2"], scores: Float[np.ndarray, "p 134"], style: DrawingStyle
) -> Bool[np.ndarray, "p 134"]:
    """Return which points are drawn: sure body points, and hands and faces inside the canvas."""
    sure = scores > style.keypoint_threshold
    # The release skips hand and face points at x or y <= 0.01 after truncation to whole pixels.
    inside = np.logical_and(points[..., 0] >= 1, points[..., 1] >= 1)
    if not style.use_confidence:
        inside = np.logical_and(inside, sure)
    visible = np.zeros(scores.shape, dtype=bool)
    if style.draw_body:
        visible[:, OPENPOSE_BODY] = sure[:, OPENPOSE_BODY]
    if style.draw_face:
        visible[:, OPENPOSE_FACE] = inside[:, OPENPOSE_FACE]
    if style.draw_hands:
        hands = slice(OPENPOSE_LEFT_HAND.start, NUM_OPENPOSE_KEYPOINTS)
        visible[:, hands] = inside[:, hands]
    return visible


@dataclass(frozen=True)
class _Span:
    """A range of canvas pixels that shrinks to a whole range of picture pixels, along one axis."""

    canvas_start: int
    canvas_len: int
    picture_start: int
    picture_len: int

    @classmethod
    def around(cls, positions: Float[np.ndarray, " n"], margin: int, canvas: int, picture: int) -> "_Span":
        """Return the smallest span that holds all positions with a margin on both sides."""
        # Interpolation weights repeat every `period` picture pixels, `step` canvas pixels.
        period = picture // math.gcd(canvas, picture)
        step = canvas // math.gcd(canvas, picture)
        last = min(picture // period, -(-(math.ceil(positions.max()) + margin) // step))
        first = max(0, (math.floor(positions.min()) - margin) // step)
        # OpenCV holds positions in float32: only fractions of two stay the same when the start moves.
        if period & (period - 1):
            first = 0
        return cls(first * step, (last - first) * step, first * period, (last - first) * period)

    @property
    def is_empty(self) -> bool:
        """True where no mark touches the canvas."""
        return self.canvas_len <= 0

    @property
    def picture(self) -> slice:
        """The picture pixels."""
        return slice(self.picture_start, self.picture_start + self.picture_len)


class _Marks:
    """The marks of one frame, drawn on a part of the canvas in the released order."""

    def __init__(
        self,
        canvas: UInt8[np.ndarray, "h w 3"],
        origin: Int[np.ndarray, "2"],
        points: Float[np.ndarray, "p 134 2"],
        brightness: Float[np.ndarray, "p 134"],
        visible: Bool[np.ndarray, "p 134"],
    ) -> None:
        self.canvas = canvas
        self._origin = (int(origin[0]), int(origin[1]))
        # Plain lists: the loops below read single numbers, where arrays are slow.
        self._points: list[list[list[float]]] = points.tolist()
        self._pixels: list[list[list[int]]] = (np.trunc(points).astype(np.int64) - origin).tolist()
        self._brightness: list[list[float]] = brightness.tolist()
        self._visible: list[list[bool]] = visible.tolist()

    def draw(self) -> None:
        """Draw limbs, body points, hands and faces, each over the former."""
        people = range(len(self._points))
        for limb in range(len(LIMBS)):
            for person in people:
                self._limb(person, limb)
        for point, colour in enumerate(BODY_COLOURS):
            for person in people:
                level = self._brightness[person][point]
                self._dot(person, point, _POINT_RADIUS, _scaled(colour, level))
        for hand in (OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND):
            for person in people:
                self._hand(person, hand)
        for person in people:
            for point in range(OPENPOSE_FACE.start, OPENPOSE_FACE.stop):
                self._dot(
                    person, point, _FACE_RADIUS, _scaled((255, 255, 255), self._brightness[person][point])
                )

    def _limb(self, person: int, limb: int) -> None:
        a, b = LIMBS[limb]
        visible = self._visible[person]
        if not (visible[a] and visible[b]):
            return
        (ax, ay), (bx, by) = self._points[person][a], self._points[person][b]
        centre = (int((ax + bx) / 2) - self._origin[0], int((ay + by) / 2) - self._origin[1])
        half_length = int(math.sqrt((ax - bx) ** 2 + (ay - by) ** 2) / 2)
        angle = int(math.degrees(math.atan2(ay - by, ax - bx)))
        polygon = cv2.ellipse2Poly(centre, (half_length, _LIMB_HALF_WIDTH), angle, 0, 360, 1)
        level = self._brightness[person][a] * self._brightness[person][b]
        red, green, blue = _scaled(BODY_COLOURS[limb], level)
        dimmed = (int(red * _LIMB_DIMMING), int(green * _LIMB_DIMMING), int(blue * _LIMB_DIMMING))
        cv2.fillConvexPoly(self.canvas, polygon, dimmed)

    def _hand(self, person: int, hand: slice) -> None:
        pixels, visible, brightness = self._pixels[person], self._visible[person], self._brightness[person]
        for (a, b), (first, second, third) in zip(HAND_EDGES, EDGE_COLOURS, strict=True):
            a, b = a + hand.start, b + hand.start
            if visible[a] and visible[b]:
                level = int(brightness[a] * brightness[b] * 255)
                colour = (third * level, second * level, first * level)
                cv2.line(self.canvas, pixels[a], pixels[b], colour, thickness=_EDGE_WIDTH)
        for point in range(hand.start, hand.stop):
            self._dot(person, point, _POINT_RADIUS, _scaled((0, 0, 255), brightness[point]))

    def _dot(self, person: int, point: int, radius: int, colour: tuple[int, int, int]) -> None:
        if self._visible[person][point]:
            cv2.circle(self.canvas, self._pixels[person][point], radius, colour, thickness=-1)


def _scaled(colour: tuple[int, int, int], level: float) -> tuple[int, int, int]:
    """Return the colour at this brightness in the picture's channel order, truncated and cut to [0, 255]."""
    first, second, third = colour
    return _level(third * level), _level(second * level), _level(first * level)


def _level(value: float) -> int:
    return min(255, max(0, int(value)))

"""Paints a dancer and says which of the 133 keypoints can be seen.

Each part is a filled shape with a depth; far parts are painted first. The same shapes are painted once
more with part numbers in place of colours, which tells what hides what.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from mimicmotion.synthetic.body import Skeleton
from mimicmotion.synthetic.look import Colour, Look

Array = np.ndarray
SUBPIXEL_BITS = 4


class Visibility(IntEnum):
    """What became of a keypoint in the picture."""

    VISIBLE = 0
    SELF_OCCLUDED = 1
    BEHIND_OCCLUDER = 2
    OUTSIDE = 3


class Part(IntEnum):
    """Numbers of the painted parts."""

    NOTHING = 0
    TORSO = 1
    HEAD = 2
    LEFT_UPPER_ARM = 3
    LEFT_FOREARM = 4
    LEFT_HAND = 5
    LEFT_THIGH = 6
    LEFT_SHIN = 7
    LEFT_FOOT = 8
    RIGHT_UPPER_ARM = 9
    RIGHT_FOREARM = 10
    RIGHT_HAND = 11
    RIGHT_THIGH = 12
    RIGHT_SHIN = 13
    RIGHT_FOOT = 14
    OCCLUDER = 15


def _owners() -> Array:
    """bool (133, 16): on which parts a keypoint counts as seen."""
    owns = np.zeros((133, 16), bool)
    owns[0:5, Part.HEAD] = owns[23:91, Part.HEAD] = True
    for side, (shift, hand) in enumerate(((Part.LEFT_UPPER_ARM, 91), (Part.RIGHT_UPPER_ARM, 112))):
        upper, fore, palm, thigh, shin, foot = (shift + k for k in range(6))
        owns[5 + side, [upper, Part.TORSO]] = owns[7 + side, [upper, fore]] = owns[9 + side, [fore, palm]] = (
            True
        )
        owns[11 + side, [thigh, Part.TORSO]] = owns[13 + side, [thigh, shin]] = owns[
            15 + side, [shin, foot]
        ] = True
        owns[17 + 3 * side : 20 + 3 * side, [foot, shin]] = True
        owns[hand, fore] = True
        owns[hand : hand + 21, palm] = True
    return owns


OWNERS = _owners()


@dataclass(frozen=True)
class Shape:
    """One filled polygon (k, 2) of a part, in pixels."""

    part: Part
    depth: float
    points: Array
    colour: Colour


def _circle(centre: Array, radius: float, num: int = 14) -> Array:
    t = np.linspace(0, 2 * np.pi, num, endpoint=False)
    return centre[:2] + radius * np.stack([np.cos(t), np.sin(t)], 1)


def _hull(*rings: Array) -> Array:
    return cv2.convexHull(np.concatenate(rings).astype(np.float32))[:, 0]


def _bone(a: Array, b: Array, ra: float, rb: float) -> Array:
    return _hull(_circle(a, ra, 10), _circle(b, rb, 10))


def _darker(colour: Colour, share: float) -> Colour:
    return int(colour[0] * share), int(colour[1] * share), int(colour[2] * share)


def _limbs(points: Array, look: Look, unit: float) -> list[Shape]:
    """Arms, hands, legs and feet; ``unit`` is a limb's usual half width in pixels."""
    shapes: list[Shape] = []
    sleeve = look.shirt if look.sleeves == "long" else look.skin
    legs = look.bottom if look.bottom_style == "trousers" else look.skin
    thighs = look.skin if look.bottom_style == "skirt" else look.bottom
    for side, (first, hand) in enumerate(((Part.LEFT_UPPER_ARM, 91), (Part.RIGHT_UPPER_ARM, 112))):
        shoulder, elbow, wrist = points[5 + side], points[7 + side], points[9 + side]
        hip, knee, ankle = points[11 + side], points[13 + side], points[15 + side]
        z = 0.5 * (elbow[2] + wrist[2])
        arm_z = 0.5 * (shoulder[2] + elbow[2]) + 0.3 * unit
        shapes.append(Shape(Part(first), arm_z, _bone(shoulder, elbow, 1.15 * unit, 0.95 * unit), sleeve))
        if look.sleeves == "short":
            middle = 0.45 * shoulder + 0.55 * elbow
            shapes.append(
                Shape(
                    Part(first), arm_z + 0.01, _bone(shoulder, middle, 1.25 * unit, 1.15 * unit), look.shirt
                )
            )
        shade = _darker(sleeve, 0.93)
        shapes.append(
            Shape(Part(first + 1), z + 0.4 * unit, _bone(elbow, wrist, 0.95 * unit, 0.7 * unit), shade)
        )
        shapes.extend(_hand(points[hand : hand + 21], Part(first + 2), z + 0.8 * unit, look.skin, unit))
        leg_z = 0.5 * (hip[2] + knee[2]) - 1.2 * unit
        shade = _darker(legs, 0.94)
        shapes.append(
            Shape(Part(first + 4), leg_z - 0.2 * unit, _bone(knee, ankle, 1.15 * unit, 0.85 * unit), shade)
        )
        shapes.append(Shape(Part(first + 3), leg_z, _bone(hip, knee, 1.55 * unit, 1.25 * unit), thighs))
        big, small, heel = points[17 + 3 * side : 20 + 3 * side]
        foot = _hull(_circle(big, 0.6 * unit), _circle(small, 0.5 * unit), _circle(heel, 0.6 * unit))
        shapes.append(Shape(Part(first + 5), leg_z + 0.1 * unit, foot, look.shoes))
    return shapes


def _hand(hand: Array, part: Part, depth: float, skin: Colour, unit: float) -> list[Shape]:
    """A palm and five fingers in slightly different shades, so that they stand apart."""
    palm = _hull(*(_circle(hand[k], 0.42 * unit, 8) for k in (0, 1, 5, 9, 13, 17)))
    shapes = [Shape(part, depth, palm, skin)]
    for finger in range(5):
        joints = hand[[4 * finger + k for k in (1, 2, 3, 4)]]
        shade = _darker(skin, 0.90 if finger % 2 else 0.98)
        for a, b in itertools.pairwise(joints):
            shapes.append(
                Shape(part, depth + 0.01 * (finger + 1), _bone(a, b, 0.30 * unit, 0.26 * unit), shade)
            )
    return shapes


def _torso(points: Array, neck: Array, look: Look, unit: float) -> list[Shape]:
    hips = [points[11], points[12]]
    z = float(np.mean([points[k][2] for k in (5, 6, 11, 12)]))
    waist = [0.8 * h + 0.2 * neck for h in hips]
    body = _hull(
        *(_circle(points[k], 1.25 * unit) for k in (5, 6)), *(_circle(w, 1.35 * unit) for w in waist)
    )
    seat = _hull(*(_circle(h, 1.6 * unit) for h in hips), *(_circle(w, 1.3 * unit) for w in waist))
    shapes = [Shape(Part.TORSO, z - 0.02, seat, look.bottom), Shape(Part.TORSO, z, body, look.shirt)]
    if look.bottom_style == "skirt":
        ends = [0.35 * points[11 + k] + 0.65 * points[13 + k] for k in (0, 1)]
        skirt = _hull(*(_circle(w, 1.2 * unit) for w in waist), *(_circle(e, 2.1 * unit) for e in ends))
        shapes.append(Shape(Part.TORSO, z - 0.01, skirt, look.bottom))
    low, high = 0.5 * (hips[0] + hips[1]), neck
    if look.pattern == "stripe":
        for share in (0.45, 0.65):
            at = [low * (1 - share) + high * share + (points[5 + k] - neck) * 0.92 for k in (0, 1)]
            shapes.append(
                Shape(Part.TORSO, z + 0.01, _bone(at[0], at[1], 0.35 * unit, 0.35 * unit), look.shirt_mark)
            )
    if look.pattern == "badge":
        shapes.append(
            Shape(Part.TORSO, z + 0.01, _circle(0.35 * low + 0.65 * high, 0.9 * unit), look.shirt_mark)
        )
    return shapes


def _features(face: Array, depth: float) -> list[Shape]:
    """Eyes, brows, nose and mouth, as the face points say."""
    thin = 0.028 * float(np.linalg.norm(face[8] - face[27]) + np.linalg.norm(face[0] - face[16])) / 2
    shapes = []
    for eye, brow in ((face[36:42], face[17:22]), (face[42:48], face[22:27])):
        shapes.append(Shape(Part.HEAD, depth + 0.02, _hull(eye), (250, 250, 250)))
        shapes.append(Shape(Part.HEAD, depth + 0.03, _circle(eye.mean(0), 1.8 * thin), (30, 28, 40)))
        for a, b in itertools.pairwise(brow):
            shapes.append(Shape(Part.HEAD, depth + 0.03, _bone(a, b, thin, thin), (60, 40, 32)))
    shapes.append(Shape(Part.HEAD, depth + 0.03, _bone(face[28], face[30], thin, 1.6 * thin), (185, 120, 95)))
    shapes.append(Shape(Part.HEAD, depth + 0.03, _hull(face[48:60]), (190, 60, 70)))
    shapes.append(Shape(Part.HEAD, depth + 0.04, _hull(face[60:68]), (110, 25, 35)))
    return shapes


def _head(
    s: Skeleton, frame: int, points: Array, centre: Array, neck: Array, size: float, look: Look
) -> list[Shape]:
    z = float(centre[2]) + 0.6 * size
    turn = s.head_rotation[frame]
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    up = turn[:2, 1] / max(float(np.linalg.norm(turn[:2, 1])), 1e-6)
    right = np.array([up[1], -up[0]])
    skull = centre[:2] + size * (0.40 * np.cos(t)[:, None] * right + 0.5 * np.sin(t)[:, None] * up)

    def at(x: float, y: float, depth: float) -> Array:
        """A place on the head, given in head heights, in the picture."""
        place: Array = centre + turn @ np.array([x, y, depth]) * size
        return place

    throat = _bone(neck, 0.4 * neck + 0.6 * centre, 0.19 * size, 0.17 * size)
    faces_us = turn[2, 2] > -0.15
    hair_z = z + (0.01 if faces_us else 0.2)
    back, brow_line = at(0, -0.05, -0.16), at(0, -0.16, 0.30)
    cap = _hull(_circle(at(0, -0.20, -0.08), 0.40 * size), _circle(at(0, -0.28, 0.02), 0.33 * size))
    above = (cap - brow_line[:2]) @ up < 0
    if above.sum() >= 3:
        cap = _hull(cap[above], *(at(k * 0.40, -0.14, 0.05)[None, :2] for k in (-1, 1)))
    shapes = [
        Shape(Part.TORSO, float(neck[2]) + 0.05, throat, _darker(look.skin, 0.88)),
        Shape(Part.HEAD, z, skull, look.skin),
        Shape(Part.HEAD, hair_z, cap, look.shirt_mark if look.hair_style == "cap" else look.hair),
        Shape(Part.HEAD, z - 0.5 * size, _circle(back, 0.43 * size), look.hair),
    ]
    if look.hair_style == "long":
        depth = float(neck[2]) - 0.4 * size if faces_us else hair_z
        mane = _hull(_circle(back, 0.44 * size), _circle(at(0, 0.62, -0.24), 0.36 * size))
        shapes.append(Shape(Part.HEAD, depth, mane, look.hair))
    if look.hair_style == "bun":
        shapes.append(Shape(Part.HEAD, z - 0.4 * size, _circle(at(0, -0.58, -0.1), 0.2 * size), look.hair))
    if faces_us:
        shapes.extend(_features(points[23:91, :2], z + 0.02))
    return shapes


def shapes_of(
    skeleton: Skeleton, frame: int, look: Look, scale: float, origin: Array, girth: float, head: float
) -> list[Shape]:
    """Every part of the dancer in one frame, far to near, in pixels.

    Args:
        scale: pixels of one body height.
        origin: where the skeleton's (0, 0) lies in the picture, pixels (2,).
        girth: how stout the body is, 1 is usual.
        head: height of the head in body heights.
    """

    def place(p: Array) -> Array:
        return np.concatenate([p[..., :2] * scale + origin, p[..., 2:] * scale], -1)

    points, neck, centre = (place(p[frame]) for p in (skeleton.keypoints, skeleton.neck, skeleton.head))
    unit = 0.030 * girth * scale
    shapes = _limbs(points, look, unit) + _torso(points, neck, look, unit)
    shapes += _head(skeleton, frame, points, centre, neck, head * scale, look)
    return sorted(shapes, key=lambda shape: shape.depth)


def _fixed(points: Array, scale: float) -> Array:
    return np.round(points * scale * 2**SUBPIXEL_BITS).astype(np.int32)


def paint(canvas: Array, shapes: Sequence[Shape], scale: float = 1.0) -> Array:
    """Paint shapes over a picture in place, with a darker rim on each large part; returns the picture."""
    for shape in shapes:
        points = _fixed(shape.points, scale)
        cv2.fillPoly(canvas, [points], shape.colour, cv2.LINE_AA, SUBPIXEL_BITS)
        if shape.part not in (Part.HEAD, Part.LEFT_HAND, Part.RIGHT_HAND):
            cv2.polylines(canvas, [points], True, _darker(shape.colour, 0.82), 1, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas


def visibility(
    points: Array, shapes: Sequence[Shape], occluder: Array | None, width: int, height: int, front: Array
) -> Array:
    """What became of each keypoint, int8 (133,) of ``Visibility``.

    Args:
        points: keypoints in pixels (133, 2).
        shapes: the parts, far to near.
        occluder: polygon (4, 2) in pixels of what stands in front, or None.
        front: bool (133,), False for face points on the far side of the head.
    """
    parts = np.zeros((2 * height, 2 * width), np.uint8)
    for shape in shapes:
        cv2.fillPoly(parts, [_fixed(shape.points, 2)], int(shape.part), cv2.LINE_8, SUBPIXEL_BITS)
    if occluder is not None:
        cv2.fillPoly(parts, [_fixed(occluder, 2)], int(Part.OCCLUDER), cv2.LINE_8, SUBPIXEL_BITS)
    xy = np.floor(points * 2).astype(int)
    inside = (xy >= 0).all(1) & (xy[:, 0] < 2 * width) & (xy[:, 1] < 2 * height)
    found = parts[np.clip(xy[:, 1], 0, 2 * height - 1), np.clip(xy[:, 0], 0, 2 * width - 1)]
    seen = OWNERS[np.arange(133), found] & front
    seen |= found == Part.NOTHING  # at the very rim of its own part
    seen &= front
    result = np.where(seen, Visibility.VISIBLE, Visibility.SELF_OCCLUDED)
    result[found == Part.OCCLUDER] = Visibility.BEHIND_OCCLUDER
    result[~inside] = Visibility.OUTSIDE
    return result.astype(np.int8)

"""Time of our pose drawing against the plain form of the released steps, in one run, on the same poses.

python benchmarks/drawing.py [--frames 40]
"""

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np

from mimicmotion.pose.drawing import (
    BODY_COLOURS,
    EDGE_COLOURS,
    DrawingStyle,
    draw_openpose,
)
from mimicmotion.pose.layout import HAND_EDGES, LIMBS, OPENPOSE_FACE, OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND


def plain_drawing(
    points: np.ndarray, scores: np.ndarray, size: tuple[int, int], short_side_px: int
) -> np.ndarray:
    """Return the picture by the released steps: whole canvas, float multiply by 0.6, whole resize."""
    scale = short_side_px / min(size)
    height, width = int(size[0] * scale), int(size[1] * scale)
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    pixels = points * np.array([width, height], dtype=np.float64)
    for limb, pair in enumerate(LIMBS):
        for person in range(len(points)):
            conf = scores[person, list(pair)]
            if conf.min() < 0.3:
                continue
            x, y = pixels[person, list(pair), 0], pixels[person, list(pair), 1]
            length = ((y[0] - y[1]) ** 2 + (x[0] - x[1]) ** 2) ** 0.5
            angle = np.degrees(np.arctan2(y[0] - y[1], x[0] - x[1]))
            centre = (int(np.mean(x)), int(np.mean(y)))
            polygon = cv2.ellipse2Poly(centre, (int(length / 2), 4), int(angle), 0, 360, 1)
            cv2.fillConvexPoly(canvas, polygon, [int(c * (conf[0] * conf[1])) for c in BODY_COLOURS[limb]])
    canvas = (canvas * 0.6).astype(np.uint8)
    for point, colour in enumerate(BODY_COLOURS):
        for person in range(len(points)):
            if scores[person, point] > 0.3:
                where = pixels[person, point].astype(int).tolist()
                cv2.circle(canvas, where, 4, [int(c * scores[person, point]) for c in colour], thickness=-1)
    _plain_hands_and_faces(canvas, pixels, scores)
    return cv2.cvtColor(cv2.resize(canvas, size[::-1]), cv2.COLOR_BGR2RGB).transpose(2, 0, 1)


def _plain_hands_and_faces(canvas: np.ndarray, pixels: np.ndarray, scores: np.ndarray) -> None:
    for hand in (OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND):
        for person in range(len(pixels)):
            xy, conf = pixels[person, hand].astype(int), scores[person, hand]
            for (a, b), colour in zip(HAND_EDGES, EDGE_COLOURS, strict=True):
                if (xy[[a, b]] > 0.01).all():
                    rgb = np.array(colour) * int(conf[a] * conf[b] * 255)
                    cv2.line(canvas, xy[a].tolist(), xy[b].tolist(), rgb, thickness=2)
            for point in range(21):
                if (xy[point] > 0.01).all():
                    cv2.circle(canvas, xy[point].tolist(), 4, (0, 0, int(conf[point] * 255)), thickness=-1)
    for person in range(len(pixels)):
        for point in range(OPENPOSE_FACE.start, OPENPOSE_FACE.stop):
            xy = pixels[person, point].astype(int)
            if (xy > 0.01).all():
                cv2.circle(canvas, xy.tolist(), 3, (int(scores[person, point] * 255),) * 3, thickness=-1)


def dancer(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return one person (1, 134, 2) in [0, 1] that fills most of the height, and its confidences."""
    points = random.uniform([0.3, 0.1], [0.7, 0.95], (1, 134, 2))
    points[:, OPENPOSE_FACE] = random.uniform([0.45, 0.1], [0.55, 0.2], (1, 68, 2))
    for hand, left in ((OPENPOSE_LEFT_HAND, 0.3), (OPENPOSE_RIGHT_HAND, 0.6)):
        points[:, hand] = random.uniform([left, 0.5], [left + 0.1, 0.6], (1, 21, 2))
    return points, random.uniform(0.2, 1.0, (1, 134))


def milliseconds(draw: Callable[[np.ndarray, np.ndarray], np.ndarray], poses: list) -> float:
    """Return the mean time of one picture."""
    start = time.perf_counter()
    for points, scores in poses:
        draw(points, scores)
    return (time.perf_counter() - start) / len(poses) * 1000


def main() -> None:
    """Print one row per picture size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=40)
    frames = parser.parse_args().frames
    cv2.setNumThreads(1)
    random = np.random.default_rng(0)
    poses = [dancer(random) for _ in range(frames)]
    print(f"{'picture':>12} {'canvas':>7} {'plain ms':>9} {'ours ms':>8} {'faster':>7}")
    for size, short in (((1024, 576), 2160), ((576, 1024), 2160), ((192, 128), 2160), ((192, 128), 480)):
        style = DrawingStyle(canvas_short_side_px=short)

        def plain(
            points: np.ndarray, scores: np.ndarray, size: tuple = size, short: int = short
        ) -> np.ndarray:
            return plain_drawing(points, scores, size, short)

        def ours(
            points: np.ndarray, scores: np.ndarray, size: tuple = size, style: DrawingStyle = style
        ) -> np.ndarray:
            return draw_openpose(points, scores, size, style)

        for points, scores in poses:
            np.testing.assert_array_equal(plain(points, scores), ours(points, scores))
        before, after = milliseconds(plain, poses), milliseconds(ours, poses)
        print(f"{size[1]:>6} x {size[0]:<4} {short:>6} {before:>9.2f} {after:>8.2f} {before / after:>6.1f}x")


if __name__ == "__main__":
    main()

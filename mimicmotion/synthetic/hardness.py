"""What makes a film of a rendered dancer hard to read: what spoils where, and how surely, points are found.

Dark and noisy pictures, a camera too near, hands that cross, a poster of somebody else, and a mirror.
Occluders and motion blur are options of every film.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from mimicmotion.synthetic.body import Proportions, pose_skeleton
from mimicmotion.synthetic.look import Look
from mimicmotion.synthetic.motion import dance
from mimicmotion.synthetic.render import Shape, paint, shapes_of

Array = np.ndarray


@dataclass(frozen=True)
class Hardness:
    """How hard one film is.

    Attributes:
        light: factor on all levels.
        noise: deviation of new noise on every frame, in levels.
        zoom, shift: of the camera; a share of the dancer lies outside where they are large.
        crossing: the arms are held before the chest, one hand over the other.
        poster: seed of somebody whose picture hangs on the wall; None for none.
        mirror: share of the width at which a mirror shows the dancer once more; None for none.
    """

    light: float = 1.0
    noise: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    crossing: bool = False
    poster: int | None = None
    mirror: float | None = None

    @staticmethod
    def sample(seed: int) -> "Hardness":
        """Each of the hard things with a chance of its own."""
        rng = np.random.default_rng([seed, 2])
        dark, near = rng.random() < 0.5, rng.random() < 0.35
        return Hardness(
            light=float(rng.uniform(0.15, 0.5)) if dark else 1.0,
            noise=float(rng.uniform(4, 14)) if dark or rng.random() < 0.3 else 0.0,
            zoom=float(rng.uniform(1.15, 1.5)) if near else 1.0,
            shift=(float(rng.uniform(-0.25, 0.25)), float(rng.uniform(0, 0.35))) if near else (0.0, 0.0),
            crossing=bool(rng.random() < 0.4),
            poster=int(rng.integers(1_000_000)) if rng.random() < 0.35 else None,
            mirror=float(rng.choice([0.1, 0.9])) if rng.random() < 0.3 else None,
        )

    def crossed(self, angles: dict[str, Array]) -> dict[str, Array]:
        """The dance, with the arms before the chest where they are to cross; they go on moving."""
        if not self.crossing:
            return angles
        held = {"lift": 0.75, "swing": 1.1, "elbow": 1.35, "twist": -1.3}
        moved = {
            f"{side}_{joint}": middle + 0.35 * (angles[f"{side}_{joint}"] - angles[f"{side}_{joint}"].mean())
            for side in ("left", "right")
            for joint, middle in held.items()
        }
        return {**angles, **moved}

    def hang_poster(self, room: Array, scale: float) -> None:
        """Paint somebody, at rest and in a frame, on the wall of a room."""
        if self.poster is None:
            return
        rng = np.random.default_rng([self.poster, 0])
        body, look = Proportions.sample(rng), Look.sample(rng)
        skeleton = pose_skeleton(body, dance(rng, np.zeros(1)), 0.05)
        height, width = room.shape[:2]
        size = rng.uniform(0.35, 0.55) * scale
        foot = np.array([rng.choice([0.16, 0.84]) * width, rng.uniform(0.5, 0.65) * height])
        low = foot - np.array([0.3, 1.05]) * size
        high = foot + np.array([0.3, 0.05]) * size
        for colour, thickness in ((look.shirt_mark, -1), ((60, 45, 35), max(2, width // 90))):
            cv2.rectangle(room, low.astype(int).tolist(), high.astype(int).tolist(), colour, thickness)
        paint(room, shapes_of(skeleton, 0, look, size, foot, body.girth, body.head))

    def mirrored(self, shapes: list[Shape], width: int, height: int) -> list[Shape]:
        """The dancer's picture in a mirror that stands behind, smaller and the other way round."""
        if self.mirror is None:
            return []
        foot = np.array([self.mirror * width, 0.8 * height])
        middle = np.array([width / 2, 0.95 * height])
        return [
            Shape(one.part, one.depth, (one.points - middle) * [-0.55, 0.55] + foot, one.colour)
            for one in shapes
        ]

    def spoilt(self, frame: Array, rng: np.random.Generator) -> Array:
        """A frame as a poor camera takes it."""
        levels = frame * self.light
        if self.noise:
            levels = levels + rng.normal(0, self.noise, frame.shape)
        return np.clip(levels + 0.5, 0, 255).astype(np.uint8)

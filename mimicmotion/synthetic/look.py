"""What a dancer and a room look like: colours, clothes, hair, background, a thing in the way."""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

Colour = tuple[int, int, int]

SKINS: tuple[Colour, ...] = (
    (255, 224, 196), (240, 200, 165), (224, 172, 130), (198, 140, 98), (150, 100, 66), (104, 68, 46),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (30, 24, 22), (72, 48, 32), (120, 78, 40), (190, 150, 84), (150, 60, 36), (150, 150, 155), (90, 60, 140),
)  # fmt: skip


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return int(r * 255), int(g * 255), int(b * 255)


@dataclass(frozen=True)
class Look:
    """Clothes and colours of one dancer."""

    skin: Colour
    hair: Colour
    hair_style: str
    shirt: Colour
    shirt_mark: Colour
    pattern: str
    sleeves: str
    bottom: Colour
    bottom_style: str
    shoes: Colour

    @staticmethod
    def sample(rng: np.random.Generator) -> "Look":
        """A random look."""
        shade = int(rng.integers(-12, 13))
        skin = SKINS[rng.integers(len(SKINS))]
        return Look(
            skin=(skin[0] + min(shade, 255 - skin[0]), skin[1] + shade, skin[2] + shade),
            hair=HAIRS[rng.integers(len(HAIRS))],
            hair_style=str(rng.choice(["short", "long", "bun", "cap"])),
            shirt=_colour(rng, (0.35, 0.95), (0.35, 0.95)),
            shirt_mark=_colour(rng, (0.0, 0.9), (0.2, 1.0)),
            pattern=str(rng.choice(["plain", "plain", "stripe", "badge"])),
            sleeves=str(rng.choice(["long", "short"])),
            bottom=_colour(rng, (0.1, 0.9), (0.2, 0.8)),
            bottom_style=str(rng.choice(["trousers", "trousers", "shorts", "skirt"])),
            shoes=_colour(rng, (0.0, 0.9), (0.15, 0.95)),
        )

    def numbers(self) -> np.ndarray:
        """The look as float32 numbers in [0, 1]: colours, then one flag for each choice."""
        colours = (self.skin, self.hair, self.shirt, self.shirt_mark, self.bottom, self.shoes)
        flags = [self.hair_style == s for s in ("short", "long", "bun", "cap")]
        flags += [self.pattern == s for s in ("stripe", "badge")]
        flags += [self.sleeves == "long", self.bottom_style == "shorts", self.bottom_style == "skirt"]
        return np.concatenate([np.array(colours).ravel() / 255, np.array(flags)]).astype(np.float32)


def paint_room(rng: np.random.Generator, width: int, height: int, floor_y: float) -> np.ndarray:
    """An empty room, uint8 (height, width, 3) RGB: a shaded wall with things on it, and a floor."""
    picture = np.empty((height, width, 3), np.float32)
    top, low = (np.array(_colour(rng, (0.03, 0.40), (0.55, 0.95)), np.float32) for _ in range(2))
    low = 0.7 * top + 0.3 * low
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    picture[:] = top * (1 - ramp) + low * ramp
    edge = int(floor_y - rng.uniform(0.03, 0.10) * height)
    if rng.random() < 0.35:
        step = int(rng.uniform(0.10, 0.22) * width)
        for x in range(int(rng.integers(step)), width, step):
            cv2.line(picture, (x, 0), (x, edge), (low * 0.93).tolist(), max(1, width // 90))
    for _ in range(int(rng.integers(0, 4))):
        w, h = int(rng.uniform(0.10, 0.28) * width), int(rng.uniform(0.08, 0.22) * height)
        x, y = int(rng.integers(-w // 2, width - w // 2)), int(rng.integers(0, max(1, edge - h)))
        colour = _colour(rng, (0.1, 0.7), (0.3, 0.95))
        if rng.random() < 0.7:
            frame = max(1, width // 80)
            cv2.rectangle(picture, (x, y), (x + w, y + h), colour, -1)
            cv2.rectangle(picture, (x, y), (x + w, y + h), [c * 0.6 for c in colour], frame)
        else:
            cv2.circle(picture, (x + w // 2, y + h // 2), w // 2, colour, -1, cv2.LINE_AA)
    ground = np.array(_colour(rng, (0.05, 0.55), (0.30, 0.75)), np.float32)
    fade = np.linspace(1.08, 0.85, max(height - edge, 1), dtype=np.float32)[:, None, None]
    picture[edge:] = ground * fade
    return np.clip(picture, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Occluder:
    """A thing between the camera and the dancer: a post or a box that may drift across the picture.

    Attributes:
        left, top, width, height: share of the picture's width and height.
        speed: widths of the picture per second, to the right.
    """

    left: float
    top: float
    width: float
    height: float
    speed: float
    colour: Colour

    @staticmethod
    def sample(rng: np.random.Generator) -> "Occluder":
        """A random occluder."""
        colour = _colour(rng, (0.0, 0.6), (0.2, 0.9))
        speed = float(rng.uniform(-0.25, 0.25))
        if rng.random() < 0.5:
            return Occluder(rng.uniform(0.1, 0.8), 0.0, rng.uniform(0.07, 0.15), 1.0, speed, colour)
        return Occluder(
            rng.uniform(0.0, 0.7),
            rng.uniform(0.2, 0.7),
            rng.uniform(0.2, 0.4),
            rng.uniform(0.12, 0.3),
            speed,
            colour,
        )

    def corners(self, time_s: float, width: int, height: int) -> np.ndarray:
        """The four corners in pixels at an instant, float64 (4, 2)."""
        x0, y0 = (self.left + self.speed * time_s) * width, self.top * height
        x1, y1 = x0 + self.width * width, y0 + self.height * height
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])

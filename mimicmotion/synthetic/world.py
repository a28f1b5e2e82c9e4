"""Films of rendered dancers, reproducible by seed: ``python -m mimicmotion.synthetic.world FOLDER``.

A film knows the truth about itself: where the 133 keypoints are, which of them can be seen, and how fast
they move. The demo uses only the video files; training of the small models uses the truth.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mimicmotion.synthetic.body import Proportions, Skeleton, pose_skeleton
from mimicmotion.synthetic.hardness import Hardness
from mimicmotion.synthetic.look import Look, Occluder, paint_room
from mimicmotion.synthetic.motion import dance
from mimicmotion.synthetic.render import paint, shapes_of, visibility

Array = np.ndarray
WIDTH, HEIGHT, FPS = 128, 192, 12
SUPERSAMPLING = 3


@dataclass(frozen=True)
class Film:
    """A rendered video with its truth.

    Attributes:
        frames: uint8 (n, h, w, 3) RGB.
        keypoints: pixels, float32 (n, 133, 2).
        visibility: int8 (n, 133) of ``Visibility``.
        blur_px: how far each point moves while the shutter is open, float32 (n, 133).
        look: numbers of the dancer's look, float32 (27,).
    """

    frames: Array
    keypoints: Array
    visibility: Array
    blur_px: Array
    look: Array


@dataclass(frozen=True)
class _Stage:
    """Where the camera stands and what is in front of it."""

    scale: float
    origin: Array
    pitch: float
    shutter_s: float
    occluder: Occluder | None


def _set_stage(rng: np.random.Generator, width: int, height: int, occluded: float, blurred: float) -> _Stage:
    scale = rng.uniform(0.76, 0.90) * height
    origin = np.array([width * rng.uniform(0.42, 0.58), height * rng.uniform(0.93, 0.975)])
    occluder = Occluder.sample(rng) if rng.random() < occluded else None
    shutter_s = rng.uniform(0.3, 0.8) / FPS if rng.random() < blurred else 0.0
    return _Stage(scale, origin, rng.uniform(0.05, 0.16), shutter_s, occluder)


def _front(skeleton: Skeleton, frame: int) -> Array:
    """bool (133,): face points whose side of the head is turned to the camera; the rest is True."""
    front = np.ones(133, bool)
    face = np.r_[0:3, 23:91]
    outward = skeleton.keypoints[frame, face] - skeleton.head[frame]
    front[face] = outward[:, 2] > 0.12 * np.linalg.norm(outward, axis=1)
    return front


def film(
    seed: int,
    num_frames: int,
    *,
    dance_seed: int | None = None,
    width: int = WIDTH,
    height: int = HEIGHT,
    fps: float = FPS,
    occluded: float = 0.12,
    blurred: float = 0.15,
    truth: bool = True,
    limbs: float = 1.0,
    room_seed: int | None = None,
    hardness: Hardness | None = None,
) -> Film:
    """The film of one dancer.

    Args:
        seed: decides body, look, room and camera, and the dance unless ``dance_seed`` is given.
        dance_seed: another dance of the same dancer in the same room.
        occluded, blurred: chance that something stands in front, and of motion blur.
        truth: compute visibility too (costs a second painting); without it all points count as visible.
        limbs: factor on the length of arms and legs.
        room_seed: another room.
        hardness: what else makes the film hard to read.
    """
    hard = hardness or Hardness()
    dim = np.random.default_rng([seed, 3])
    rng = np.random.default_rng([seed, 0])
    body, look = Proportions.sample(rng).stretched(limbs), Look.sample(rng)
    stage = _set_stage(rng, width, height, occluded, blurred)
    painter = rng if room_seed is None else np.random.default_rng([room_seed, 2])
    room = paint_room(painter, SUPERSAMPLING * width, SUPERSAMPLING * height, SUPERSAMPLING * stage.origin[1])
    hard.hang_poster(room, SUPERSAMPLING * stage.scale)
    scale, origin = stage.scale * hard.zoom, stage.origin + np.array(hard.shift) * (width, height)
    steps = np.array([0.0]) if stage.shutter_s == 0 else np.array([0.0, -0.5, 0.5])
    shutter = (np.arange(num_frames)[:, None] / fps + steps * stage.shutter_s).ravel()
    angles = dance(np.random.default_rng([seed if dance_seed is None else dance_seed, 1]), shutter)
    angles = hard.crossed(angles)
    skeleton = pose_skeleton(body, angles, stage.pitch)
    points = skeleton.keypoints[..., :2] * scale + origin
    frames, seen = np.empty((num_frames, height, width, 3), np.uint8), np.zeros((num_frames, 133), np.int8)
    for n in range(num_frames):
        total = np.zeros((height, width, 3), np.float32)
        bar = stage.occluder.corners(n / fps, width, height) if stage.occluder else None
        for k in range(len(steps) - 1, -1, -1):
            at = n * len(steps) + k
            shapes = shapes_of(skeleton, at, look, scale, origin, body.girth, body.head)
            canvas = paint(room.copy(), hard.mirrored(shapes, width, height), SUPERSAMPLING)
            paint(canvas, shapes, SUPERSAMPLING)
            if bar is not None and stage.occluder is not None:
                cv2.fillPoly(canvas, [np.round(bar * SUPERSAMPLING).astype(np.int32)], stage.occluder.colour)
            total += cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        frames[n] = hard.spoilt(total / len(steps), dim)
        if truth:
            seen[n] = visibility(
                points[n * len(steps)], shapes, bar, width, height, _front(skeleton, n * len(steps))
            )
    every = points.reshape(num_frames, len(steps), 133, 2)
    blur = np.linalg.norm(every[:, -1] - every[:, min(1, len(steps) - 1)], axis=-1)
    return Film(frames, every[:, 0].astype(np.float32), seen, blur.astype(np.float32), look.numbers())


def films(seeds: range, num_frames: int, **options: float) -> Iterator[tuple[int, Film]]:
    """Films of many dancers, one after the other, with their seeds."""
    for seed in seeds:
        yield seed, film(seed, num_frames, **options)  # type: ignore[arg-type]


def make_videos(
    folder: Path,
    dancers: range,
    num_dances: int,
    num_frames: int,
    num_test_dances: int = 1,
    num_val_dancers: int = 0,
) -> list[Path]:
    """Write ``train/``, ``val/`` and ``test/`` with the dances of each dancer; what is there stays.

    Args:
        folder: gets ``train/dancer_<seed>_<dance>.mp4`` and ``test/...``.
        dancers: their seeds.
        num_dances: films of each, in the same room and clothes.
        num_frames: length of a film.
        num_test_dances: how many of a dancer's films go to ``test/``: the last ones.
        num_val_dancers: how many dancers have one film more, which goes to ``val/``.

    Returns:
        The paths.
    """
    from mimicmotion.video.files import write_preview

    paths = []
    for seed in dancers:
        for dance_number in range(num_dances + (seed - dancers[0] < num_val_dancers)):
            split = "train" if dance_number < num_dances - num_test_dances else "test"
            split = "val" if dance_number == num_dances else split
            path = folder / split / f"dancer_{seed:05d}_{dance_number}.mp4"
            paths.append(path)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                made = film(seed, num_frames, dance_seed=1000 * seed + dance_number, truth=False)
                write_preview(path, iter(made.frames), FPS)
    return paths


def main() -> None:
    """Write a folder of dancers, each with several dances, the last one of each to test on."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num-dancers", type=int, default=4)
    parser.add_argument("--num-dances", type=int, default=4)
    parser.add_argument("--num-val-dancers", type=int, default=2)
    parser.add_argument(
        "--first-seed", type=int, default=900_000, help="seeds below 900000 trained the models"
    )
    parser.add_argument("--num-frames", type=int, default=36)
    options = parser.parse_args()
    dancers = range(options.first_seed, options.first_seed + options.num_dancers)
    make_videos(
        options.folder,
        dancers,
        options.num_dances,
        options.num_frames,
        num_val_dancers=options.num_val_dancers,
    )


if __name__ == "__main__":
    main()

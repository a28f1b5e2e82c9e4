"""Films of rendered dancers with what the filters of ``clips`` are for, and how often each filter is right.

``python -m mimicmotion.synthetic.spoilt`` renders them, sends them the way of the stages ``decode``, ``pose``
and ``clips``, and prints precision and recall of each filter at its default. Poses are the true ones but in
shaken films and near-copies: a toy detector that misses a small hand would measure what is beside it.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from mimicmotion.clips.choosing import training_windows
from mimicmotion.clips.copies import Fingerprint, near_copies, picture_hash
from mimicmotion.clips.evidence import picture_evidence
from mimicmotion.clips.quality import PosedVideo
from mimicmotion.clips.settings import WindowSettings
from mimicmotion.pose.hands import hand_boxes
from mimicmotion.pose.layout import FACE
from mimicmotion.pose.models.estimator import PoseEstimator, estimate_video, open_estimator
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.pose.tracks import link
from mimicmotion.synthetic.world import FPS, Film, film
from mimicmotion.video.files import write_preview
from mimicmotion.video.normalise import normalise_video
from mimicmotion.video.reader import open_video
from mimicmotion.video.settings import NormaliseSettings
from mimicmotion.video.size import Size

WEIGHTS = Path(__file__).with_name("weights")
WIDTH, HEIGHT, NUM_FRAMES = 128, 192, 48
_WORDS = ("follow me", "dance with us", "part two", "new song out now", "@dancer_01")
_OTHER = 5_000
"""Added to a dancer's seed: somebody else, in another room."""
_TEXT = "overlay found"
"""A filter that rejects nothing: the cells are left out of the loss."""
Array = np.ndarray


def shaken(frames: Array, rng: np.random.Generator) -> Array:
    """A hand-held camera: it sways by 1 to 4 % of the height, a few times in a second."""
    height, width = frames.shape[1:3]
    time_s = np.arange(len(frames)) / FPS
    path = sum(
        np.sin(2 * np.pi * rate * time_s[:, None] + rng.uniform(0, 6, 2)) for rate in rng.uniform(0.4, 2.0, 3)
    )
    path *= rng.uniform(0.01, 0.04) * height / 2
    moved = [
        cv2.warpAffine(
            frame, np.array([[1, 0, right], [0, 1, down]]), (width, height), borderMode=cv2.BORDER_REFLECT
        )
        for frame, (right, down) in zip(frames, path, strict=True)
    ]
    return np.stack(moved)


def with_text(frames: Array, rng: np.random.Generator, *, lines: int, opacity: float) -> Array:
    """Bright letters with a dark edge over every frame: a logo in a corner, or a caption of several lines."""
    height, width = frames.shape[1:3]
    layer, shown = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    scale = height / rng.uniform(380, 480)
    step = round(34 * scale)
    down = (
        int(rng.choice([step, height - step * lines])) if lines == 1 else int(height - step * (lines + 0.5))
    )
    for line in range(lines):
        place = (int(rng.integers(4, width // 5)), down + line * step)
        text = str(rng.choice(_WORDS))
        for thickness, level in ((4, 10), (1, 245)):
            drawn = (text, place, cv2.FONT_HERSHEY_SIMPLEX, scale)
            cv2.putText(layer, *drawn, (level, level, level), thickness, cv2.LINE_AA)
            cv2.putText(shown, *drawn, 255, thickness, cv2.LINE_AA)
    share = opacity * shown[..., None] / 255.0
    return (frames * (1 - share) + layer * share).round().astype(np.uint8)


def turned_into(frames: Array, others: Array, rng: np.random.Generator) -> Array:
    """A dissolve into another film, or a fade into black where that is black, in half a second to one."""
    span = int(rng.integers(FPS // 2, FPS + 1))
    start = int(rng.integers(len(frames) // 3, len(frames) // 2))
    share = np.clip((np.arange(len(frames)) - start) / span, 0, 1)[:, None, None, None]
    return (frames * (1 - share) + others * share).round().astype(np.uint8)


def with_blurred(frames: Array, boxes: Array, share: float) -> Array:
    """Boxes of parts behind a blur of this share of their size.

    Args:
        frames: uint8 (n, h, w, 3).
        boxes: float (n, k, 4) xyxy pixels.
        share: standard deviation over the longer side.
    """
    blurred = frames.copy()
    down, across = np.mgrid[: frames.shape[1], : frames.shape[2]]
    for number, parts in enumerate(boxes):
        for box in parts[np.isfinite(parts).all(axis=1)]:
            size, (left, top) = (box[2:] - box[:2]).max(), (box[:2] + box[2:]) / 2
            away = np.maximum(abs(across - left), abs(down - top)) / size
            inside = np.clip(4 - 4 * away, 0, 1)[..., None]  # fades out from 3/4 to one size
            soft = cv2.GaussianBlur(frames[number], (0, 0), share * size)
            blurred[number] = (blurred[number] * (1 - inside) + soft * inside).round()
    return blurred


def _hand_boxes(one: Film) -> Array:
    return hand_boxes(one.keypoints, np.ones(one.keypoints.shape[:2], np.float32))


def _face_boxes(one: Film) -> Array:
    face = one.keypoints[:, FACE]
    return np.concatenate([face.min(axis=1), face.max(axis=1)], axis=1)[:, None]


Maker = Callable[[Film, np.random.Generator, int], Array]
FAULTS: Mapping[str, tuple[str, Maker]] = {
    "clean": ("", lambda one, rng, seed: one.frames),
    "camera shake": ("moving_camera", lambda one, rng, seed: shaken(one.frames, rng)),
    "logo": (_TEXT, lambda one, rng, seed: with_text(one.frames, rng, lines=1, opacity=1.0)),
    "faint logo": (_TEXT, lambda one, rng, seed: with_text(one.frames, rng, lines=1, opacity=0.6)),
    "caption": (_TEXT, lambda one, rng, seed: with_text(one.frames, rng, lines=2, opacity=1.0)),
    "wall of text": ("overlay", lambda one, rng, seed: with_text(one.frames, rng, lines=7, opacity=1.0)),
    "dissolve": ("fade", lambda one, rng, seed: turned_into(one.frames, _film(seed + _OTHER).frames, rng)),
    "fade to black": ("fade", lambda one, rng, seed: turned_into(one.frames, 0 * one.frames, rng)),
    "blurred hands": (
        "blurred_hands",
        lambda one, rng, seed: with_blurred(one.frames, _hand_boxes(one), 0.1),
    ),
    "blurred face": ("blurred_face", lambda one, rng, seed: with_blurred(one.frames, _face_boxes(one), 0.1)),
}
"""What is done to a film, and what the filters should say of it."""


def _film(seed: int) -> Film:
    return film(seed, NUM_FRAMES, width=WIDTH, height=HEIGHT, occluded=0, blurred=0, truth=False)


def posed(
    frames: Array, estimator: PoseEstimator, settings: WindowSettings, truth: Film | None = None
) -> tuple[PosedVideo, Fingerprint]:
    """A film as the stages ``decode`` and ``pose`` leave it, and what near-copies of it are told by.

    Args:
        frames: of the film.
        estimator: finds the poses, where they are not given.
        settings: of ``clips``.
        truth: where the dancer is.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.mp4"), Path(folder, "video.mp4")
        write_preview(source, iter(frames), FPS)
        facts = asdict(normalise_video(source, target, NormaliseSettings()))
        reader = open_video(target)
        found = [[_person(points)] for points in truth.keypoints] if truth else None
        found = found or estimate_video(estimator, reader, 8)
        people = link(found, facts["fps"], Size(facts["width_px"], facts["height_px"]))
        shape = {name: facts[name] for name in ("width_px", "height_px", "fps", "num_frames")}
        table = poses_table(PosesInfo(video_id="film", models={}, **shape), people)
        evidence = picture_evidence(reader, table, facts["num_frames"], facts["fps"])
        hashed = list(range(0, reader.num_frames, 10))
        hashes = [picture_hash(picture) for picture in reader.read(hashed)]
    video = PosedVideo.of(facts, table, evidence, settings)
    return video, Fingerprint.of(video, hashed, hashes)


def _person(points: Array) -> Person:
    box = np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)
    return Person(box, 0.9, points, np.full(len(points), 0.9, np.float32))


def said(video: PosedVideo) -> set[str]:
    """Everything that the filters say of a film."""
    reasons = {window.reject.reason for window in training_windows(video) if window.reject}
    return reasons | ({_TEXT} if video.overlays else set())


def near_copy(frames: Array, rng: np.random.Generator) -> Array:
    """The same dance cut closer by a tenth and darker, now and then mirrored."""
    height, width = frames.shape[1:3]
    down, across = (int(rng.integers(0, side // 10 + 1)) for side in (height, width))
    shown = frames[:, down : down + height * 9 // 10, across : across + width * 9 // 10]
    shown = (0.9 * shown).astype(np.uint8)[:, :, :: int(rng.choice([1, -1]))]
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in shown])


def measure(
    seeds: range, estimator: PoseEstimator, settings: WindowSettings, names: Sequence[str] = (*FAULTS,)
) -> dict[str, Counter[str]]:
    """What the filters say of films by what was done to them, and how many films there are of each."""
    found = {name: Counter[str]() for name in names}
    prints = dict[str, Fingerprint]()
    for seed in seeds:
        one = _film(seed)
        for name in names:
            rng = np.random.default_rng([seed, 7])
            # A shaken dancer is no more where he was.
            truth = None if name == "camera shake" else one
            video, _ = posed(FAULTS[name][1](one, rng, seed), estimator, settings, truth)
            found[name].update({"films", *said(video)})
            if name == "clean":
                prints[f"{seed}"] = posed(one.frames, estimator, settings)[1]
                prints[f"{seed} again"] = posed(near_copy(one.frames, rng), estimator, settings)[1]
    pairs = near_copies(prints)
    right = sum(other == f"{one} again" for one, other in pairs)
    found["near-copy"] = Counter({"films": len(seeds), "near_duplicate": right})
    found["clean"]["near_duplicate"] = len(pairs) - right
    return found


def table(found: Mapping[str, Counter[str]]) -> Iterator[str]:
    """Precision and recall of every filter as rows of Markdown."""
    wanted = {name: reason for name, (reason, _) in FAULTS.items()} | {"near-copy": "near_duplicate"}
    yield "| filter | made by | films | found | found elsewhere | precision | recall |"
    yield "|---|---|---|---|---|---|---|"
    for reason in dict.fromkeys(wanted[name] for name in found if wanted[name]):
        # Whoever covers a picture with text puts text over it.
        names = [name for name in found if wanted[name] in (reason, {_TEXT: "overlay"}.get(reason))]
        films, right = (sum(found[name][key] for name in names) for key in ("films", reason))
        wrong = {name: said[reason] for name, said in found.items() if name not in names and said[reason]}
        precision, recall = right / max(1, right + sum(wrong.values())), right / films
        elsewhere = ", ".join(f"{name} {count}" for name, count in wrong.items()) or "none"
        cells = (reason, ", ".join(names), films, right, elsewhere, f"{precision:.2f}", f"{recall:.2f}")
        yield f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print precision and recall of each filter at its default."""
    parser = argparse.ArgumentParser(description="How often each filter of clips is right.")
    parser.add_argument("--dancers", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=910_000)
    options = parser.parse_args()
    # Furniture that the toy detector takes for people is not what is measured here.
    settings = WindowSettings(num_frames=8, sizes_px=((WIDTH, HEIGHT),), max_crowded_fraction=1.0)
    estimator = open_estimator(
        WEIGHTS / "detector.onnx", WEIGHTS / "wholebody.onnx", cuda=False, allow_cpu=True, score_threshold=0.5
    )
    seeds = range(options.first_seed, options.first_seed + options.dancers)
    print("\n".join(table(measure(seeds, estimator, settings))))  # noqa: T201


if __name__ == "__main__":
    main()

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
from typing import Any, NamedTuple

import cv2
import numpy as np

from mimicmotion.clips.choosing import training_windows
from mimicmotion.clips.copies import Fingerprint, near_copies, picture_hash
from mimicmotion.clips.evidence import picture_evidence
from mimicmotion.clips.quality import PosedVideo
from mimicmotion.clips.settings import WindowSettings
from mimicmotion.pose.layout import FACE, FEET, LEFT_HAND, RIGHT_HAND
from mimicmotion.pose.models.estimator import PoseEstimator, estimate_video, open_estimator
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.pose.tracks import link
from mimicmotion.synthetic.render import Visibility
from mimicmotion.synthetic.world import FPS, film
from mimicmotion.video.files import write_preview
from mimicmotion.video.normalise import normalise_video
from mimicmotion.video.reader import open_video
from mimicmotion.video.settings import NormaliseSettings
from mimicmotion.video.size import Size

WEIGHTS = Path(__file__).with_name("weights")
WIDTH, HEIGHT, NUM_FRAMES, WINDOW = 128, 192, 48, 7
_WORDS = ("follow me", "dance with us", "part two", "new song out now", "@dancer_01")
_OTHER = 5_000
"""Added to a dancer's seed: somebody else, in another room."""
_TEXT, _ODD, _COPY = "overlay found", "odd_confidences", "near_duplicate"
"""Filters that reject nothing by default: cells are left out of the loss, a film is named."""
_HANDS = slice(LEFT_HAND.start, RIGHT_HAND.stop)
Array = np.ndarray


class Verdict(NamedTuple):
    """A film by what was done to it: what filters should say of it, and what they say."""

    name: str
    deserved: set[str]
    said: set[str]


class Posed(NamedTuple):
    """A film and where the dancer is in it.

    Attributes:
        frames: uint8 (n, h, w, 3).
        points: (n, 133, 2) pixels.
        confidences: (n, 133); a frame in which all are 0 shows nobody.
    """

    frames: Array
    points: Array
    confidences: Array


def shaken(one: Posed, rng: np.random.Generator) -> Posed:
    """A hand-held camera: it sways by 1 to 4 % of the height, a few times in a second."""
    height, width = one.frames.shape[1:3]
    time_s = np.arange(len(one.frames)) / FPS
    path = sum(
        np.sin(2 * np.pi * rate * time_s[:, None] + rng.uniform(0, 6, 2)) for rate in rng.uniform(0.4, 2.0, 3)
    )
    path *= rng.uniform(0.01, 0.04) * height / 2
    moved = [
        cv2.warpAffine(
            frame, np.array([[1, 0, right], [0, 1, down]]), (width, height), borderMode=cv2.BORDER_REFLECT
        )
        for frame, (right, down) in zip(one.frames, path, strict=True)
    ]
    return one._replace(frames=np.stack(moved), points=one.points + path[:, None])


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


def turned_into(one: Posed, other: Posed, rng: np.random.Generator) -> Posed:
    """A dissolve into another film, or a fade into black where that is black, in half a second to one."""
    span = int(rng.integers(FPS // 2, FPS + 1))
    start = int(rng.integers(len(one.frames) // 3, len(one.frames) // 2))
    share = np.clip((np.arange(len(one.frames)) - start) / span, 0, 1)
    mixed = [a * (1 - part) + b * part for a, b, part in zip(one.frames, other.frames, share, strict=True)]
    late = (share > 0.5)[:, None]
    points = np.where(late[..., None], other.points, one.points)
    confidences = np.where(late, other.confidences, one.confidences)
    return Posed(np.stack(mixed).round().astype(np.uint8), points, confidences)


def darkness(one: Posed) -> Posed:
    """Black frames in which nobody is."""
    return Posed(0 * one.frames, one.points, 0 * one.confidences)


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
        for box in parts:
            size, (left, top) = (box[2:] - box[:2]).max(), (box[:2] + box[2:]) / 2
            away = np.maximum(abs(across - left), abs(down - top)) / size
            inside = np.clip(4 - 4 * away, 0, 1)[..., None]  # fades out from 3/4 to one size
            soft = cv2.GaussianBlur(frames[number], (0, 0), share * size)
            blurred[number] = (blurred[number] * (1 - inside) + soft * inside).round()
    return blurred


def _blurred(one: Posed, *parts: slice) -> Array:
    spans = [one.points[:, part] for part in parts]
    boxes = [np.concatenate([span.min(axis=1), span.max(axis=1)], axis=1) for span in spans]
    return with_blurred(one.frames, np.stack(boxes, axis=1), 0.1)


def _unsure(one: Posed, rng: np.random.Generator) -> Array:
    """Confidences of somebody whose hands are in his pockets: some points of each are always unsure."""
    confidences = one.confidences.copy()
    confidences[:, _HANDS] = rng.uniform(0.02, 0.5, confidences[:, _HANDS].shape)
    return confidences


def _sure_once(one: Posed, rng: np.random.Generator) -> Array:
    """The same, but twice in a second both are seen."""
    seen = np.arange(len(one.frames))[:, None] % (FPS // 2) == 0
    return np.where(seen, one.confidences, _unsure(one, rng))


def _all_or_nothing(one: Posed) -> Array:
    """Confidences of a tool that has none: its feet were not found."""
    confidences = np.ones_like(one.confidences)
    confidences[:, FEET] = 0
    return confidences


Maker = Callable[[Posed, np.random.Generator, int], Posed]


def _text(lines: int, opacity: float) -> Maker:
    def write(one: Posed, rng: np.random.Generator, seed: int) -> Posed:
        return one._replace(frames=with_text(one.frames, rng, lines=lines, opacity=opacity))

    return write


FAULTS: Mapping[str, tuple[str, Maker]] = {
    "clean": ("", lambda one, rng, seed: one),
    "thing in front": ("", lambda one, rng, seed: _film(seed, occluded=1.0)),
    "a hand sure at times": ("", lambda one, rng, seed: one._replace(confidences=_sure_once(one, rng))),
    "camera shake": ("moving_camera", lambda one, rng, seed: shaken(one, rng)),
    "logo": (_TEXT, _text(1, 1.0)),
    "faint logo": (_TEXT, _text(1, 0.6)),
    "caption": (_TEXT, _text(2, 1.0)),
    "wall of text": ("overlay", _text(7, 1.0)),
    "dissolve": ("fade", lambda one, rng, seed: turned_into(one, _film(seed + _OTHER), rng)),
    "fade to black": ("fade", lambda one, rng, seed: turned_into(one, darkness(one), rng)),
    "unsure hands": ("unsure_hands", lambda one, rng, seed: one._replace(confidences=_unsure(one, rng))),
    "blurred hands": (
        "blurred_hands",
        lambda one, rng, seed: one._replace(frames=_blurred(one, LEFT_HAND, RIGHT_HAND)),
    ),
    "blurred face": ("blurred_face", lambda one, rng, seed: one._replace(frames=_blurred(one, FACE))),
    "confidences 0 and 1": (_ODD, lambda one, rng, seed: one._replace(confidences=_all_or_nothing(one))),
    "confidences of a heatmap": (
        _ODD,
        lambda one, rng, seed: one._replace(confidences=one.confidences * rng.uniform(1.5, 3)),
    ),
}
"""What is done to a film, and what the filters should say of it."""


def _film(seed: int, occluded: float = 0.0, dance_seed: int | None = None) -> Posed:
    """A dancer with true poses, as sure as a SimCC model is; what a thing in front hides is unsure."""
    scene: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "dance_seed": dance_seed, "occluded": occluded}
    made = film(seed, NUM_FRAMES, **scene, blurred=0, truth=occluded > 0)
    confidences = np.random.default_rng([seed, 8]).uniform(0.6, 1.1, made.keypoints.shape[:2])
    confidences[made.visibility == Visibility.BEHIND_OCCLUDER] *= 0.1
    return Posed(made.frames, made.keypoints, confidences.astype(np.float32))


def read(
    one: Posed, settings: WindowSettings, estimator: PoseEstimator | None = None
) -> tuple[PosedVideo, Fingerprint]:
    """A film as the stages ``decode`` and ``pose`` leave it, and what near-copies of it are told by.

    Args:
        one: the film.
        settings: of ``clips``.
        estimator: finds the poses; else they are those of the film.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.mp4"), Path(folder, "video.mp4")
        write_preview(source, iter(one.frames), FPS)
        facts = asdict(normalise_video(source, target, NormaliseSettings()))
        reader = open_video(target)
        given = [_people(*frame) for frame in zip(one.points, one.confidences, strict=True)]
        found = estimate_video(estimator, reader, 8) if estimator else given
        people = link(found, facts["fps"], Size(facts["width_px"], facts["height_px"]))
        shape = {name: facts[name] for name in ("width_px", "height_px", "fps", "num_frames")}
        table = poses_table(PosesInfo(video_id="film", models={}, **shape), people)
        evidence = picture_evidence(reader, table, facts["num_frames"], facts["fps"])
        hashed = list(range(0, reader.num_frames, 10))
        hashes = [picture_hash(picture) for picture in reader.read(hashed)]
    video = PosedVideo.of(facts, table, evidence, settings)
    return video, Fingerprint.of(video, hashed, hashes)


def _people(points: Array, confidences: Array) -> list[Person]:
    box = np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)
    whole = points.astype(np.float32), confidences.astype(np.float32)
    return [Person(box, 0.9, *whole)] if confidences.any() else []


def said(video: PosedVideo) -> set[str]:
    """Everything that the filters say of a film."""
    reasons = {window.reject.reason for window in training_windows(video) if window.reject}
    reasons |= {_TEXT} if video.overlays else set()
    return reasons | ({_ODD} if video.odd_confidences else set())


def near_copy(frames: Array, rng: np.random.Generator) -> Array:
    """The same dance cut closer by a tenth and darker, now and then mirrored."""
    height, width = frames.shape[1:3]
    down, across = (int(rng.integers(0, side // 10 + 1)) for side in (height, width))
    shown = frames[:, down : down + height * 9 // 10, across : across + width * 9 // 10]
    shown = (0.9 * shown).astype(np.uint8)[:, :, :: int(rng.choice([1, -1]))]
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in shown])


def also_true(one: Posed) -> set[str]:
    """What may be said of a film besides what was done to it: its hands leave the picture."""
    inside = ((one.points >= 0) & (one.points < (WIDTH, HEIGHT))).all(axis=2) & (one.confidences > 0.3)
    seen = inside[:, LEFT_HAND].all(axis=1) | inside[:, RIGHT_HAND].all(axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(seen, WINDOW)
    return set() if windows.any(axis=1).all() else {"unsure_hands"}


def measure(
    seeds: range, estimator: PoseEstimator, settings: WindowSettings, names: Sequence[str] = (*FAULTS,)
) -> list[Verdict]:
    """What the filters say of films, and should say, by what was done to them."""
    found = list[Verdict]()
    prints = dict[str, Fingerprint]()
    for seed in seeds:
        one = _film(seed)
        for name in names:
            made = FAULTS[name][1](one, np.random.default_rng([seed, 7]), seed)
            reason, heard = FAULTS[name][0], said(read(made, settings)[0])
            deserved = {reason, _TEXT} if reason == "overlay" else {reason}
            found.append(Verdict(name, deserved, heard - (also_true(made) - deserved)))
        copied = one._replace(frames=near_copy(one.frames, np.random.default_rng([seed, 7])))
        other = _film(seed, dance_seed=seed + _OTHER)
        shown = {f"{seed}": one, f"{seed} again": copied, f"{seed} other": other}
        prints |= {name: read(posed, settings, estimator)[1] for name, posed in shown.items()}
    pairs = near_copies(prints)
    for seed in seeds:
        again = (f"{seed}", f"{seed} again")
        strangers = [pair for pair in pairs if f"{seed} other" in pair]
        found.append(Verdict("near-copy", {_COPY}, {_COPY} if again in pairs else set()))
        found.append(Verdict("another dance", set(), {_COPY} if strangers else set()))
    return found


def table(found: Sequence[Verdict]) -> Iterator[str]:
    """Precision and recall of every filter as rows of Markdown."""
    yield "| filter | films that deserve it | found | found elsewhere | precision | recall |"
    yield "|---|---|---|---|---|---|"
    for reason in (*dict.fromkeys(reason for reason, _ in FAULTS.values() if reason), _COPY):
        films = [one for one in found if reason in one.deserved]
        right = sum(reason in one.said for one in films)
        wrong = Counter(one.name for one in found if reason in one.said - one.deserved)
        made_by = ", ".join(f"{name} {count}" for name, count in Counter(one.name for one in films).items())
        elsewhere = ", ".join(f"{name} {count}" for name, count in wrong.items()) or "none"
        precision, recall = right / max(1, right + wrong.total()), right / max(1, len(films))
        cells = (reason, f"{len(films)}: {made_by}", right, elsewhere, f"{precision:.2f}", f"{recall:.2f}")
        yield f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print precision and recall of each filter at its default."""
    parser = argparse.ArgumentParser(description="How often each filter of clips is right.")
    parser.add_argument("--dancers", type=int, default=24)
    parser.add_argument("--first-seed", type=int, default=950_000)
    options = parser.parse_args()
    # Furniture that the toy detector takes for people is not what is measured here.
    settings = WindowSettings(num_frames=WINDOW + 1, sizes_px=((WIDTH, HEIGHT),), max_crowded_fraction=1.0)
    estimator = open_estimator(
        WEIGHTS / "detector.onnx", WEIGHTS / "wholebody.onnx", cuda=False, allow_cpu=True, score_threshold=0.5
    )
    seeds = range(options.first_seed, options.first_seed + options.dancers)
    print("\n".join(table(measure(seeds, estimator, settings))))  # noqa: T201


if __name__ == "__main__":
    main()

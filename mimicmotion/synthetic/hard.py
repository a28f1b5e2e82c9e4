"""The hard world: films of dancers that a detector is often unsure of, and what is known of them.

    python -m mimicmotion.synthetic.hard FOLDER

Writes ``films/train/`` and ``films/test/``, and poses to import, one folder each, in which only
confidences differ: ``detected`` as the shipped models give them; ``oracle`` 1 where a point is seen and near
0 elsewhere; ``shuffled`` as detected, but of a frame drawn from all films. ``calibration.json`` makes the
detected ones probabilities; it comes from other dancers.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mimicmotion.durable import put_in_place
from mimicmotion.metrics.confidence.reliability import BODY_SHARE_OF_BOX, TruePicture, fit, judge_pictures
from mimicmotion.pose.calibration import ROLE
from mimicmotion.pose.models.estimator import PoseEstimator, open_estimator
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import MODELS_KEY
from mimicmotion.pose.tracks import link
from mimicmotion.synthetic.hardness import Hardness
from mimicmotion.synthetic.render import Visibility
from mimicmotion.synthetic.world import FPS, HEIGHT, WIDTH, Film, film
from mimicmotion.video.files import iter_frames, write_preview
from mimicmotion.video.size import Size
from mimicmotion.weights.fetching import file_digest

WEIGHTS = Path(__file__).with_name("weights")
KINDS = ("detected", "oracle", "shuffled")
_OCCLUDED, _BLURRED = 0.5, 0.5
_SCORE_THRESHOLD = 0.5
_CALIBRATED_FROM = 800_000
_HIDDEN = 0.02
"""What the oracle gives a point that is not seen: it is drawn dark, and its hand still has a box."""

_FLOATS = pa.list_(pa.float32())
_SCHEMA = pa.schema(
    {
        "frame": pa.int32(),
        "time_s": pa.float64(),
        "person": pa.int16(),
        "box": _FLOATS,
        "box_score": pa.float32(),
        "keypoints": _FLOATS,
        "confidences": _FLOATS,
    }
)
_Frames = Sequence[Sequence[tuple[int, Person]]]


def hard_film(seed: int, num_frames: int, dance_seed: int | None = None, *, truth: bool = True) -> Film:
    """The hard film of one dancer; see ``film``."""
    hardness = Hardness.sample(seed if dance_seed is None else dance_seed)
    return film(
        seed,
        num_frames,
        dance_seed=dance_seed,
        occluded=_OCCLUDED,
        blurred=_BLURRED,
        truth=truth,
        hardness=hardness,
    )


def true_pictures(seeds: Sequence[int], num_frames: int) -> Iterator[TruePicture]:
    """Frames of hard films, a second apart, with every keypoint known, hidden ones too."""
    for seed in seeds:
        one = hard_film(seed, (num_frames - 1) * FPS + 1, truth=False)
        for frame, points in zip(one.frames[::FPS], one.keypoints[::FPS], strict=True):
            area = np.ptp(points, axis=0).prod() * BODY_SHARE_OF_BOX
            yield TruePicture(frame, points[None], np.ones((1, len(points)), bool), np.array([area]))


def make_hard_world(
    folder: Path, dancers: Sequence[int], num_dances: int, num_frames: int, estimator: PoseEstimator
) -> None:
    """Write the films of each dancer, the last dance to test on, and the poses of the three kinds."""
    found: dict[str, _Frames] = {}
    seen: dict[str, np.ndarray] = {}
    for seed in dancers:
        for dance in range(num_dances):
            split = "test" if dance == num_dances - 1 else "train"
            path = folder / "films" / split / f"hard_{seed:05d}_{dance}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            one = hard_film(seed, num_frames, 1000 * seed + dance)
            write_preview(path, iter(one.frames), FPS)
            frames = np.stack(list(iter_frames(path)))
            found[path.stem] = link(list(estimator.people([frames])), FPS, Size(WIDTH, HEIGHT))
            seen[path.stem] = one.visibility == Visibility.VISIBLE
    strangers = _shuffled(found)
    models = {role: file_digest(path) for role, path in estimator.files.items() if role == ROLE}
    for name, frames_found in found.items():
        oracle = np.where(seen[name], 1.0, _HIDDEN).astype(np.float32)
        for kind, confidences in zip(KINDS, (None, oracle, strangers[name]), strict=True):
            _write_poses(folder / "poses" / kind / f"{name}.parquet", frames_found, confidences, models)


def _shuffled(found: dict[str, _Frames]) -> dict[str, np.ndarray]:
    """For each frame of each film, the confidences of the main person in a frame drawn from all films."""
    every = [
        person.confidences
        for frames in found.values()
        for people in frames
        for track, person in people
        if not track
    ]
    rng = np.random.default_rng(0)
    return {
        name: np.stack([every[place] for place in rng.integers(len(every), size=len(frames))])
        for name, frames in found.items()
    }


def _write_poses(path: Path, frames: _Frames, confidences: np.ndarray | None, models: dict[str, str]) -> None:
    """Write an import file: places relative to the picture, other confidences for the main person."""
    size = np.array([WIDTH, HEIGHT])
    rows = [
        {
            "frame": frame,
            "time_s": frame / FPS,
            "person": track,
            "box": (person.box / np.tile(size, 2)).tolist(),
            "box_score": person.box_score,
            "keypoints": (person.keypoints / size).ravel().tolist(),
            "confidences": np.maximum(
                person.confidences if confidences is None or track else confidences[frame], 0
            ).tolist(),
        }
        for frame, people in enumerate(frames)
        for track, person in people
    ]
    table = pa.Table.from_pylist(rows, _SCHEMA.with_metadata({MODELS_KEY: json.dumps(models)}))
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".part")
    pq.write_table(table, staging)
    put_in_place(staging, path)


def main() -> None:
    """Write the hard world's films and poses."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num-dancers", type=int, default=8)
    parser.add_argument("--num-dances", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=900_000)
    parser.add_argument("--num-frames", type=int, default=56)
    parser.add_argument("--num-calibrated", type=int, default=200, help="other dancers, for the calibration")
    options = parser.parse_args()
    dancers = range(options.first_seed, options.first_seed + options.num_dancers)
    detector, wholebody = WEIGHTS / "detector.onnx", WEIGHTS / "wholebody.onnx"
    estimator = open_estimator(
        detector, wholebody, cuda=False, allow_cpu=True, score_threshold=_SCORE_THRESHOLD
    )
    make_hard_world(options.folder, dancers, options.num_dances, options.num_frames, estimator)
    others = range(_CALIBRATED_FROM, _CALIBRATED_FROM + options.num_calibrated)
    points = judge_pictures(estimator, true_pictures(others, 3))
    fit(points, file_digest(wholebody), {"truth": "world"}).write(options.folder / "calibration.json")


if __name__ == "__main__":
    main()

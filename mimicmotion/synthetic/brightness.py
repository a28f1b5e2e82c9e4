"""What the brightness of poses is worth to the shipped network, which learnt raw confidences.

    python -m mimicmotion.synthetic.brightness CALIBRATION

No training: frames of hard films are generated from the same detected places with each kind of brightness:
raw confidences, all points full, probabilities, true visibility, and the confidences of another film. Prints
PSNR by film and the mean change from raw.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from mimicmotion.animation.generate import AnimationInputs, generate
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.metrics.image import psnr
from mimicmotion.model.weights import load_pipeline
from mimicmotion.pose.calibration import Calibration
from mimicmotion.pose.models.estimator import open_estimator
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PosesInfo, PoseTrack, poses_table, read_track
from mimicmotion.pose.tracks import link
from mimicmotion.synthetic.hard import WEIGHTS, hard_film
from mimicmotion.synthetic.render import Visibility
from mimicmotion.synthetic.world import FPS, HEIGHT, WIDTH, Film

_HIDDEN = 0.02
_STYLE = DrawingStyle(canvas_short_side_px=480)


def main() -> None:
    """Print PSNR of every kind of brightness, film by film."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("calibration", type=Path)
    parser.add_argument("--films", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=910_000)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    calibration, pipeline = Calibration.read(options.calibration), load_pipeline(WEIGHTS / "base")
    estimator = open_estimator(
        WEIGHTS / "detector.onnx",
        WEIGHTS / "wholebody.onnx",
        cuda=False,
        allow_cpu=True,
        score_threshold=0.5,
    )
    settings = SamplerSettings(num_steps=options.steps, guidance_scale=1.0, tile=8, fps=FPS)
    films: list[tuple[int, Film, PoseTrack]] = []
    for seed in range(options.first_seed, options.first_seed + 4 * options.films):
        one = hard_film(seed, 8)
        people = link(list(estimator.people([one.frames])), FPS, (HEIGHT, WIDTH))
        if all(any(track == 0 for track, _ in frame) for frame in people) and len(films) < options.films:
            info = PosesInfo(video_id="", width_px=WIDTH, height_px=HEIGHT, fps=FPS, num_frames=8, models={})
            films.append((seed, one, read_track(poses_table(info, people), 8)))
    scores: dict[str, list[float]] = {}
    for place, (seed, one, track) in enumerate(films):
        visible = np.where(one.visibility == Visibility.VISIBLE, 1.0, _HIDDEN).astype(np.float32)
        kinds: dict[str, PoseTrack] = {
            "raw": track,
            "full": track,
            "calibrated": track.calibrated(calibration),
            "oracle": replace(track, confidences=visible),
            "shuffled": replace(track, confidences=films[place - 1][2].confidences),
        }
        for kind, drawn in kinds.items():
            style = _STYLE.model_copy(update={"use_confidence": kind != "full"})
            inputs = AnimationInputs(
                reference=one.frames[0],
                reference_pose=drawn.select([0]),
                driving=drawn.select(range(1, 8)),
                style=style,
            )
            made = np.stack(list(generate(pipeline, inputs, settings, 0)))
            scores.setdefault(kind, []).append(float(psnr(one.frames[1:], made).mean()))
        print(seed, {kind: round(values[-1], 2) for kind, values in scores.items()}, flush=True)  # noqa: T201
    raw = np.array(scores["raw"])
    for kind, values in scores.items():
        change = np.array(values) - raw
        error = change.std(ddof=1) / np.sqrt(len(change))
        text = f"{np.mean(values):.2f} dB, {change.mean():+.3f} from raw, standard error {error:.3f}"
        print(f"{kind}: {text}")  # noqa: T201


if __name__ == "__main__":
    main()

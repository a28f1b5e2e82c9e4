"""How a film drifts that is ten times as long as a tile: progressive fusion, independent segments, hand-over.

``python benchmarks/drift.py --picture docs/images/drift.png`` (CPU, the shipped base model, rendered dancers)

Every film has the same picture, true poses and seed. Hand-over is what window-by-window systems do: the last
frame of a segment is the reference of the next. The change of colour statistics over distance is that of the
judge's ``judge_colour_drift``; the error is the mean absolute difference from the true film, in levels.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mimicmotion.animation.generate import AnimationInputs, generate
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.metrics.film.drift import change_curve, colour_statistics, drift_slope
from mimicmotion.model.pipeline import MimicMotionPipeline
from mimicmotion.model.weights import load_pipeline
from mimicmotion.pictures.panels import grid, labelled_row
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PoseTrack
from mimicmotion.synthetic.faults import WEIGHTS, confidences
from mimicmotion.synthetic.judge_validation import clear_film, track_of
from mimicmotion.synthetic.world import FPS, Film
from mimicmotion.video.picture_files import write_picture

TILE, TIMES = 8, 10
SETTINGS = SamplerSettings(num_steps=10, guidance_scale=1.0, tile=TILE, overlap=3, fps=FPS)


def films(pipeline: MimicMotionPipeline, seed: int) -> dict[str, np.ndarray]:
    """Frames (n, h, w, 3) of the true film and by method."""
    true, picture = clear_film(seed, TIMES * TILE, dance_seed=seed + 1), clear_film(seed, 1, dance_seed=seed)
    inputs = AnimationInputs(
        reference=picture.frames[0],
        reference_pose=_track(picture),
        driving=_track(true),
        style=DrawingStyle(canvas_short_side_px=480),
    )
    made = {"true film": true.frames}
    for name, fusion in (("progressive fusion", "progressive"), ("independent segments", "none")):
        chosen = SETTINGS.replaced(fusion=fusion)
        made[name] = np.stack(list(generate(pipeline, inputs, chosen, seed=0)))
    handed = list[np.ndarray]()
    while len(handed) < len(true.frames):
        part = np.arange(len(handed), min(len(handed) + TILE - 1, len(true.frames)))
        segment = replace(inputs, driving=_track(true).select(part))
        handed += generate(pipeline, segment, SETTINGS, seed=0)
        inputs = replace(inputs, reference=handed[-1], reference_pose=_track(true).select(part[-1:]))
    made["last-frame hand-over"] = np.stack(handed)
    return made


def _track(one: Film) -> PoseTrack:
    return track_of(one.keypoints, confidences(one))


def curve_of(frames: np.ndarray) -> dict[int, float]:
    """Frame distance -> change of colour statistics."""
    return change_curve(np.array([colour_statistics(frame) for frame in frames]))


def picture_of(made: Mapping[str, np.ndarray], curves: Mapping[str, Mapping[int, float]]) -> np.ndarray:
    """The middle of the first and of the last second of each film, and all curves below."""
    rows = [
        labelled_row({f"{name}, {when} second": frames[place] for name, frames in made.items()})
        for when, place in (("first", FPS // 2), ("last", -FPS // 2))
    ]
    figure = Figure(figsize=(rows[0].shape[1] / 100, 2.6), dpi=100, layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot([*curve], [*curve.values()], marker="o", label=name)
    axes.set(xscale="log", xlabel="frames apart", ylabel="change of colours (Lab)")
    axes.legend(fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return grid([*rows, np.asarray(canvas.buffer_rgba())[..., :3]])


def main() -> None:
    """Print the table and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dancers", type=int, default=3)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    pipeline = load_pipeline(WEIGHTS / "base")
    dancers = [films(pipeline, 930_000 + number) for number in range(given.dancers)]
    print("| film | colour drift per 100 frames | error in the first second | in the last second |")
    print("|---|---|---|---|")
    curves = {}
    for name in dancers[0]:
        found = [curve_of(made[name]) for made in dancers]
        curves[name] = {step: float(np.mean([one[step] for one in found])) for step in found[0]}
        errors = [np.abs(made[name].astype(float) - made["true film"]).mean((1, 2, 3)) for made in dancers]
        first, last = (np.mean([error[part] for error in errors]) for part in (slice(FPS), slice(-FPS, None)))
        slope = drift_slope(curves[name], TIMES * TILE)
        print(f"| {name} | {slope:.2f} | {first:.2f} | {last:.2f} |")
    if given.picture is not None:
        write_picture(given.picture, picture_of(dancers[0], curves))


if __name__ == "__main__":
    main()

"""Scores without a truth, checked where there is one: ``python -m mimicmotion.synthetic.judge_validation``.

A pair is a picture of one rendered dancer and the dance of another. Its true answer is rendered: the first
dancer does the second one's dance in their own room. Known faults in three strengths are put into it, and
the judge sees each film as it would see a generated one, with the second dancer's poses on the body of the
first. A score is of use if it ranks films as their true error does: the mean absolute difference from the
true answer.

Within a column films of all pairs are ranked, by one fault. The last column ranks all films of one pair, as
choosing the best of several tries does.

With ``--tries 4`` films are made by the shipped base model instead, with four seeds each, and printed is the
true error of the one that the judge keeps, less the mean of the four. ``--out`` then has a line for each pair
as soon as it is done.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from mimicmotion.animation.generate import AnimationInputs, Pipeline, generate
from mimicmotion.diffusion.fusion import tiles
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.metrics.film.drift import tile_borders
from mimicmotion.metrics.film.film_scores import Verdict, Wanted
from mimicmotion.metrics.film.looks import FilmTools, person_bounds
from mimicmotion.metrics.film.verdicts import mean_ranks
from mimicmotion.metrics.hand_crops import crop_bounds
from mimicmotion.metrics.intervals import half_width
from mimicmotion.metrics.judging import judge_film, open_film_tools
from mimicmotion.metrics.scores import METRICS
from mimicmotion.metrics.settings import FilmJudgeSettings
from mimicmotion.model.weights import load_pipeline
from mimicmotion.pose.alignment import align
from mimicmotion.pose.hands import hand_boxes, hand_confidences
from mimicmotion.pose.layout import FACE
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PoseTrack
from mimicmotion.synthetic.faults import WEIGHTS, blurred, confidences, dropped, noisy, without_hands
from mimicmotion.synthetic.world import FPS, HEIGHT, WIDTH, Film, film
from mimicmotion.video.size import Size

TILE, OVERLAP = 8, 2
NUM_RESAMPLES = 400
clear_film = partial(film, occluded=0, blurred=0)
"""Nothing in front of the dancer, and no motion blur."""
_OTHER, _ROOM = 5_000, 7_000
Row = Mapping[str, float]
"""The true error of one film, as ``error``, and the judge's scores."""


def faulty(one: Film, seed: int, dance_seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """(fault, frames) of the true answer, each fault from its weakest to its strongest form."""
    frames, num = one.frames, len(one.frames)
    other = clear_film(seed + _OTHER, num, dance_seed=dance_seed, truth=False)
    room = clear_film(seed, num, dance_seed=dance_seed, truth=False, room_seed=seed + _ROOM)
    borders = tile_borders(tiles(num + 1, TILE, OVERLAP))
    boxes = hand_boxes(one.keypoints, np.ones(one.visibility.shape, np.float32))
    handless, mirrored = without_hands(frames, boxes), _mirrored(frames, boxes)
    faceless, empty = _painted_over(one, FACE), _painted_over(one, slice(None))
    part_of_film = np.arange(num) / num
    tile_of_frame = np.searchsorted(borders, np.arange(num), side="right")
    for light, share, limbs in ((1, 0.25, 1.1), (2, 0.5, 1.2), (4, 1.0, 1.35)):
        yield "blur", blurred(frames, 0.7 * light)
        yield "noise", noisy(frames, 5 * light)
        yield "lost frames", dropped(frames, 8 // light)
        yield "hands erased", _mixed(frames, handless, share)
        yield "hands mirrored", _where(part_of_film >= 1 - share, mirrored, frames)
        yield "face lost", _mixed(frames, faceless, share)
        yield "person lost", _where(part_of_film >= 1 - share, empty, frames)
        yield "another dancer", _where(part_of_film >= 1 - share, other.frames, frames)
        yield "another room", _where(part_of_film >= 1 - share, room.frames, frames)
        longer = clear_film(seed, num, dance_seed=dance_seed, truth=False, limbs=limbs)
        yield "limb lengths", longer.frames
        yield "drift", _tinted(frames, part_of_film * 0.1 * light)
        yield "join steps", _tinted(frames, (tile_of_frame % 2) * 0.02 * light)


def pair(seed: int, dance_seed: int, num_frames: int) -> tuple[Film, Wanted]:
    """The true answer of one dancer with another one's dance, and what a film of it is to show."""
    answer = clear_film(seed, num_frames, dance_seed=dance_seed)
    picture = clear_film(seed, 1, dance_seed=seed)
    driver = clear_film(dance_seed, num_frames)
    size, sure = Size.of(answer.frames[0]), confidences(driver)
    own = picture.keypoints, confidences(picture)
    points = align("limbs", driver.keypoints, sure, size, own[0][0], own[1][0], size)
    borders = tile_borders(tiles(num_frames + 1, TILE, OVERLAP))
    wanted = Wanted(reference=picture.frames[0], reference_pose=own, driving=(points, sure), borders=borders)
    return answer, wanted


def judged_pair(seed: int, dance_seed: int, num_frames: int, tools: FilmTools) -> list[tuple[str, Row]]:
    """(fault, scores) of every film of one pair, the true answer first under the name ``truth``."""
    answer, wanted = pair(seed, dance_seed, num_frames)
    films = (("truth", answer.frames), *faulty(answer, seed, dance_seed))
    return [(name, _row(frames, answer, judge_film(frames, wanted, tools))) for name, frames in films]


def _row(frames: np.ndarray, answer: Film, verdict: Verdict) -> Row:
    values = {one.metric: one.value for one in verdict.scores if one.value is not None}
    return {"error": true_error(frames, answer), **values}


def true_error(frames: np.ndarray, answer: Film) -> float:
    """Mean absolute difference from the true answer, in levels."""
    return float(np.abs(frames.astype(np.float32) - answer.frames).mean())


def tried_pair(
    seed: int, dance_seed: int, num_tries: int, pipeline: Pipeline, num_steps: int, tools: FilmTools
) -> tuple[list[Row], int]:
    """True error and scores of each try of one pair, one tile long, and which of them the judge keeps."""
    answer, wanted = pair(seed, dance_seed, TILE - 1)
    inputs = AnimationInputs(
        reference=wanted.reference,
        reference_pose=track_of(*wanted.reference_pose),
        driving=track_of(*wanted.driving),
        style=DrawingStyle(canvas_short_side_px=480),
    )
    settings = SamplerSettings(num_steps=num_steps, guidance_scale=1.0, tile=TILE, overlap=OVERLAP, fps=FPS)
    films = [np.stack(list(generate(pipeline, inputs, settings, number))) for number in range(num_tries)]
    verdicts = [judge_film(frames, wanted, tools) for frames in films]
    rows = [_row(frames, answer, verdict) for frames, verdict in zip(films, verdicts, strict=True)]
    return rows, int(np.argmin(mean_ranks(verdicts)))


def track_of(points: np.ndarray, sure: np.ndarray) -> PoseTrack:
    """The track of one dancer in the world's pictures, by keypoints (n, 133, 2) and confidences."""
    num = len(points)
    nowhere, hands = np.full((num, 4), np.nan, np.float32), (hand_boxes(points, sure), hand_confidences(sure))
    return PoseTrack(points, sure, np.ones(num, bool), nowhere, *hands, width_px=WIDTH, height_px=HEIGHT)


def gain(tried: Sequence[tuple[Sequence[float], int]]) -> str:
    """The error of kept tries less the mean of all, over pairs with a 95 % interval; a free choice beside."""
    changes = np.array(
        [[errors[kept] - np.mean(errors), min(errors) - np.mean(errors)] for errors, kept in tried]
    )
    half = half_width(changes.T, None)
    widths = np.full(2, np.nan) if half is None else half
    shown = [
        f"{name} {mean:+.3f} [{mean - width:+.3f}, {mean + width:+.3f}]"
        for name, mean, width in zip(("kept", "best"), changes.mean(axis=0), widths, strict=True)
    ]
    level = np.mean([errors for errors, _ in tried])
    return f"{len(tried)} pairs, mean error of a try {level:.3f} levels; less that: {', '.join(shown)}"


def agreement(metric: str, rows: Sequence[Row]) -> float:
    """Spearman's correlation of a score with the true error, positive where worse films are told as worse.

    nan where it is not known of three films, or is the same for all.
    """
    known = [(row["error"], row[metric]) for row in rows if metric in row]
    if len(known) < 3 or len({value for _, value in known}) < 2:
        return np.nan
    sign = -1 if METRICS[metric].higher_is_better else 1
    errors, values = rankdata(np.array(known), axis=0).T
    return sign * float(np.corrcoef(errors, values)[0, 1])


def intervals(pairs: Sequence[Sequence[tuple[str, Row]]]) -> dict[str, dict[str, list[float]]]:
    """Score -> fault, or ``all, within a pair`` -> agreement with its 95 % bootstrap interval over pairs."""
    faults = list(dict.fromkeys(name for name, _ in pairs[0] if name != "truth"))
    metrics = [name for name in METRICS if any(name in row for pair in pairs for _, row in pair)]
    rng = np.random.default_rng(0)
    draws = [np.arange(len(pairs)), *rng.integers(0, len(pairs), (NUM_RESAMPLES, len(pairs)))]
    table: dict[str, dict[str, list[float]]] = {}
    for metric in metrics:
        cells = {}
        for fault in faults:
            rows = [[row for name, row in pair if name in ("truth", fault)] for pair in pairs]
            cells[fault] = [agreement(metric, [row for i in draw for row in rows[i]]) for draw in draws]
        own = np.array([agreement(metric, [row for _, row in pair]) for pair in pairs])
        # A pair in which a score is the same for all films tells nothing by it.
        cells["all, within a pair"] = [float(np.nan_to_num(own[draw]).mean()) for draw in draws]
        table[metric] = {
            name: [values[0], *np.quantile(np.nan_to_num(values[1:]), (0.025, 0.975))]
            for name, values in cells.items()
        }
    return table


def markdown(table: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """The table; agreement whose interval lies above zero is bold, the last column has its interval."""
    columns = list(next(iter(table.values())))
    lines = [f"| score | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for metric, cells in table.items():
        shown = [f"**{value:.2f}**" if low > 0 else f"{value:.2f}" for value, low, _ in cells.values()]
        _, low, high = cells[columns[-1]]
        lines.append(f"| `{metric}` | {' | '.join(shown)} [{low:.2f}, {high:.2f}] |")
    return "\n".join(lines).replace("nan", "-")


def seen_best(table: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """The two faults that each score sees best, with intervals, as a table."""
    lines = ["| score | sees best | and |", "|---|---|---|"]
    for metric, cells in table.items():
        faults = sorted([*cells][:-1], key=lambda fault: -np.nan_to_num(cells[fault][0], nan=-1))[:2]
        shown = ["{} {:.2f} [{:.2f}, {:.2f}]".format(fault, *cells[fault]) for fault in faults]
        lines.append(f"| `{metric}` | {' | '.join(shown)} |")
    return "\n".join(lines)


def _mixed(frames: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    return np.round(frames * (1 - share) + other * share).astype(np.uint8)


def _where(chosen: np.ndarray, other: np.ndarray, frames: np.ndarray) -> np.ndarray:
    return np.where(chosen[:, None, None, None], other, frames)


def _tinted(frames: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Red rises and blue falls by a share of each frame's own."""
    factors = 1 + strength[:, None] * np.array([1.0, 0.0, -1.0])
    return np.clip(np.round(frames * factors[:, None, None]), 0, 255).astype(np.uint8)


def _mirrored(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    changed = frames.copy()
    for frame, hands in zip(changed, boxes, strict=True):
        for bounds in filter(None, (crop_bounds(box, Size.of(frame)) for box in hands)):
            top, bottom, left, right = bounds
            frame[top:bottom, left:right] = frame[top:bottom, left:right][:, ::-1].copy()
    return changed


def _painted_over(one: Film, points: slice) -> np.ndarray:
    """The box of some keypoints painted over with its mean colour, in every frame."""
    changed = one.frames.copy()
    for frame, pose in zip(changed, one.keypoints[:, points], strict=True):
        bounds = person_bounds(pose, np.ones(len(pose)), 0.5, Size.of(frame))
        if bounds is not None:
            top, bottom, left, right = bounds
            frame[top:bottom, left:right] = frame[top:bottom, left:right].mean(axis=(0, 1))
    return changed


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="How scores without a truth rank films with known faults.")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=910_000, help="Dancer of the first pair.")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--tries", type=int, help="Films of the shipped model, so many seeds a pair.")
    parser.add_argument("--steps", type=int, default=4, help="Steps of each of these films.")
    parser.add_argument("--out", type=Path, help="JSON for every number; JSON lines with --tries.")
    given = parser.parse_args()
    models = {name: WEIGHTS / f"{name}.onnx" for name in ("detector", "wholebody")}
    settings = FilmJudgeSettings(**models, appearance=WEIGHTS / "base")
    tools = open_film_tools(settings, cuda=False)
    seeds = range(given.first_seed, given.first_seed + given.pairs)
    if given.tries:
        pipeline, tried = load_pipeline(WEIGHTS / "base"), list[tuple[list[float], int]]()
        for seed in seeds:
            rows, kept = tried_pair(seed, seed + 1_000, given.tries, pipeline, given.steps, tools)
            tried.append((errors := [row["error"] for row in rows], kept))
            shown = ", ".join(f"{error:.3f}" for error in errors)
            print(f"{seed}: {shown}; kept {kept}", flush=True)  # noqa: T201
            if given.out is not None:
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"seed": seed, "tries": rows, "kept": kept}) + "\n")
        print(gain(tried))  # noqa: T201
        return
    pairs = [judged_pair(seed, seed + 1_000, given.frames, tools) for seed in seeds]
    table = intervals(pairs)
    if given.out is not None:
        given.out.write_text(json.dumps({"pairs": pairs, "table": table}, indent=1) + "\n", encoding="utf-8")
    print(markdown(table), seen_best(table), sep="\n\n")  # noqa: T201


if __name__ == "__main__":
    main()

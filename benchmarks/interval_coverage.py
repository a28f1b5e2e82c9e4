"""How often intervals of 95 % hold the truth, by simulation: the table in ``docs/metrics.md``.

``python benchmarks/interval_coverage.py``

A change between two arms is drawn for every seed and video as truth + effect of the seed + effect of the
video + noise. The truth is what more seeds and videos would come to; with one seed, what more videos would.
Distances between sets are drawn as windows of videos whose generated side is the true one with an error; the
truth is what other sets of so many videos come to on average.
"""

import numpy as np

from mimicmotion.metrics.intervals import half_width
from mimicmotion.metrics.scoreboard import FeatureGroups, set_distance

MODELS = {
    "seeds differ": (1.0, 0.3, 0.5),
    "videos differ": (0.3, 1.0, 0.5),
    "both differ": (1.0, 1.0, 0.5),
    "both differ a little": (0.3, 0.3, 0.5),
    "seeds alone": (1.0, 0.0, 0.5),
    "seeds alone, a little": (0.3, 0.0, 0.5),
    "videos alone": (0.0, 1.0, 0.5),
    "videos alone, a little": (0.0, 0.3, 0.5),
    "noise only": (0.0, 0.0, 1.0),
}
"""Name -> standard deviations of the effect of a seed, of a video, and of the noise."""
VIDEOS, SEEDS, SHIFTS = (3, 6, 10), (1, 2, 3, 4, 5), (0.0, 2.0)
_WINDOWS, _WIDTH = 12, 6


def coverage_of_changes(
    num_videos: int, num_seeds: int, effects: tuple[float, float, float], shift: float, trials: int
) -> float:
    """Share of simulated changes whose interval holds the truth."""
    random = np.random.default_rng([num_videos, num_seeds, int(shift)])
    of_seed, of_video, noise = effects
    by_seed = random.normal(0, of_seed, (trials, num_seeds, 1))
    by_video = random.normal(0, of_video, (trials, 1, num_videos))
    drawn = shift + by_seed + by_video + random.normal(0, noise, (trials, num_seeds, num_videos))
    values = drawn.mean(axis=2)
    without = (drawn.sum(axis=2, keepdims=True) - drawn) / (num_videos - 1)
    truth = shift + (by_seed[:, 0, 0] if num_seeds == 1 else 0.0)
    half = half_width(values, without)
    assert half is not None
    return float((np.abs(values.mean(axis=1) - truth) <= half).mean())


def coverage_of_distances(num_videos: int, shift: float, trials: int) -> float:
    """Share of simulated Frechet distances whose interval holds what other sets of so many videos give."""
    random = np.random.default_rng([num_videos, int(shift)])
    found = []
    for _ in range(trials):
        sides = FeatureGroups(_WIDTH), FeatureGroups(_WIDTH)
        for video in range(num_videos):
            true = random.normal(0, 1, (1, _WIDTH)) + random.normal(0, 0.6, (_WINDOWS, _WIDTH))
            error = random.normal(shift, 0.3, (1, _WIDTH)) + random.normal(0, 0.3, (_WINDOWS, _WIDTH))
            sides[0].add(video, true)
            sides[1].add(video, true + error)
        found.append(set_distance(*sides))
    values = np.array([[value] for value, _ in found])
    half = half_width(values, np.array([[without] for _, without in found]))
    assert half is not None
    return float((np.abs(values[:, 0] - values.mean()) <= half).mean())


def main() -> None:
    """Print the table."""
    columns = [f"{seeds} seed{'s' * (seeds > 1)}" for seeds in SEEDS]
    print(f"| | videos | {' | '.join(columns)} |")
    print(f"|---|---|{'---|' * len(columns)}")
    for name, effects in MODELS.items():
        for videos in VIDEOS:
            cells = [
                " / ".join(
                    f"{coverage_of_changes(videos, s, effects, shift, 20_000):.1%}" for shift in SHIFTS
                )
                for s in SEEDS
            ]
            print(f"| {name} | {videos} | {' | '.join(cells)} |")
    for videos in VIDEOS:
        cell = " / ".join(f"{coverage_of_distances(videos, shift, 2000):.1%}" for shift in SHIFTS)
        print(f"| distance between sets | {videos} | {cell} |{' |' * (len(columns) - 1)}")


if __name__ == "__main__":
    main()

"""Bootstrap intervals over videos: a test set has 6 or 10 of them, so a mean alone says little."""

from collections.abc import Callable, Sequence

import numpy as np

from mimicmotion.errors import InputError

NUM_RESAMPLES = 1000
COVERAGE = 0.95


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    num_videos: int,
    num_resamples: int = NUM_RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval (low, high) of a statistic under resampling of whole videos.

    Frames of one video hang together, so videos are drawn, never frames.

    Args:
        statistic: value for video indices int (num_videos,), drawn with replacement.
        num_videos: at least 2.

    Raises:
        InputError: fewer than two videos.
    """
    if num_videos < 2:
        raise InputError(f"an interval over videos needs at least 2 videos, got {num_videos}")
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, num_videos, size=(num_resamples, num_videos))
    values = np.array([statistic(draw) for draw in draws])
    tail = (1 - coverage) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(per_video: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Interval of the mean over frames, from (mean of a video, number of its frames) for each video."""
    means = np.array([mean for mean, _ in per_video], dtype=np.float64)
    counts = np.array([count for _, count in per_video], dtype=np.float64)

    def frame_mean(draw: np.ndarray) -> float:
        return float(np.average(means[draw], weights=counts[draw]))

    return bootstrap_interval(frame_mean, len(means))


def seeds_and_videos_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    num_seeds: int,
    num_videos: int,
    num_resamples: int = NUM_RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval (low, high) of a statistic under resampling of seeds and of videos.

    Every seed saw the same videos, so both are drawn apart and each drawn seed is read on each drawn video.

    Args:
        statistic: value for indices of seeds int (num_seeds,) and of videos int (num_videos,); nan where a
            draw has nothing to measure, which is left out.
        num_seeds: at least 1.
        num_videos: at least 1.

    Raises:
        InputError: one seed and one video, which have no spread, or no draw that can be measured.
    """
    if num_seeds * num_videos < 2:
        raise InputError("an interval needs at least 2 seeds or 2 videos, got one of each")
    generator = np.random.default_rng(seed)
    values = np.array(
        [
            statistic(
                generator.integers(0, num_seeds, num_seeds), generator.integers(0, num_videos, num_videos)
            )
            for _ in range(num_resamples)
        ]
    )
    known = values[np.isfinite(values)]
    if not known.size:
        raise InputError("no resample could be measured: no video has a value")
    tail = (1 - coverage) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)

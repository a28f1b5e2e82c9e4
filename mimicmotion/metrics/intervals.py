"""Intervals of 95 %: the jackknife over videos, the t interval over seeds, and the wider of those that show.

A test set has 6 or 10 videos and an ablation a few seeds, so a mean alone says little. Every score is taken
again without each video in turn (or without each of ``NUM_GROUPS`` groups of videos); what that changes says
how far another choice of videos would move it (Quenouille 1956, Tukey 1958; Efron and Stein 1981). A
bootstrap is of no use here: a distance between sets of videos grows when a video is drawn twice, so its
percentiles lie above the value, and with few videos or seeds it leaves the truth out far too often.

The wider of two intervals holds the truth in 99 of 100 cases where neither seeds nor videos differ by more
than the noise of a single film. So a spread counts where it exceeds what that noise makes of it, at the
quantiles below of Fisher's F; where none does, all films of all seeds make one t interval together, as one
pools mean squares after a preliminary test (Bancroft 1964).

Coverage is in ``docs/metrics.md``: ``python benchmarks/interval_coverage.py``.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

COVERAGE = 0.95
SEEDS_SHOW, VIDEOS_SHOW = 0.47, 0.85
"""Quantiles of F from which on a spread counts, chosen so that all cells of the simulation are in 92 to 98 %.
Two seeds say so little of theirs that less than half is enough."""
NUM_GROUPS = 20
"""Videos are dealt into this many groups; fewer videos are not grouped."""


def group_of(video: int) -> int:
    """The group that a video is dealt into, by its place in the order of the set."""
    return video % NUM_GROUPS


def means_without(values: Sequence[float], counts: Sequence[int]) -> tuple[float | None, ...]:
    """The mean over all that was counted without each video, or group of videos, in turn.

    Args:
        values: mean of each video.
        counts: what each went over; a video of 0 has no value.

    Returns:
        One mean for each video or group, None for those that count nothing; empty where fewer than two do.
    """
    weights = np.array(counts, np.float64)
    sums = np.where(weights > 0, np.array(values, np.float64), 0.0) * weights
    groups = np.array([group_of(video) for video in range(len(weights))], int)
    num = min(len(weights), NUM_GROUPS)
    counted = [weights[groups == i].sum() > 0 for i in range(num)]
    if sum(counted) < 2:
        return ()
    rest = [(sums[groups != i].sum(), weights[groups != i].sum()) for i in range(num)]
    return tuple(
        float(total / weight) if known else None for known, (total, weight) in zip(counted, rest, strict=True)
    )


def half_width(
    values: Float[np.ndarray, "*sets seeds"], without: Float[np.ndarray, "*sets seeds videos"] | None
) -> Float[np.ndarray, "*sets"] | None:
    """Half of the 95 % interval around the mean over seeds, so that the interval always holds its value.

    It is the wider of two, from the spread of seeds and from what each video changes, as far as these show
    beyond the noise; see the module. With one seed it speaks of those weights only. For a change give
    differences of both, taken on the same seeds and videos.

    Args:
        values: the score with each seed.
        without: the same without each video; nan for a video that has no value. None where it is not known.

    Returns:
        None where there are fewer than two seeds and fewer than two videos.
    """
    num_seeds = values.shape[-1]
    if without is not None and without.shape[-1]:
        without = without[..., np.isfinite(without).reshape(-1, without.shape[-1]).all(axis=0)]
    if without is None or without.shape[-1] < 2:
        return _t_width(values) if num_seeds > 1 else None
    num_videos = without.shape[-1]
    pseudo_values = num_videos * values[..., None] - (num_videos - 1) * without
    of_videos = _t_width(pseudo_values.mean(axis=-2))
    if num_seeds < 2:
        return of_videos
    noise = _mean_square_of_noise(pseudo_values)
    seeds_show = num_videos * values.var(axis=-1, ddof=1) >= noise * _f(
        SEEDS_SHOW, num_seeds - 1, num_videos - 1
    )
    videos_show = num_seeds * pseudo_values.mean(axis=-2).var(axis=-1, ddof=1) >= noise * _f(
        VIDEOS_SHOW, num_videos - 1, num_seeds - 1
    )
    widths = np.maximum(seeds_show * _t_width(values), videos_show * of_videos)
    together = _t_width(pseudo_values.reshape(*values.shape[:-1], -1))
    return np.where(seeds_show | videos_show, widths, together)


def interval_of(value: float, without: Sequence[float | None]) -> tuple[float | None, float | None]:
    """(low, high) around one score over its videos; None twice where there are fewer than two."""
    half = half_width(np.array([value]), np.array([without], np.float64))
    return (None, None) if half is None else (value - float(half), value + float(half))


def paired_change(
    value: float, without: Sequence[float | None], other: float, other_without: Sequence[float | None]
) -> tuple[float, float | None]:
    """By how much a score differs from another on the same videos, and half of the interval of that.

    None for the interval where fewer than two videos are behind both, or not the same number.
    """
    if len(without) != len(other_without):
        return value - other, None
    difference = np.array([without], np.float64) - np.array([other_without], np.float64)
    half = half_width(np.array([value - other]), difference)
    return value - other, None if half is None else float(half)


def _mean_square_of_noise(
    pseudo_values: Float[np.ndarray, "*sets seeds videos"],
) -> Float[np.ndarray, "*sets"]:
    """What is left of the spread without the means of seeds and of videos, for each degree of freedom."""
    num_seeds, num_videos = pseudo_values.shape[-2:]
    left = pseudo_values - pseudo_values.mean(axis=-1, keepdims=True)
    left = left - left.mean(axis=-2, keepdims=True)
    return np.square(left).sum(axis=(-2, -1)) / ((num_seeds - 1) * (num_videos - 1))


def _f(probability: float, freedom: int, others_freedom: int) -> float:
    """Quantile of F of a mean square of seeds or videos against the one of the noise."""
    from scipy.special import fdtri  # half a second to import

    return float(fdtri(freedom, freedom * others_freedom, probability))


def _t_width(numbers: Float[np.ndarray, "*sets n"]) -> Float[np.ndarray, "*sets"]:
    """Half of the t interval of a mean over the last axis."""
    from scipy.special import stdtrit  # half a second to import

    count = numbers.shape[-1]
    quantile = float(stdtrit(count - 1, (1 + COVERAGE) / 2))
    return quantile * numbers.std(axis=-1, ddof=1) / np.sqrt(count)

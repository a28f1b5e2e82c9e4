"""Intervals of 95 %: the jackknife over videos, the t interval over seeds, and the wider of the two.

A test set has 6 or 10 videos and an ablation a few seeds, so a mean alone says little. Every score is taken
again without each video in turn (or without each of ``NUM_GROUPS`` groups of videos); what that changes says
how far another choice of videos would move it (Quenouille 1956, Tukey 1958; Efron and Stein 1981). A
bootstrap is of no use here: a distance between sets of videos grows when a video is drawn twice, so its
percentiles lie above the value, and with few videos or seeds it leaves the truth out far too often.

Coverage is in ``docs/metrics.md``: ``python benchmarks/interval_coverage.py``.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

COVERAGE = 0.95
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

    It is the wider one of two: from the spread of seeds, and from what each video changes. With one seed it
    speaks of those weights only. For a change give differences of both, taken on the same seeds and videos.

    Args:
        values: the score with each seed.
        without: the same without each video; nan for a video that has no value. None where it is not known.

    Returns:
        None where there are fewer than two seeds and fewer than two videos.
    """
    widths = [_t_width(values)] if values.shape[-1] > 1 else []
    if without is not None and without.shape[-1]:
        without = without[..., np.isfinite(without).reshape(-1, without.shape[-1]).all(axis=0)]
    if without is not None and (num_videos := without.shape[-1]) > 1:
        pseudo_values = num_videos * values[..., None] - (num_videos - 1) * without
        widths.append(_t_width(pseudo_values.mean(axis=-2)))
    return np.max(widths, axis=0) if widths else None


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


def _t_width(numbers: Float[np.ndarray, "*sets n"]) -> Float[np.ndarray, "*sets"]:
    """Half of the t interval of a mean over the last axis."""
    from scipy.special import stdtrit  # half a second to import

    count = numbers.shape[-1]
    quantile = float(stdtrit(count - 1, (1 + COVERAGE) / 2))
    return quantile * numbers.std(axis=-1, ddof=1) / np.sqrt(count)

"""Intervals hold their value, and cover the truth as often as they say."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mimicmotion.metrics.intervals import (
    NUM_GROUPS,
    half_width,
    interval_of,
    means_without,
    paired_change,
)

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from interval_coverage import MODELS, SHIFTS, coverage_of_changes, coverage_of_distances


def test_the_jackknife_of_a_plain_mean_is_the_t_interval():
    values = [20.0, 21.5, 19.0, 23.0]
    low, high = interval_of(np.mean(values), means_without(values, [7] * 4))
    half = 3.182446 * np.std(values, ddof=1) / 2  # Student's t of three degrees of freedom
    assert (low, high) == pytest.approx((np.mean(values) - half, np.mean(values) + half))


def test_a_video_that_counts_nothing_does_not_narrow_the_interval():
    some = means_without([20.0, 21.0, 0.0, 0.0], [5, 5, 0, 0])
    assert some[2:] == (None, None)
    assert interval_of(20.5, some) == pytest.approx(interval_of(20.5, means_without([20.0, 21.0], [5, 5])))
    assert means_without([20.0, 0.0], [5, 0]) == ()
    assert interval_of(20.0, ()) == (None, None)


def test_many_videos_are_dealt_into_groups():
    values = np.random.default_rng(0).normal(20, 2, 400)
    without = means_without(list(values), [10] * 400)
    low, high = interval_of(values.mean(), without)
    assert len(without) == NUM_GROUPS
    assert (high - low) / 2 == pytest.approx(2.09 * values.std() / 20, rel=0.35)


def test_a_change_is_paired_on_the_same_videos():
    hard = np.array([10.0, 20.0, 30.0, 40.0])
    ours, theirs = hard + np.array([1.0, 1.1, 0.9, 1.0]), hard
    change, half = paired_change(
        ours.mean(), means_without(list(ours), [3] * 4), theirs.mean(), means_without(list(theirs), [3] * 4)
    )
    assert change == pytest.approx(1.0)
    assert half < 0.2
    assert paired_change(1.0, (1.0, 2.0), 2.0, ())[1] is None


def test_the_wider_of_both_intervals_is_taken():
    values, calm = np.array([1.0, 3.0]), np.array([[1.0, 1.0], [3.0, 3.0]])
    assert half_width(values, calm) == pytest.approx(half_width(values, None))
    wild = np.array([[1.0, 9.0], [3.0, 40.0]])
    assert half_width(values, wild) > 2 * half_width(values, None)


@pytest.mark.parametrize("effects", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("num_seeds", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("num_videos", [3, 6, 10])
def test_intervals_of_changes_cover_the_truth_in_95_of_100(num_videos, num_seeds, effects):
    for shift in SHIFTS:
        assert 0.92 <= coverage_of_changes(num_videos, num_seeds, effects, shift, trials=15_000) <= 0.98


@pytest.mark.parametrize("shift", [0.0, 1.0])
@pytest.mark.parametrize("num_videos", [3, 6, 10])
def test_intervals_of_distances_between_sets_cover_too(num_videos, shift):
    assert 0.92 <= coverage_of_distances(num_videos, shift, trials=400) <= 0.98

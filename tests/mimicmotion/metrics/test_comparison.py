"""Arms compared: means, intervals over seeds and videos, and changes on the same videos."""

import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.metrics.comparison import FROM_SEEDS, FROM_VIDEOS, compare, comparison_markdown
from mimicmotion.metrics.intervals import seeds_and_videos_interval
from mimicmotion.metrics.scores import SUMMARY, Score

HARDNESS = np.random.default_rng(0).normal(20, 3, 8)


def run(gain, seed, fvd=None, videos=8):
    """Scores of one run: videos differ far more among themselves than arms do."""
    noise = np.random.default_rng(seed).normal(0, 0.05, 8)
    values = HARDNESS + gain + noise
    scores = [Score(f"clip-{i}", "model", "psnr", float(values[i]), count=10 + i) for i in range(videos)]
    scores += [Score("clip-0", "copy_reference", "psnr", 12.0, count=10)]
    return [*scores, Score(SUMMARY, "model", "fvd", fvd, count=40, note=None if fvd else "no weights")]


def test_a_small_gain_shows_on_the_same_videos_though_intervals_of_the_arms_overlap():
    rows = compare(
        {
            "base": [run(0.0, s, fvd=10 + s) for s in range(3)],
            "+ more": [run(0.3, 9 + s, fvd=8 + s) for s in range(3)],
        },
        ["psnr", "fvd"],
        floors=["copy_reference"],
    )
    by_name = {(row.arm, row.metric): row for row in rows}
    base, more = by_name["base", "psnr"], by_name["+ more", "psnr"]
    counts = 10 + np.arange(8)
    noise = np.mean([np.random.default_rng(s).normal(0, 0.05, 8) for s in range(3)], axis=0)
    assert base.value == pytest.approx(np.average(HARDNESS + noise, weights=counts))
    assert base.low < base.value < base.high
    assert base.high > more.low
    assert 0.2 < more.change_low < more.change < more.change_high < 0.4
    assert more.is_gain
    assert base.change is None
    assert (more.interval, more.num_seeds, more.num_videos) == (FROM_VIDEOS, 3, 8)
    fvd = by_name["+ more", "fvd"]
    assert (fvd.value, fvd.low, fvd.high, fvd.interval) == (9.0, 8.0, 10.0, FROM_SEEDS)
    assert (fvd.change, fvd.change_low, fvd.change_high, fvd.is_gain) == (-2.0, -2.0, -2.0, True)
    assert by_name["copy_reference", "psnr"].value == 12.0


def test_a_change_within_its_interval_is_neither_gain_nor_loss():
    rows = compare({"a": [run(0, 1)], "b": [run(0, 2)], "c": [run(-1, 3)]}, ["psnr"])
    assert [row.is_gain for row in rows] == [None, None, False]


def test_a_missing_metric_says_why():
    rows = compare({"a": [run(0, 1)], "b": [run(0, 2)]}, ["fvd"])
    assert [(row.value, row.note) for row in rows] == [(None, "no weights")] * 2


def test_arms_on_other_videos_or_with_other_seeds_are_refused():
    with pytest.raises(InputError, match="different videos"):
        compare({"a": [run(0, 1)], "b": [run(0, 2, videos=7)]}, ["psnr"])
    with pytest.raises(InputError, match="same seeds"):
        compare({"a": [run(0, 1)], "b": [run(0, 2), run(0, 3)]}, ["psnr"])


def test_the_interval_covers_the_spread_of_seeds_too():
    means = np.array([[0.0, 0.1], [4.0, 4.1]])

    def mean(seeds, videos):
        return float(means[np.ix_(seeds, videos)].mean())

    low, high = seeds_and_videos_interval(mean, 2, 2)
    assert low < 0.2
    assert high > 3.9
    with pytest.raises(InputError, match="one of each"):
        seeds_and_videos_interval(mean, 1, 1)
    with pytest.raises(InputError, match="no video has a value"):
        seeds_and_videos_interval(lambda seeds, videos: float("nan"), 2, 2)


def test_the_tables_read_well():
    text = comparison_markdown(compare({"base": [run(0, 1)], "+ x": [run(1, 1)]}, ["psnr", "fvd"]))
    lines = text.splitlines()
    assert "| arm | PSNR dB ↑ | FVD ↓ |" in lines
    assert "Change from the arm before" in lines
    (change,) = [line for line in lines if line.startswith("| + x | **+1.00")]
    assert change.endswith("| - |")
    assert "- FVD: no weights" in lines

"""Arms compared: means, intervals over seeds and videos, and changes on the same videos."""

import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.metrics.comparison import (
    FROM_BOTH,
    FROM_SEEDS,
    FROM_VIDEOS,
    compare,
    comparison_markdown,
)
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
    assert (more.interval, more.num_seeds, more.num_videos) == (FROM_BOTH, 3, 8)
    fvd = by_name["+ more", "fvd"]
    assert (fvd.value, fvd.low, fvd.high, fvd.interval) == (9.0, 8.0, 10.0, FROM_SEEDS)
    assert (fvd.change, fvd.change_low, fvd.change_high, fvd.is_gain) == (-2.0, -2.0, -2.0, None)
    assert by_name["copy_reference", "psnr"].value == 12.0


def test_a_change_within_its_interval_is_neither_gain_nor_loss():
    arms = {"a": [run(0, 1), run(0, 4)], "b": [run(0, 2), run(0, 5)], "c": [run(-1, 3), run(-1, 6)]}
    assert [row.is_gain for row in compare(arms, ["psnr"])] == [None, None, False]


def test_one_seed_speaks_of_its_weights_only_and_marks_nothing():
    _, row = compare({"a": [run(0, 1)], "b": [run(5, 2)]}, ["psnr"])
    assert (row.change_low > 4, row.interval, row.is_gain) == (True, FROM_VIDEOS, None)


@pytest.mark.parametrize(("num_seeds", "is_gain"), [(4, None), (5, True)])
def test_lowest_and_highest_seed_mark_nothing_below_five_seeds(num_seeds, is_gain):
    arms = {"a": [run(0, s, fvd=10 + s) for s in range(num_seeds)]}
    arms["b"] = [run(0, s, fvd=8 + s) for s in range(num_seeds)]
    _, row = compare(arms, ["fvd"])
    assert (row.interval, row.is_gain) == (FROM_SEEDS, is_gain)


def with_sets(seed, gain):
    """A run whose summary knows the distance without each video."""
    spread = np.random.default_rng(seed).normal(0, 0.2, 6)
    hard = np.random.default_rng(9).normal(0, 3, 6)
    without = tuple(20 + gain + hard + spread)
    return [*run(0, seed), Score(SUMMARY, "model", "fvd_small", 20 + gain, num_videos=6, without=without)]


def test_a_distance_between_sets_is_paired_video_by_video_too():
    _, row = compare(
        {"a": [with_sets(s, 0) for s in (1, 2)], "b": [with_sets(s, -9) for s in (3, 4)]}, ["fvd_small"]
    )
    assert (row.interval, row.num_videos, row.is_gain) == (FROM_BOTH, 6, True)
    assert -9 - 5 < row.change_low < -9 < row.change_high < -9 + 5


def test_a_missing_metric_says_why():
    rows = compare({"a": [run(0, 1)], "b": [run(0, 2)]}, ["fvd"])
    assert [(row.value, row.note) for row in rows] == [(None, "no weights")] * 2


def test_arms_on_other_videos_or_with_other_seeds_are_refused():
    with pytest.raises(InputError, match="different videos"):
        compare({"a": [run(0, 1)], "b": [run(0, 2, videos=7)]}, ["psnr"])
    with pytest.raises(InputError, match="same seeds"):
        compare({"a": [run(0, 1)], "b": [run(0, 2), run(0, 3)]}, ["psnr"])


def test_the_tables_read_well():
    arms = {"base": [run(0, 1), run(0, 2)], "+ x": [run(1, 1), run(1, 2)]}
    text = comparison_markdown(compare(arms, ["psnr", "fvd"]))
    lines = text.splitlines()
    assert "| arm | PSNR dB ↑ | FVD ↓ |" in lines
    assert "Change from the arm before, or the named one" in lines
    (change,) = [line for line in lines if line.startswith("| + x | **+1.00")]
    assert change.endswith("| - |")
    assert "- FVD: no weights" in lines
    one = comparison_markdown(compare({arm: runs[:1] for arm, runs in arms.items()}, ["psnr"]))
    assert "these weights only" in one
    assert "**" not in one


def test_an_arm_can_be_compared_with_another_than_the_one_before():
    arms = {
        "base": [run(0, 1), run(0, 2)],
        "worse": [run(-2, 1), run(-2, 2)],
        "better": [run(1, 1), run(1, 2)],
    }
    rows = compare(arms, ["psnr"], compared_with={"worse": "base", "better": "base"})
    assert [row.change for row in rows] == [None, pytest.approx(-2), pytest.approx(1)]
    text = comparison_markdown(rows)
    assert "| worse | *-2.00" in text
    assert "| better, from base | **+1.00" in text


def spoilt(values):
    found = [
        Score(f"c{i}", "model", "pose_error_hands", v, count=0 if v is None else 9)
        for i, v in enumerate(values)
    ]
    return [*found, Score("c0", "copy_reference", "pose_error_hands", 0.2, count=9)]


def test_a_change_is_over_the_videos_that_both_arms_could_measure():
    """The later arm is worse on each video and lost the hands in the hardest one, which lowers its mean."""
    before = [0.030, 0.031, 0.029, 0.030, 0.032, 0.120]
    later = [0.034, 0.035, 0.033, 0.034, 0.036, None]
    arms = {"base": [spoilt(before)] * 2, "+ x": [spoilt(later)] * 2}
    base, more = compare(arms, ["pose_error_hands"])
    assert more.value < base.value
    assert (more.change, more.is_gain) == (pytest.approx(0.004), False)
    text = comparison_markdown([base, more])
    assert "Pose error hands: + x: the change is over the 5 videos that both could measure" in text
    _, back = compare({"a": arms["+ x"], "b": arms["base"]}, ["pose_error_hands"])
    assert (back.change, back.is_gain) == (pytest.approx(-0.004), True)
    assert compare({"a": arms["base"], "b": arms["base"]}, ["pose_error_hands"])[1].change_note is None


def test_scores_that_no_floor_has_are_not_said_to_be_unmeasured():
    own = [Score(f"c{i}", "model", "judge_body", 0.5 + i / 10, count=1) for i in range(3)]
    floor = [Score("c0", "copy_reference", "psnr", 12.0, count=10)]
    rows = compare({"a": [own + floor], "b": [own + floor]}, ["judge_body"], ["copy_reference"])
    assert "not measured" not in comparison_markdown(rows)
    lacking = [*own, Score("c0", "model", "lpips", None, note="no file"), *floor]
    rows = compare({"a": [own + floor], "b": [lacking]}, ["judge_body", "lpips"])
    assert "- LPIPS: not measured" in comparison_markdown(rows)

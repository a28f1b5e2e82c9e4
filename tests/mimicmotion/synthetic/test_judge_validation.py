"""Scores without a truth against the true error: what the table says, on few and small films."""

import numpy as np
import pytest

from mimicmotion.metrics.film.looks import FilmTools
from mimicmotion.synthetic import judge_validation
from mimicmotion.synthetic.judge_validation import (
    agreement,
    clear_film,
    faulty,
    gain,
    intervals,
    judged_pair,
    markdown,
    pair,
    seen_best,
    tried_pair,
)


def test_every_fault_grows_with_its_strength():
    answer = clear_film(910_000, 12, dance_seed=911_000)
    errors: dict[str, list[float]] = {}
    for name, frames in faulty(answer, 910_000, 911_000):
        errors.setdefault(name, []).append(np.abs(frames.astype(float) - answer.frames).mean())
    assert len(errors) == 12
    for name, (light, middle, strong) in errors.items():
        assert 0 < light < middle < strong, name


def test_agreement_is_positive_where_worse_films_are_told_as_worse():
    rows = [{"error": error, "judge_body": error**2, "judge_appearance": -error} for error in (0.0, 1, 3, 2)]
    assert agreement("judge_body", rows) == pytest.approx(1)
    assert agreement("judge_appearance", rows) == pytest.approx(1)
    assert agreement("judge_body", [{**row, "judge_body": -row["error"]} for row in rows]) == pytest.approx(
        -1
    )
    assert np.isnan(agreement("judge_body", rows[:2]))
    assert np.isnan(agreement("judge_body", [{"error": e, "judge_body": 0.0} for e in (1.0, 2, 3)]))


def test_the_table_marks_what_a_score_sees(monkeypatch):
    monkeypatch.setattr(judge_validation, "NUM_RESAMPLES", 40)
    rng = np.random.default_rng(0)
    pairs = [
        [("truth", {"error": 0.0, "judge_body": 0.0, "judge_jerk": rng.random()})]
        + [("blur", {"error": e, "judge_body": e + 0.1 * n, "judge_jerk": rng.random()}) for e in (1.0, 2, 3)]
        for n in range(5)
    ]
    table = intervals(pairs)
    assert table["judge_body"]["blur"][1] > 0.8
    assert table["judge_jerk"]["blur"][1] < 0
    assert "| `judge_body` | **" in markdown(table)
    assert "| `judge_jerk` | **" not in markdown(table)
    value, low, high = table["judge_body"]["blur"]
    assert f"| `judge_body` | blur {value:.2f} [{low:.2f}, {high:.2f}] |" in seen_best(table)


def test_a_pair_is_judged_against_the_other_dancers_poses_on_this_body():
    rows = judged_pair(910_000, 911_000, 8, FilmTools(absent={}, hashes={}))
    assert rows[0][0] == "truth"
    assert rows[0][1]["error"] == 0
    assert len(rows) == 1 + 3 * 12
    strongest = [row for name, row in rows if name == "another room"][-1]
    assert strongest["judge_background"] > rows[0][1]["judge_background"] + 5


def test_the_kept_try_is_compared_with_the_mean_of_all_on_the_true_error(monkeypatch):
    answer, wanted = pair(910_000, 911_000, 7)
    drifts = [np.arange(7)[:, None, None, None] * levels for levels in (9, 1, 4)]
    films = [np.clip(answer.frames + drift, 0, 255).astype(np.uint8) for drift in drifts]
    shown = []

    def made(pipeline, inputs, settings, seed):
        shown.append((inputs.driving.keypoints, settings.num_steps))
        return iter(films[seed])

    monkeypatch.setattr(judge_validation, "generate", made)
    monkeypatch.setattr(judge_validation, "pair", lambda *asked: (answer, wanted))
    rows, kept = tried_pair(910_000, 911_000, 3, None, 2, FilmTools(absent={}, hashes={}))
    errors = [np.abs(one.astype(float) - answer.frames).mean() for one in films]
    assert [row["error"] for row in rows] == pytest.approx(errors)
    assert all(row["judge_background"] >= 0 for row in rows)
    assert kept == 1
    assert all((points == wanted.driving[0]).all() and steps == 2 for points, steps in shown)


def test_the_gain_has_an_interval_over_pairs():
    said = gain([([3.0, 1.0], 1), ([4.0, 2.0], 0), ([6.0, 4.0], 1)])
    # Changes of the kept one: -1, +1, -1; t of two degrees of freedom is 4.303.
    assert "3 pairs, mean error of a try 3.333 levels" in said
    assert "kept -0.333 [-3.202, +2.535], best -1.000 [-1.000, -1.000]" in said

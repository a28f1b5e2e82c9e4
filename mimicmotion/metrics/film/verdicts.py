"""What is written of a verdict, and which of several tries is the best."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mimicmotion.metrics.film.film_scores import Verdict
from mimicmotion.metrics.scores import JUDGE, METRICS, MODEL, Measured

DECISIVE = (
    "judge_body",
    "judge_hands",
    "judge_nobody",
    "judge_identity",
    "judge_appearance",
    "judge_colour_drift",
    "judge_background",
    "judge_flicker",
    "judge_sharp_hands",
)
"""Scores that choose among tries; the others are written beside them (why: ``docs/metrics.md``)."""


def verdict_values(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON values: scores with unit and direction, worst frames, curves, all frames."""
    scores = {
        score.metric: {
            "value": score.value,
            "unit": METRICS[score.metric].unit,
            "better": "higher" if METRICS[score.metric].higher_is_better else "lower",
            "count": score.count,
            "sha256": score.backbone_sha256,
            "absent": score.note,
        }
        for score in verdict.scores
    }
    per_frame = {
        metric: [round(value, 6) if np.isfinite(value) else None for value in values.tolist()]
        for metric, values in verdict.per_frame.items()
    }
    worst = {moment.metric: {"frame": moment.frame, "value": moment.value} for moment in verdict.worst}
    curves = {
        metric: {str(step): value for step, value in at.items()} for metric, at in verdict.curves.items()
    }
    return {"scores": scores, "worst": worst, "curves": curves, "per_frame": per_frame}


def scores_in(values: Mapping[str, Any], film_id: str) -> list[Measured]:
    """The scores in what ``verdict_values`` gave."""
    return [
        Measured(film_id, MODEL, metric, one["value"], one["count"], one["sha256"], one["absent"])
        for metric, one in values["scores"].items()
    ]


def verdict_line(scores: Sequence[Measured]) -> str:
    """One line: every score that there is, with an arrow to where better is, then what is absent."""
    known = [
        f"{_short(one.metric)} {one.value:.{METRICS[one.metric].digits}f}"
        f"{'↑' if METRICS[one.metric].higher_is_better else '↓'}"
        for one in scores
        if one.value is not None
    ]
    absent = ", ".join(_short(one.metric) for one in scores if one.value is None)
    return ", ".join(known) + (f"; absent: {absent}" if absent else "")


def mean_ranks(verdicts: Sequence[Verdict]) -> list[float]:
    """The mean rank of each try over the decisive scores that all tries have, 1 at best; equal values share.

    Ranks, because scores of different units cannot be added. Where no score is common, all are 1.
    """
    ranks = []
    for metric in DECISIVE:
        values = [verdict[metric].value for verdict in verdicts]
        known = np.array([value for value in values if value is not None])
        if len(known) == len(values):
            worse = -known if METRICS[metric].higher_is_better else known
            lower = (worse[None] < worse[:, None]).sum(axis=1)
            equal = (worse[None] == worse[:, None]).sum(axis=1)
            ranks.append(1 + lower + (equal - 1) / 2)
    return np.mean(ranks, axis=0).tolist() if ranks else [1.0] * len(verdicts)


def _short(metric: str) -> str:
    return metric.removeprefix(JUDGE).replace("_", " ")

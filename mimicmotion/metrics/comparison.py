"""Arms of an ablation compared: each ran with several seeds on the same videos.

Intervals are bootstrapped over seeds and videos together. The change from one arm to the next is measured
on the same seeds and videos, so what makes a video hard cancels out and small gains become visible.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.metrics.intervals import seeds_and_videos_interval
from mimicmotion.metrics.scores import METRICS, SUMMARY, Score

MODEL = "model"
FROM_VIDEOS, FROM_SEEDS = "95 % over seeds and videos", "lowest and highest seed"


@dataclass(frozen=True)
class Compared:
    """One number of the comparison.

    Attributes:
        arm: which one, or the name of a floor.
        metric: what was measured.
        value: mean over seeds; None where it could not be measured, ``note`` says why.
        low, high: of the value; None where there is one seed and one video.
        interval: what low and high are, ``FROM_VIDEOS`` or ``FROM_SEEDS``.
        change: value less that of the arm before; None for the first one and for floors.
        change_low, change_high: of the change.
        num_seeds: seeds behind it.
        num_videos: videos behind it.
        note: what a reader must know.
    """

    arm: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    num_seeds: int = 1
    num_videos: int = 0
    note: str | None = None

    @property
    def is_gain(self) -> bool | None:
        """Whether the change is for the better beyond its interval; None where that cannot be said."""
        if self.change is None or self.change_low is None or self.change_high is None:
            return None
        if self.change_low <= 0 <= self.change_high:
            return None
        return (self.change > 0) == METRICS[self.metric].higher_is_better


@dataclass(frozen=True)
class _Measured:
    """One metric of one arm: means of videos and what they went over, float64 (seeds, videos) each.

    A distance between sets of videos has one column, which is no video.
    """

    values: np.ndarray
    counts: np.ndarray
    is_per_video: bool
    note: str | None

    def mean(self, seeds: np.ndarray, videos: np.ndarray) -> float:
        """Mean over some seeds of the mean over some videos; nan where there is nothing."""
        counts = self.counts[np.ix_(seeds, videos)]
        sums = (self.values[np.ix_(seeds, videos)] * counts).sum(axis=1)
        totals = counts.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float((sums / totals).mean())


def compare(
    arms: Mapping[str, Sequence[Sequence[Score]]], metrics: Sequence[str], floors: Sequence[str] = ()
) -> list[Compared]:
    """Rows of the table, floors first, then arm by arm.

    Args:
        arms: arm -> scores of each seed, in one order of seeds.
        metrics: what to compare.
        floors: methods among the first arm's scores that no model made, the same in every run.

    Raises:
        InputError: arms differ in their number of seeds or in their videos.
    """
    if len({len(runs) for runs in arms.values()}) != 1:
        raise InputError(
            f"every arm needs the same seeds, got { ({arm: len(r) for arm, r in arms.items()}) }"
        )
    videos = {tuple(_videos(scores)) for runs in arms.values() for scores in runs}
    if len(videos) != 1:
        raise InputError("the arms were measured on different videos: their test clips must be the same")
    first = next(iter(arms.values()))
    rows = [
        _row(floor, metric, _measured(first[:1], floor, metric)) for floor in floors for metric in metrics
    ]
    before: dict[str, _Measured] = {}
    for arm, runs in arms.items():
        for metric in metrics:
            measured = _measured(runs, MODEL, metric)
            rows.append(_row(arm, metric, measured, before.get(metric)))
            before[metric] = measured
    return rows


def _videos(scores: Sequence[Score]) -> list[str]:
    return sorted({score.clip_id for score in scores if score.method == MODEL} - {SUMMARY})


def _measured(runs: Sequence[Sequence[Score]], method: str, metric: str) -> _Measured:
    rows = [[s for s in scores if s.method == method and s.metric == metric] for scores in runs]
    videos = sorted({score.clip_id for scores in rows for score in scores} - {SUMMARY})
    columns = videos or [SUMMARY]
    values, counts = np.zeros((len(runs), len(columns))), np.zeros((len(runs), len(columns)))
    for place, scores in enumerate(rows):
        for score in scores:
            if score.clip_id in columns and score.value is not None:
                column = columns.index(score.clip_id)
                values[place, column], counts[place, column] = score.value, score.count
    notes = dict.fromkeys(score.note for scores in rows for score in scores if score.note)
    return _Measured(values, counts, bool(videos), "; ".join(notes) or None)


def _row(arm: str, metric: str, measured: _Measured, before: _Measured | None = None) -> Compared:
    num_seeds, num_columns = measured.values.shape
    num_videos = num_columns if measured.is_per_video else 0
    value = measured.mean(np.arange(num_seeds), np.arange(num_columns))
    if not np.isfinite(value):
        return Compared(arm, metric, None, num_seeds=num_seeds, note=measured.note or "not measured")
    low, high = _interval(measured.mean, measured)
    change = change_low = change_high = None
    if before is not None and before.values.shape == measured.values.shape:

        def difference(seeds: np.ndarray, videos: np.ndarray) -> float:
            return measured.mean(seeds, videos) - before.mean(seeds, videos)

        whole = difference(np.arange(num_seeds), np.arange(num_columns))
        if np.isfinite(whole):
            change = whole
            change_low, change_high = _interval(difference, measured)
    interval = FROM_VIDEOS if measured.is_per_video else FROM_SEEDS
    return Compared(
        arm,
        metric,
        value,
        low,
        high,
        None if low is None else interval,
        change,
        change_low,
        change_high,
        num_seeds=num_seeds,
        num_videos=num_videos,
        note=measured.note,
    )


def _interval(
    statistic: Callable[[np.ndarray, np.ndarray], float], measured: _Measured
) -> tuple[float | None, float | None]:
    num_seeds, num_columns = measured.values.shape
    if num_seeds * num_columns < 2:
        return None, None
    if measured.is_per_video:
        return seeds_and_videos_interval(statistic, num_seeds, num_columns)
    each = [statistic(np.array([seed]), np.arange(num_columns)) for seed in range(num_seeds)]
    return min(each), max(each)


def comparison_markdown(rows: Sequence[Compared]) -> str:
    """Two Markdown tables, arms by metrics: the values, and what each arm changes; then the notes."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    arms = list(dict.fromkeys(row.arm for row in rows))
    cells = {(row.arm, row.metric): row for row in rows}
    titles = [
        f"{METRICS[metric].title} {'↑' if METRICS[metric].higher_is_better else '↓'}" for metric in metrics
    ]
    head = [f"| arm | {' | '.join(titles)} |", f"|---|{'---|' * len(metrics)}"]
    values = [_line(arm, [_value_cell(cells.get((arm, metric))) for metric in metrics]) for arm in arms]
    changed = [arm for arm in arms if any(row.arm == arm and row.change is not None for row in rows)]
    changes = [_line(arm, [_change_cell(cells[arm, metric]) for metric in metrics]) for arm in changed]
    notes = dict.fromkeys(
        f"- {METRICS[row.metric].title}: {row.note}" for row in rows if row.value is None and row.note
    )
    how = (
        f"Means over {max(row.num_seeds for row in rows)} seeds; in brackets the interval: "
        f"{FROM_VIDEOS}, or {FROM_SEEDS} for distances between sets of videos."
    )
    legend = "On the same seeds and videos; **bold** is better, *italic* worse, beyond the interval."
    changed_part = ["", "Change from the arm before", "", legend, "", *head, *changes] if changes else []
    return "\n".join([how, "", *head, *values, *changed_part, "", *notes]) + "\n"


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def _value_cell(row: Compared | None) -> str:
    if row is None or row.value is None:
        return "-"
    digits = METRICS[row.metric].digits
    return f"{row.value:.{digits}f}{_brackets(row.low, row.high, digits, '')}"


def _change_cell(row: Compared) -> str:
    if row.change is None:
        return "-"
    digits = METRICS[row.metric].digits
    text = f"{row.change:+.{digits}f}{_brackets(row.change_low, row.change_high, digits, '+')}"
    mark = {True: "**", False: "*", None: ""}[row.is_gain]
    return f"{mark}{text}{mark}"


def _brackets(low: float | None, high: float | None, digits: int, sign: str) -> str:
    return "" if low is None or high is None else f" [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"

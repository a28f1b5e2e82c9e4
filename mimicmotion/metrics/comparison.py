"""Arms of an ablation compared: each ran with several seeds on the same videos.

The change from one arm to the next is measured on the same seeds and videos, so what makes a video hard
cancels out and small gains become visible. Intervals: see ``intervals.half_width``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.metrics.intervals import half_width, means_without
from mimicmotion.metrics.scores import METRICS, MODEL, SUMMARY, Score, is_better

FROM_BOTH, FROM_VIDEOS = "95 % over seeds and videos", "95 % over videos, these weights only"
FROM_SEEDS = "lowest and highest seed"
MIN_SEEDS = 5
"""Where only the lowest and the highest seed are known, all of fewer seeds agree too often by chance."""


@dataclass(frozen=True)
class Compared:
    """One number of the comparison.

    Attributes:
        arm: which one, or the name of a floor.
        metric: what was measured.
        value: mean over seeds; None where it could not be measured, ``note`` says why.
        low, high: of the value; None where there is one seed and one video.
        interval: what low and high are: ``FROM_BOTH``, ``FROM_VIDEOS`` or ``FROM_SEEDS``.
        change: value less that of the arm it is compared with; None for the first one and for floors.
        change_low, change_high: of the change.
        num_seeds: seeds behind it.
        num_videos: videos behind it.
        note: what a reader must know.
        against: the arm that it is compared with.
        change_note: what a reader must know of the change.
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
    against: str | None = None
    change_note: str | None = None

    @property
    def is_gain(self) -> bool | None:
        """Whether the change is for the better beyond its interval; None where that cannot be said.

        One seed speaks of its weights only, which is nothing about an arm.
        """
        least = MIN_SEEDS if self.interval == FROM_SEEDS else 2
        if self.change is None or self.change_low is None or self.change_high is None:
            return None
        if self.num_seeds < least or self.change_low <= 0 <= self.change_high:
            return None
        return is_better(self.metric, self.change, 0.0)


@dataclass(frozen=True)
class _Measured:
    """One metric of one arm.

    Attributes:
        values: float64 (seeds,), over all videos.
        without: float64 (seeds, videos), the same without each video; None where that is not known.
        num_videos: videos behind it.
        note: what a reader must know.
        of_videos: float64 (seeds, videos), the mean of each video; None for a distance between sets.
        counts: of the same, what each mean went over; 0 where a video could not be measured.
    """

    values: np.ndarray
    without: np.ndarray | None
    num_videos: int
    note: str | None
    of_videos: np.ndarray | None = None
    counts: np.ndarray | None = None

    def less(self, other: "_Measured") -> "_Measured":
        """The change from another one, by seed and video, over the videos that both could measure."""
        mine, ours_had = self._both(other)
        its, theirs_had = other._both(self)
        ours, theirs = mine.without, its.without
        fits = ours is not None and theirs is not None and ours.shape == theirs.shape
        without = ours - theirs if fits and ours is not None and theirs is not None else None
        num_videos = mine.num_videos
        lost = max(ours_had, theirs_had) - num_videos
        note = f"the change is over the {num_videos} videos that both could measure" if lost else None
        return _Measured(mine.values - its.values, without, num_videos, note)

    def _both(self, other: "_Measured") -> tuple["_Measured", int]:
        """The same over the videos that another one measured too, and over how many it is itself."""
        if self.of_videos is None or self.counts is None or other.counts is None:
            return self, self.num_videos
        if self.counts.shape != other.counts.shape:
            return self, self.num_videos
        both = ((self.counts > 0) & (other.counts > 0)).all(axis=0)
        had = int((self.counts > 0).any(axis=0).sum())
        counts = self.counts * both
        return replace(_of_videos(self.of_videos, counts), num_videos=int(both.sum())), had

    def interval(self) -> tuple[float | None, float | None]:
        """Low and high around the mean over seeds."""
        if self.without is None:
            known = len(self.values) > 1
            return (float(self.values.min()), float(self.values.max())) if known else (None, None)
        half, mean = half_width(self.values, self.without), float(self.values.mean())
        return (None, None) if half is None else (mean - float(half), mean + float(half))


def compare(
    arms: Mapping[str, Sequence[Sequence[Score]]],
    metrics: Sequence[str],
    floors: Sequence[str] = (),
    compared_with: Mapping[str, str] | None = None,
) -> list[Compared]:
    """Rows of the table, floors first, then arm by arm.

    Args:
        arms: arm -> scores of each seed, in one order of seeds.
        metrics: what to compare.
        floors: methods among the first arm's scores that no model made, the same in every run.
        compared_with: arm -> the arm before it that its change is measured from; else the one just before.

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
    of_floors = [
        (floor, metric, _measured(first[:1], floor, metric)) for floor in floors for metric in metrics
    ]
    # What no floor ever has, as scores of a judge without a truth, is no news.
    rows = [replace(_row(*one), note=one[2].note) for one in of_floors]
    others = compared_with or {later: before for before, later in pairwise(arms)}
    known: dict[tuple[str, str], _Measured] = {}
    for arm, runs in arms.items():
        for metric in metrics:
            known[arm, metric] = _measured(runs, MODEL, metric)
            other = others.get(arm)
            row = _row(arm, metric, known[arm, metric], known.get((other or "", metric)))
            rows.append(replace(row, against=other))
    return rows


def _videos(scores: Sequence[Score]) -> list[str]:
    return sorted({score.clip_id for score in scores if score.method == MODEL} - {SUMMARY})


def _of_videos(values: np.ndarray, counts: np.ndarray) -> _Measured:
    """The means of each seed over all that was counted, and the same without each video."""
    means = [
        float(np.average(v, weights=c)) if c.sum() else np.nan for v, c in zip(values, counts, strict=True)
    ]
    rest = [means_without(v.tolist(), c.tolist()) for v, c in zip(values, counts, strict=True)]
    known = len({len(one) for one in rest}) == 1 and bool(rest[0])
    without = np.array(rest, np.float64) if known else None
    return _Measured(np.array(means), without, values.shape[1], None, values, counts)


def _measured(runs: Sequence[Sequence[Score]], method: str, metric: str) -> _Measured:
    rows = [[s for s in scores if s.method == method and s.metric == metric] for scores in runs]
    videos = sorted({score.clip_id for scores in rows for score in scores} - {SUMMARY})
    notes = "; ".join(dict.fromkeys(score.note for scores in rows for score in scores if score.note)) or None
    if videos:
        found = [{score.clip_id: score for score in scores if score.value is not None} for scores in rows]
        values = np.array([[one[v].value if v in one else 0.0 for v in videos] for one in found], np.float64)
        counts = np.array([[one[v].count if v in one else 0 for v in videos] for one in found], np.int64)
        return replace(_of_videos(values, counts), note=notes)
    whole = [_whole(scores) for scores in rows]
    lengths = {len(without) for _, without in whole}
    without = np.array([without for _, without in whole], np.float64) if len(lengths) == 1 else None
    if without is not None and not without.size:
        without = None
    num_videos = max((s.num_videos for scores in rows for s in scores), default=0)
    return _Measured(np.array([value for value, _ in whole], np.float64), without, num_videos, notes)


def _whole(scores: Sequence[Score]) -> tuple[float, tuple[float | None, ...]]:
    """A distance between sets of videos, as the summary has it."""
    score = next((score for score in scores if score.value is not None), None)
    return (np.nan, ()) if score is None or score.value is None else (score.value, score.without)


def _row(arm: str, metric: str, measured: _Measured, before: _Measured | None = None) -> Compared:
    num_seeds, num_videos = len(measured.values), measured.num_videos
    value = float(measured.values.mean())
    if not np.isfinite(value):
        return Compared(arm, metric, None, num_seeds=num_seeds, note=measured.note or "not measured")
    low, high = measured.interval()
    kind = FROM_SEEDS if measured.without is None else FROM_BOTH if num_seeds > 1 else FROM_VIDEOS
    row = Compared(
        arm,
        metric,
        value,
        low,
        high,
        None if low is None else kind,
        num_seeds=num_seeds,
        num_videos=num_videos,
        note=measured.note,
    )
    change = None if before is None else measured.less(before)
    if change is None or not np.isfinite(change.values.mean()):
        return row
    # Without its videos on one side, a change has no interval of the kind that the row names.
    same = (change.without is None) == (measured.without is None)
    change_low, change_high = change.interval() if same else (None, None)
    return replace(
        row,
        change=float(change.values.mean()),
        change_low=change_low,
        change_high=change_high,
        change_note=change.note,
    )


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
    against = {row.arm: row.against for row in rows}
    before = {later: arm for arm, later in pairwise(arms)}
    names = {arm: arm if against[arm] == before[arm] else f"{arm}, from {against[arm]}" for arm in changed}
    changes = [_line(names[arm], [_change_cell(cells[arm, metric]) for metric in metrics]) for arm in changed]
    measured = {row.metric for row in rows if row.value is not None}
    notes = dict.fromkeys(
        f"- {METRICS[row.metric].title}: {f'{row.arm}: ' if row.metric in measured else ''}{row.note}"
        for row in rows
        if row.value is None and row.note
    )
    notes |= dict.fromkeys(
        f"- {METRICS[row.metric].title}: {names[row.arm]}: {row.change_note}"
        for row in rows
        if row.change_note
    )
    how = (
        f"Means over {max(row.num_seeds for row in rows)} seeds; in brackets the interval: "
        f"{', or '.join(dict.fromkeys(row.interval for row in rows if row.interval)) or 'none'}."
    )
    legend = (
        "On the same seeds and videos; **bold** is better, *italic* worse, beyond the interval."
        if any(row.num_seeds > 1 for row in rows)
        else "On the same videos with one seed: these weights only, so nothing is marked."
    )
    changed_part = (
        ["", "Change from the arm before, or the named one", "", legend, "", *head, *changes]
        if changes
        else []
    )
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

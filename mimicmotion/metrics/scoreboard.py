"""A score table: what was measured of each video, summed up over all.

Memory hardly grows with the number of videos: a mean needs one number per video, a Frechet distance
statistics of at most ``NUM_GROUPS`` groups of videos, a kernel distance one vector per window side by side.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.metrics.backbones.features import FORMS
from mimicmotion.metrics.frechet import FeatureStatistics, frechet_distance
from mimicmotion.metrics.intervals import NUM_GROUPS, group_of, interval_of, means_without
from mimicmotion.metrics.kernel import KernelGroups
from mimicmotion.metrics.scores import (
    KERNEL,
    PER_VIDEO,
    SUMMARY,
    TRUE_SIDE,
    Measured,
    Score,
    network_of,
)

WIDEST_INTERVAL = 512
"""Features wider than this get no interval: twenty more matrix roots would take minutes for every number."""


class FeatureGroups:
    """Statistics of the features of one side, by group of videos.

    Args:
        width: numbers in a feature vector.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        num_groups = NUM_GROUPS if width <= WIDEST_INTERVAL else 1
        self._statistics: list[FeatureStatistics | None] = [None] * num_groups
        # A few vectors take less room than the scatter of their statistics.
        self._vectors: list[list[np.ndarray]] = [[] for _ in range(num_groups)]
        self.counts = [0] * num_groups

    def add(self, video: int, features: np.ndarray) -> None:
        """Add one video, by its place in the order of the set.

        Raises:
            InputError: a number among its features is not finite.
        """
        group = group_of(video) % len(self.counts)
        if not np.isfinite(features).all():
            raise InputError("some features are not finite; the backbone or its input is broken")
        self._vectors[group].append(features)
        self.counts[group] += len(features)
        if sum(map(len, self._vectors[group])) >= self.width:
            self._statistics[group] = self._of_group(group)
            self._vectors[group] = []

    def statistics(self, left_out: int | None = None) -> FeatureStatistics:
        """Of all videos, or of all but one group."""
        parts = [self._of_group(i) for i, count in enumerate(self.counts) if count and i != left_out]
        return reduce(FeatureStatistics.merged, parts, FeatureStatistics.of(np.zeros((0, self.width))))

    def _of_group(self, group: int) -> FeatureStatistics:
        held = self._statistics[group]
        if not self._vectors[group] and held is not None:
            return held
        new = FeatureStatistics.of(np.concatenate(self._vectors[group]))
        return new if held is None else held.merged(new)


def set_distance(true: FeatureGroups, made: FeatureGroups) -> tuple[float, tuple[float | None, ...]]:
    """Frechet distance of two sides, and the same without each group of videos.

    The second holds None for a group without features; it is empty where too little is left, or the features
    are too wide.

    Raises:
        InputError: fewer than two vectors on a side.
    """
    value = frechet_distance(true.statistics(), made.statistics())
    if sum(count > 0 for count in made.counts) < 2:
        return value, ()
    last = max(i for i, count in enumerate(made.counts) if count)
    try:
        return value, tuple(
            frechet_distance(true.statistics(i), made.statistics(i)) if made.counts[i] else None
            for i in range(last + 1)
        )
    except InputError:
        return value, ()


class Scoreboard:
    """Collects what was measured and sums it up.

    Args:
        window: frames of a window of the protocol.
        absent: metric -> the reason why it is absent.
    """

    def __init__(self, window: int, absent: Mapping[str, str]) -> None:
        self._window, self._absent = window, absent
        self._videos: dict[str, int] = {}
        self._scores: list[Score] = []
        self._groups: dict[tuple[str, str], FeatureGroups] = {}
        self._kernels: dict[tuple[str, str], KernelGroups] = {}
        self._sha256: dict[str, str | None] = {}
        self._num_videos: dict[tuple[str, str], int] = {}
        self._num_short: dict[tuple[str, str], int] = {}

    def add(self, rows: Iterable[Measured]) -> None:
        """Add what was measured of videos; the features of a video and of its truth come in one call."""
        sparse: dict[tuple[str, str, str], np.ndarray] = {}
        for row in rows:
            video = self._videos.setdefault(row.clip_id, len(self._videos))
            if row.features is None:
                sha256, note = row.backbone_sha256, row.note
                score = Score(row.clip_id, row.method, row.metric, row.value, count=row.count)
                self._scores.append(replace(score, backbone_sha256=sha256, note=note))
                continue
            key = row.method, row.metric
            groups = self._groups.setdefault(key, FeatureGroups(row.features.shape[1]))
            groups.add(video, row.features)
            self._num_videos[key] = self._num_videos.get(key, 0) + bool(len(row.features))
            self._num_short[key] = self._num_short.get(key, 0) + (not len(row.features))
            self._sha256[row.metric] = row.backbone_sha256
            if not row.metric.endswith(PER_VIDEO):
                # Neighbouring windows are nearly the same; side by side there are far fewer.
                sparse[row.clip_id, row.method, row.metric] = row.features[:: self._window]
        for (clip_id, method, metric), made in sparse.items():
            true = sparse.get((clip_id, TRUE_SIDE, metric))
            if method != TRUE_SIDE and true is not None:
                kernels = self._kernels.setdefault((method, metric), KernelGroups(made.shape[1]))
                kernels.add(self._videos[clip_id], made, true)

    def scores(self) -> list[Score]:
        """All rows: those of single videos as they came, then the summary of each method and metric."""
        summaries: dict[tuple[str, str], list[Score]] = {}
        for score in self._scores:
            summaries.setdefault((score.method, score.metric), []).append(score)
        rows = [self._summary(rows) for rows in summaries.values()]
        rows += [self._frechet(method, metric) for method, metric in self._groups if method != TRUE_SIDE]
        rows += [self._kernel(method, metric) for method, metric in self._kernels]
        rows += [
            Score(SUMMARY, method, metric, None, num_videos=0, note=reason)
            for method in dict.fromkeys(score.method for score in self._scores)
            for metric, reason in self._absent.items()
        ]
        return self._scores + rows

    def _kernel(self, method: str, metric: str) -> Score:
        kernels, num_videos = self._kernels[method, metric], self._num_videos[method, metric]
        short = self._too_short(method, metric)
        row = Score(SUMMARY, method, metric + KERNEL, None, count=kernels.count, num_videos=num_videos)
        row = replace(row, note=short)
        try:
            value, without = kernels.discrepancy()
        except InputError as error:
            return replace(row, note=_joined(str(error), short))
        low, high = interval_of(value, without)
        known = replace(row, value=value, low=low, high=high, without=without)
        return replace(known, backbone_sha256=self._sha256[metric])

    def _frechet(self, method: str, metric: str) -> Score:
        per_frame = FORMS[network_of(metric)].per_frame
        what = "videos" if metric.endswith(PER_VIDEO) else "frames" if per_frame else "windows"
        groups = self._groups[method, metric]
        count, width, short = sum(groups.counts), groups.width, self._too_short(method, metric)
        row = Score(SUMMARY, method, metric, None, count=count, num_videos=self._num_videos[method, metric])
        try:
            value, without = set_distance(self._groups[TRUE_SIDE, metric], groups)
        except InputError as error:
            return replace(
                row, note=_joined(f"{error}: {what}, from windows of {self._window} frames", short)
            )
        low, high = interval_of(value, without)
        note = _joined(f"{count} {what} for {width} features" if count <= width else None, short)
        known = replace(row, value=value, low=low, high=high, note=note, without=without)
        return replace(known, backbone_sha256=self._sha256[metric])

    def _too_short(self, method: str, metric: str) -> str | None:
        """How many videos gave no window, if any."""
        short, known = self._num_short[method, metric], self._num_videos[method, metric]
        if not short:
            return None
        return f"{short} of {short + known} videos are shorter than the window of {self._window} frames"

    def _summary(self, rows: list[Score]) -> Score:
        """The mean over all that was counted, as the published protocols average over frames, not videos."""
        said = Counter(row.note for row in rows if row.note)
        notes = _joined(*(f"{note}{_in_some(count, len(rows))}" for note, count in said.items()))
        sha256 = next((row.backbone_sha256 for row in rows if row.backbone_sha256), None)
        summary = replace(rows[0], clip_id=SUMMARY, value=None, count=0, num_videos=0, note=notes)
        summary = replace(summary, backbone_sha256=sha256)
        # By place of the video, so that two models are compared on the same ones.
        values, counts = [0.0] * len(self._videos), [0] * len(self._videos)
        for row in rows:
            if row.value is not None:
                values[self._videos[row.clip_id]] = row.value
                counts[self._videos[row.clip_id]] = row.count
        if not sum(counts):
            return summary
        mean, without = float(np.average(values, weights=counts)), means_without(values, counts)
        low, high = interval_of(mean, without)
        num_videos = sum(count > 0 for count in counts)
        known = replace(summary, value=mean, low=low, high=high, count=sum(counts), num_videos=num_videos)
        return replace(known, without=without)


def _joined(*notes: str | None) -> str | None:
    return "; ".join(filter(None, notes)) or None


def _in_some(count: int, of: int) -> str:
    return f" (in {count} of {of} videos)" if of > 1 else ""

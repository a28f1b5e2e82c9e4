"""A score table: several ways of making the same videos, measured against the truth, video by video.

Memory does not grow with the number of videos: a mean needs one number per video, a Frechet distance
statistics of at most ``NUM_GROUPS`` groups of videos.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.metrics.features import VideoBackbone
from mimicmotion.metrics.flicker import flicker
from mimicmotion.metrics.frechet import FeatureStatistics, frechet_distance
from mimicmotion.metrics.image import IDENTICAL_PSNR_DB, capped, check_pair, l1, psnr, psnr_legacy, ssim
from mimicmotion.metrics.intervals import NUM_GROUPS, group_of, interval_of, means_without
from mimicmotion.metrics.perceptual import PerceptualDistance
from mimicmotion.metrics.protocols import EvaluationProtocol
from mimicmotion.metrics.scores import PER_VIDEO, SUMMARY, Score

WIDEST_INTERVAL = 512
"""Features wider than this get no interval: twenty more matrix roots would take minutes for every number."""

Backbone = VideoBackbone | PerceptualDistance


@dataclass
class FrechetGroups:
    """Statistics of true and generated features, by group of videos."""

    width: int
    num_videos: int = 0
    true: list[FeatureStatistics] = field(default_factory=list)
    generated: list[FeatureStatistics] = field(default_factory=list)

    def add(self, true: FeatureStatistics, generated: FeatureStatistics) -> None:
        """Add one video."""
        keep = NUM_GROUPS if self.width <= WIDEST_INTERVAL else 1
        if len(self.true) < keep:
            self.true.append(true)
            self.generated.append(generated)
        else:
            group = group_of(self.num_videos) if keep > 1 else 0
            self.true[group] = self.true[group].merged(true)
            self.generated[group] = self.generated[group].merged(generated)
        self.num_videos += 1

    def distance(self, left_out: int | None = None) -> float:
        """The distance of both sides, all videos or without one group.

        Raises:
            InputError: fewer than two vectors on a side.
        """
        return frechet_distance(_merged(self.true, left_out), _merged(self.generated, left_out))

    def distances_without(self) -> tuple[float | None, ...]:
        """The distance without each group, None for one without features; none where too little is left."""
        counts = [part.count for part in self.generated]
        if sum(count > 0 for count in counts) < 2:
            return ()
        try:
            return tuple(self.distance(i) if count else None for i, count in enumerate(counts))
        except InputError:
            return ()


def _merged(parts: list[FeatureStatistics], left_out: int | None) -> FeatureStatistics:
    return reduce(FeatureStatistics.merged, (part for i, part in enumerate(parts) if i != left_out))


class Scoreboard:
    """Collects scores of videos and sums them up.

    Args:
        protocol: size and windows; its id belongs beside every number.
        backbones: metric -> loaded network, or the reason why there is none.
    """

    def __init__(self, protocol: EvaluationProtocol, backbones: Mapping[str, Backbone | str]) -> None:
        self.protocol = protocol
        self._backbones = backbones
        self._scores: list[Score] = []
        self._groups: dict[tuple[str, str], FrechetGroups] = {}

    def add_video(self, clip_id: str, true: np.ndarray, made: Mapping[str, np.ndarray]) -> None:
        """Measure what each method made of one video.

        Args:
            clip_id: names the video.
            true: uint8 (n, h, w, 3).
            made: method -> frames of the same shape.

        Raises:
            InputError: a method's frames do not pair with the true ones.
        """
        for frames in made.values():
            check_pair(true, frames)
        true_small = self.protocol.resized(true)
        small = {method: self.protocol.resized(frames) for method, frames in made.items()}
        for method, frames in small.items():
            self._add_frame_scores(clip_id, method, true_small, frames)
        for metric, backbone in self._backbones.items():
            if isinstance(backbone, VideoBackbone):
                self._add_features(metric, backbone, true_small, small)
            elif isinstance(backbone, PerceptualDistance):
                for method, frames in small.items():
                    numbers = backbone.distances(true_small, frames)
                    self.add(clip_id, method, metric, numbers.mean(), len(numbers), sha256=backbone.sha256)

    def add(
        self,
        clip_id: str,
        method: str,
        metric: str,
        value: float,
        count: int,
        note: str | None = None,
        sha256: str | None = None,
    ) -> None:
        """Add a number measured elsewhere; nan becomes an absent value, which needs a note."""
        known = None if np.isnan(value) else float(value)
        score = Score(clip_id, method, metric, known, count=count, backbone_sha256=sha256, note=note)
        self._scores.append(score)

    def scores(self) -> list[Score]:
        """All rows: those of single videos as they came, then the summary of each method and metric."""
        summaries: dict[tuple[str, str], list[Score]] = {}
        for score in self._scores:
            summaries.setdefault((score.method, score.metric), []).append(score)
        rows = [_summary(method, metric, rows) for (method, metric), rows in summaries.items()]
        rows += [self._frechet(method, metric, groups) for (method, metric), groups in self._groups.items()]
        absent = {metric: reason for metric, reason in self._backbones.items() if isinstance(reason, str)}
        methods = dict.fromkeys(score.method for score in self._scores)
        rows += [
            Score(SUMMARY, method, metric, None, num_videos=0, note=reason)
            for method in methods
            for metric, reason in absent.items()
        ]
        return self._scores + rows

    def _add_frame_scores(self, clip_id: str, method: str, true: np.ndarray, frames: np.ndarray) -> None:
        decibel = psnr(true, frames)
        num_same = int(np.isinf(decibel).sum())
        note = f"{num_same} identical frames count {IDENTICAL_PSNR_DB:g} dB each" if num_same else None
        values = {
            "psnr": capped(decibel),
            "ssim": ssim(true, frames),
            "l1": l1(true, frames),
            "psnr_legacy": psnr_legacy(true, frames),
        }
        for metric, numbers in values.items():
            self.add(
                clip_id, method, metric, numbers.mean(), len(numbers), note if metric == "psnr" else None
            )
        if len(true) > 1:
            numbers = flicker(true, frames)
            self.add(clip_id, method, "flicker", numbers.mean(), len(numbers))
        else:
            self.add(clip_id, method, "flicker", np.nan, 0, "one frame only")

    def _add_features(
        self, metric: str, backbone: VideoBackbone, true: np.ndarray, made: Mapping[str, np.ndarray]
    ) -> None:
        window = self.protocol.window
        true_features = backbone.features(true, window)
        for method, frames in made.items():
            features = backbone.features(frames, window)
            self._collect(method, metric, backbone, true_features, features)
            if not backbone.form.per_frame:
                whole = backbone.video_features(true, window, true_features)
                self._collect(
                    method,
                    metric + PER_VIDEO,
                    backbone,
                    whole,
                    backbone.video_features(frames, window, features),
                )

    def _collect(
        self, method: str, metric: str, backbone: VideoBackbone, true: np.ndarray, generated: np.ndarray
    ) -> None:
        groups = self._groups.setdefault((method, metric), FrechetGroups(backbone.form.width))
        groups.add(FeatureStatistics.of(true), FeatureStatistics.of(generated))

    def _frechet(self, method: str, metric: str, groups: FrechetGroups) -> Score:
        backbone = self._backbones[metric.removesuffix(PER_VIDEO)]
        assert isinstance(backbone, VideoBackbone)
        what = "videos" if metric.endswith(PER_VIDEO) else "frames" if backbone.form.per_frame else "windows"
        count = sum(part.count for part in groups.generated)
        try:
            value = groups.distance()
        except InputError as error:
            reason = f"{error} ({what} of videos with windows of {self.protocol.window} frames)"
            return Score(
                SUMMARY, method, metric, None, num_videos=groups.num_videos, count=count, note=reason
            )
        without = groups.distances_without()
        low, high = interval_of(value, without)
        note = f"{count} {what} for {groups.width} features" if count <= groups.width else None
        sha256 = backbone.sha256
        return Score(
            SUMMARY, method, metric, value, low, high, count, groups.num_videos, sha256, note, without
        )


def _summary(method: str, metric: str, rows: list[Score]) -> Score:
    """The mean over all that was counted, as the published protocols average over frames, not videos."""
    known = [row.value for row in rows if row.value is not None]
    notes = "; ".join(dict.fromkeys(row.note for row in rows if row.note)) or None
    if not known:
        return Score(SUMMARY, method, metric, None, num_videos=0, note=notes)
    values = [row.value or 0.0 for row in rows]
    counts = [0 if row.value is None else row.count for row in rows]
    mean, without = float(np.average(values, weights=counts)), means_without(values, counts)
    low, high = interval_of(mean, without)
    sha256, num = rows[0].backbone_sha256, len(known)
    return Score(SUMMARY, method, metric, mean, low, high, sum(counts), num, sha256, notes, without)

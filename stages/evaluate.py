"""The evaluate stage: generated and true val and test videos in, one row per score out.

``mimicmotion stage evaluate configs/demo.yaml``

Clips are measured one by one over all workers (``stages/parts/measure.py``), beside floors that any model
must be read against; what is done is kept where a run stops. This stage sums up, each side for itself: the
champion is chosen by the scores on ``val``, and those on ``test`` decide nothing. Pairs without a true film
(``animate.pairs``) have a protocol and a table of their own.
"""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from mimicmotion.errors import StageError, WeightsError
from mimicmotion.metrics.scores import JUDGE
from mimicmotion.metrics.settings import FILM_NETWORKS, JudgeSettings
from mimicmotion.weights.scripts import check_script
from stages.clip_rows import JUDGE_PICTURE, JUDGED, kept_clips
from stages.engine.contract import WHOLE, Context, Dataset, DatasetStage, Report, Stage
from stages.parts.generated import generated_clips, judge_of
from stages.parts.measure import FLOORS_PART, MODEL_PART, EvaluateRuntime, Measure, called, measured_rows
from stages.parts.pairs import counted, lost_pairs
from stages.parts.scored import (
    GALLERY_FILE,
    PAIRS,
    SCORES_SCHEMA,
    said_of_pairs,
    save_picture,
    scores_of,
    scores_of_films,
    write_reports,
)

PICTURE_FILE = "best_and_worst.png"
_OF_WHOLE_VIDEOS = (
    ("clips", "test_clips", "whole_video"),
    ("clips", "test_step", 1),
    ("decode", "fps", None),
    ("decode", "on_broken_tail", "reject"),
)
"""Section, field and the value that protocols over whole videos need."""
_OF_SIDES = "\nOf the test videos, which were scored once and chose nothing. On val, {}.\n"
_NUM_IN_GALLERY = 40


class Evaluate(JudgeSettings, DatasetStage):
    """Measures generated val and test videos against the true ones under a named protocol."""

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 7
    reads: ClassVar[tuple[str, ...]] = ("animate", "clips", "decode", "pose", "train")
    optional_reads: ClassVar[tuple[str, ...]] = ("distill",)
    schema: ClassVar[pa.Schema] = SCORES_SCHEMA
    one_process: ClassVar[bool] = False
    follows: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("score_threshold", "nms_threshold", "calibration"), "pose"
    )

    runtime: EvaluateRuntime = EvaluateRuntime()
    pairs_protocol: Literal["cross-identity", "x-dance"] = Field(
        "cross-identity", description="Protocol of the pairs in animate.pairs, which have no true film."
    )

    def idle_fields(self) -> set[str]:
        """Thresholds and the protocol of pairs at their defaults."""
        default = self.pairs_protocol == Evaluate.model_fields["pairs_protocol"].default
        return self.unchanged_fields() | ({"pairs_protocol"} if default else set())

    def check(self) -> list[str]:
        """Networks whose code may not run here, or which do not take such windows."""
        problems = self.window_problems()
        for field, path in self.weight_files().items():
            try:
                check_script(path)
            except WeightsError as error:
                problems.append(f"{field}: {error}")
        return problems

    def conflicts(self, others: Mapping[str, Stage]) -> list[str]:
        """What a protocol over whole videos forbids, and a primary metric that nothing will measure."""
        problems = self._unmeasured(others)
        if not self.chosen_protocol.whole_videos:
            return problems
        return problems + [
            f"protocol {self.protocol} scores every frame of whole videos: {section}.{field} is {got}, "
            f"it must be {needed}"
            for section, field, needed in _OF_WHOLE_VIDEOS
            if section in others and (got := getattr(others[section], field)) != needed
        ]

    def _unmeasured(self, others: Mapping[str, Stage]) -> list[str]:
        """What ``animate.judge`` lacks for the primary metric."""
        if not self.primary_metric.startswith(JUDGE) or "animate" not in others:
            return []
        judge, needs = getattr(others["animate"], "judge", None), FILM_NETWORKS.get(self.primary_metric)
        field = "animate.judge" if judge is None else f"animate.judge.{needs}"
        if judge is not None and (needs is None or getattr(judge, needs) is not None):
            return []
        return [f"primary_metric {self.primary_metric} needs {field}, which is not given"]

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        """Have every generated clip measured and sum up; writes a picture of the best and worst."""
        from mimicmotion.metrics.film.verdicts import scores_in
        from mimicmotion.metrics.judging import absent_metrics
        from mimicmotion.metrics.scoreboard import Scoreboard

        if context.map is None:
            raise StageError("evaluate measures clips over workers, which this context has not")
        fields = {name: getattr(self, name) for name in JudgeSettings.model_fields}
        lost = lost_pairs(inputs["animate"])
        if lost and self.pairs_protocol == "x-dance":
            raise StageError(
                f"x-dance scores every pair of its list, and animate rejected {len(lost)}: "
                f"{', '.join(lost)}. Mend them, or score those that are left under "
                "pairs_protocol: cross-identity"
            )
        measured = context.map(Measure(**fields, runtime=self.runtime), inputs)
        protocol = self.chosen_protocol
        rows = list[dict[str, Any]]()
        for split in JUDGED:
            board = Scoreboard(protocol.window, absent_metrics(self, called))
            of_split = {clip.clip_id for clip in kept_clips(inputs["clips"], split, "clip")}
            done = sorted(of_split.intersection(item_id.rpartition(".")[0] for item_id in measured.ids))
            for clip_id in done:
                tables = (measured.item_table(f"{clip_id}.{part}") for part in (MODEL_PART, FLOORS_PART))
                judged = judge_of(inputs["animate"], clip_id)
                own = scores_in(judged["kept"], clip_id) if judged else []
                board.add(chain(chain.from_iterable(map(measured_rows, tables)), own))
            scores = board.scores() if done else []
            of = {"split": split, "protocol": protocol.id_on(split)}
            rows += [
                {**asdict(score), **of, "is_primary": score.metric == self.primary_metric} for score in scores
            ]
        said: dict[str, Any] = {"split": PAIRS, "protocol": self.pairs_protocol, "is_primary": False}
        rows += [
            {**asdict(score), **said} for score in scores_of_films(said_of_pairs(inputs["animate"]).values())
        ]
        save_picture(folder / PICTURE_FILE, inputs, scores, self.primary_metric)
        return pa.Table.from_pylist(rows, schema=SCORES_SCHEMA)

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log the score table, its numbers on test, and the best and worst test clips."""
        from mimicmotion.metrics.scores import MODEL, SUMMARY, headline, summary_markdown
        from mimicmotion.video.picture_files import read_picture

        table = dataset.table()
        scores = scores_of(table)
        summary = [score for score in scores if score.clip_id == "summary"]
        report.metrics({f"{s.method}/{s.metric}": s.value for s in summary if s.value is not None})
        report.table("scores", table)
        chosen_by = headline(scores_of(table, "val"), self.primary_metric)
        shown = summary_markdown(scores, self.chosen_protocol.id) + _OF_SIDES.format(
            f"what the champion is chosen by: {chosen_by}" if chosen_by else "there is no val video"
        )
        kept = {clip.clip_id for clip in kept_clips(inputs["clips"], "test", "clip")}
        if lost := kept - {score.clip_id for score in scores}:
            shown += f"\n{len(lost)} of {len(kept)} test clips are not scored: animate rejected them.\n"
        report.text("scores.md", shown)
        report.image("best_and_worst", read_picture(dataset.path(WHOLE, PICTURE_FILE)))
        if of_pairs := [score for score in scores_of(table, PAIRS) if score.clip_id == SUMMARY]:
            known = {f"{PAIRS}/{one.metric}": one.value for one in of_pairs if one.value is not None}
            report.metrics(known)
            text = summary_markdown(scores_of(table, PAIRS), self.pairs_protocol)
            text += f"\n{counted(inputs['animate'])}\n"
            report.text("scores_of_pairs.md", text)
            report.section("Scores of pairs, which have no true film", text, known)
        of_model = {s.metric: s.value for s in summary if s.method == MODEL and s.value is not None}
        first = headline(summary, self.primary_metric)
        report.section("Scores", "\n\n".join(filter(None, (first, shown))), of_model)
        animations, clips = inputs["animate"], (clip.clip_id for clip in generated_clips(inputs))
        for item_id in (one for one in (*clips, *said_of_pairs(animations)) if judge_of(animations, one)):
            report.image(f"judge_{item_id}", read_picture(animations.path(item_id, JUDGE_PICTURE)))
        with TemporaryDirectory() as folder:
            for page in write_reports(Path(folder) / GALLERY_FILE, dataset, inputs, most=_NUM_IN_GALLERY):
                report.file(page)
            for video in sorted(Path(folder, "videos").glob("*")):
                report.file(video, "videos")

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
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from mimicmotion.errors import StageError, WeightsError
from mimicmotion.metrics.scores import JUDGE
from mimicmotion.metrics.settings import FILM_NETWORKS, JudgeSettings
from mimicmotion.weights.scripts import check_script
from stages.clip_rows import JUDGE_PICTURE, JUDGED, PREVIEW_FILE, Split, checkpoint_of, kept_clips
from stages.engine.contract import WHOLE, Context, Dataset, DatasetStage, Report, Stage
from stages.parts.generated import generated_clips, judge_of, read_generated, read_true
from stages.parts.measure import FLOORS_PART, MODEL_PART, EvaluateRuntime, Measure, called, measured_rows
from stages.parts.pairs import counted, is_pair, lost_pairs

if TYPE_CHECKING:
    from mimicmotion.metrics.scores import Score

SCORES_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("clip_id", pa.string()),
        ("method", pa.string()),
        ("metric", pa.string()),
        ("is_primary", pa.bool_()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("count", pa.int64()),
        ("num_videos", pa.int32()),
        ("protocol", pa.string()),
        ("backbone_sha256", pa.string()),
        ("note", pa.string()),
        ("without", pa.list_(pa.float64())),
    ]
)
"""One row per clip, method and metric, and one with clip_id ``summary`` over all clips of a split. Pairs are
a split of their own, ``pairs``, with a protocol of their own.

``value`` is null where a metric is absent; ``note`` says why. ``without`` is, in rows of the summary, the
value without each clip, or group of clips, in turn: from it come intervals of changes between models.
"""

PAIRS: Literal["pairs"] = "pairs"
PICTURE_FILE, GALLERY_FILE = "best_and_worst.png", "report.html"
_OF_WHOLE_VIDEOS = (
    ("clips", "test_clips", "whole_video"),
    ("clips", "test_step", 1),
    ("decode", "fps", None),
    ("decode", "on_broken_tail", "reject"),
)
"""Section, field and the value that protocols over whole videos need."""
_OF_SIDES = "\nOf the test videos, which were scored once and chose nothing. On val, {}.\n"
_NUM_PICTURED = 5
_NUM_IN_GALLERY = 40


class Evaluate(JudgeSettings, DatasetStage):
    """Measures generated val and test videos against the true ones under a named protocol."""

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 5
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
        """Networks whose code may not run here."""
        problems = []
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
            of = {"split": split, "protocol": protocol.id}
            rows += [
                {**asdict(score), **of, "is_primary": score.metric == self.primary_metric} for score in scores
            ]
        said: dict[str, Any] = {"split": PAIRS, "protocol": self.pairs_protocol, "is_primary": False}
        rows += [{**asdict(score), **said} for score in _scores_of_pairs(inputs["animate"])]
        _save_picture(folder / PICTURE_FILE, inputs, scores, self.primary_metric)
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
        shown = summary_markdown(scores, table["protocol"][0].as_py()) + _OF_SIDES.format(
            f"what the champion is chosen by: {chosen_by}" if chosen_by else "there is no val video"
        )
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
        for item_id in (one for one in (*clips, *_said_of_pairs(animations)) if judge_of(animations, one)):
            report.image(f"judge_{item_id}", read_picture(animations.path(item_id, JUDGE_PICTURE)))
        with TemporaryDirectory() as folder:
            for page in write_reports(Path(folder) / GALLERY_FILE, dataset, inputs, most=_NUM_IN_GALLERY):
                report.file(page)
            for video in sorted(Path(folder, "videos").glob("*")):
                report.file(video, "videos")


def scores_of(table: pa.Table, split: Split | Literal["pairs"] = "test") -> list["Score"]:
    """The scores of one side, or of the pairs, in a table of this stage."""
    from mimicmotion.metrics.scores import Score

    names = Score.__dataclass_fields__
    rows = [
        {**row, "without": tuple(row["without"] or ())} for row in table.to_pylist() if row["split"] == split
    ]
    return [Score(**{name: row[name] for name in names}) for row in rows]


def _said_of_pairs(animations: Dataset) -> dict[str, dict[str, Any]]:
    """What the judge says of each pair, by item."""
    return {one: said for one in animations.ids if is_pair(one) and (said := judge_of(animations, one))}


def _scores_of_pairs(animations: Dataset) -> list["Score"]:
    """The judge's scores of each pair, and the summary; none where there are no pairs."""
    from mimicmotion.metrics.film.verdicts import scores_in
    from mimicmotion.metrics.scoreboard import Scoreboard

    found, board = _said_of_pairs(animations), Scoreboard(2, {})
    for said in found.values():
        board.add(scores_in(said["kept"], said["film"]))
    return board.scores() if found else []


def write_reports(
    path: Path,
    scores: Dataset,
    inputs: Mapping[str, Dataset],
    links: Mapping[str, str] | None = None,
    most: int | None = None,
) -> list[Path]:
    """Write the gallery of this stage's dataset, and one of pairs beside it; see ``write_gallery``.

    Args:
        path: where the page goes; that of pairs, where there are any, has ``_of_pairs`` after its name.
        scores: dataset of this stage.
        inputs: what it read.
        links: addresses by name, e.g. of runs.
        most: videos to show at most; all by default.
    """
    from mimicmotion.metrics.scores import METRICS
    from mimicmotion.pictures.gallery import GalleryClip, write_gallery

    table = scores.table()
    (primary,) = {row["metric"] for row in table.to_pylist() if row["is_primary"]}
    about = {
        "protocol": table["protocol"][0].as_py(),
        "generated": inputs["animate"].key,
        "checkpoint": checkpoint_of(inputs).key,
        "test clips": inputs["clips"].key,
        "scores": scores.key,
    }
    clips = [
        GalleryClip(clip.clip_id, f"{clip.source_name}, {clip.clip_id}", clip.preview)
        for clip in generated_clips(inputs)
    ]
    pages = [write_gallery(path, about, clips, scores_of(table), primary, links, most)]
    if pairs := _said_of_pairs(inputs["animate"]):
        of_pairs = scores_of(table, PAIRS)
        known = {score.metric for score in of_pairs if score.value is not None}
        first = next((metric for metric in METRICS if metric in known), "judge_body")
        (protocol,) = {row["protocol"] for row in table.to_pylist() if row["split"] == PAIRS}
        about |= {"protocol": protocol, "pairs": counted(inputs["animate"])}
        del about["test clips"]
        clips = [
            GalleryClip(said["film"], said["film"], inputs["animate"].path(item_id, PREVIEW_FILE))
            for item_id, said in pairs.items()
        ]
        page = path.with_name(f"{path.stem}_of_pairs{path.suffix}")
        title = "Generated pairs, which have no true film"
        pages.append(write_gallery(page, about, clips, of_pairs, first, links, most, title))
    return pages


def _save_picture(path: Path, inputs: Mapping[str, Dataset], scores: list["Score"], primary: str) -> None:
    """A picture of the best and the worst clips by the primary metric, the middle frame of each."""
    from mimicmotion.metrics.scores import METRICS
    from mimicmotion.pictures.gallery import best_to_worst
    from mimicmotion.pictures.panels import grid, labelled_row
    from mimicmotion.video.picture_files import write_picture

    metric, values = best_to_worst(scores, primary)
    ranked = [*values]
    chosen = ranked if len(ranked) <= 2 * _NUM_PICTURED else ranked[:_NUM_PICTURED] + ranked[-_NUM_PICTURED:]
    clips = {clip.clip_id: clip for clip in generated_clips(inputs, ids=chosen)}
    rows = []
    for clip in (clips[clip_id] for clip_id in chosen):
        middle = len(clip.frames) // 2
        value = f"{metric} {values[clip.clip_id]:.{METRICS[metric].digits}f}"
        panels = {
            "reference": read_true(clip, clip.reference_frame),
            value: read_generated(clip, middle),
            "true": read_true(clip, clip.frames[middle]),
        }
        rows.append(labelled_row(panels))
    write_picture(path, grid(rows))

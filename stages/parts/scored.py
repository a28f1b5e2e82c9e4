"""The scores of the evaluate stage as others read them: rows, tables of one side, pages and a picture."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from stages.clip_rows import PREVIEW_FILE, Split, checkpoint_of
from stages.engine.contract import Dataset
from stages.parts.generated import generated_clips, judge_of, read_generated, read_true
from stages.parts.pairs import counted, is_pair

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
GALLERY_FILE = "report.html"
_NUM_PICTURED = 5


def scores_of(table: pa.Table, split: Split | Literal["pairs"] = "test") -> list["Score"]:
    """The scores of one side, or of the pairs, in a table of the stage."""
    from mimicmotion.metrics.scores import Score

    names = Score.__dataclass_fields__
    rows = [
        {**row, "without": tuple(row["without"] or ())} for row in table.to_pylist() if row["split"] == split
    ]
    return [Score(**{name: row[name] for name in names}) for row in rows]


def said_of_pairs(animations: Dataset) -> dict[str, dict[str, Any]]:
    """What the judge says of each pair, by item."""
    return {one: said for one in animations.ids if is_pair(one) and (said := judge_of(animations, one))}


def scores_of_films(said: Iterable[Mapping[str, Any]]) -> list["Score"]:
    """What the judge says of films, a row for each film and score, and the summary; none without films."""
    from mimicmotion.metrics.film.verdicts import scores_in
    from mimicmotion.metrics.scoreboard import Scoreboard

    board = Scoreboard(2, {})
    for one in said:
        board.add(scores_in(one["kept"], one["film"]))
    return board.scores()


def write_reports(
    path: Path,
    scores: Dataset,
    inputs: Mapping[str, Dataset],
    links: Mapping[str, str] | None = None,
    most: int | None = None,
) -> list[Path]:
    """Write the gallery of the stage's dataset, and one of pairs beside it; see ``write_gallery``.

    Args:
        path: where the page goes; that of pairs, where there are any, has ``_of_pairs`` after its name.
        scores: dataset of the stage.
        inputs: what it read.
        links: addresses by name, e.g. of runs.
        most: videos to show at most; all by default.
    """
    from mimicmotion.metrics.scores import METRICS
    from mimicmotion.pictures.gallery import GalleryClip, write_gallery

    table = scores.table()
    (primary,) = {row["metric"] for row in table.to_pylist() if row["is_primary"]}
    about = {
        "protocol": next(row["protocol"] for row in table.to_pylist() if row["split"] == "test"),
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
    if pairs := said_of_pairs(inputs["animate"]):
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


def save_picture(path: Path, inputs: Mapping[str, Dataset], scores: list["Score"], primary: str) -> None:
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

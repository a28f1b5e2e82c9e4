"""The gallery of an evaluate stage: its generated videos beside their truth, with scores, for a browser."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from mimicmotion.metrics.scores import METRICS, Score
from mimicmotion.pictures.gallery import GalleryClip, beside, gallery_html
from stages.animate import PREVIEW_FILE
from stages.engine.contract import Dataset
from stages.evaluate import MODEL, scores_of
from stages.generated_clips import generated_clips

MAX_EMBEDDED_BYTES = 200_000_000
"""More than this does not go into one page: videos are put into a folder beside it."""


def write_gallery(
    path: Path,
    scores: Dataset,
    inputs: Mapping[str, Dataset],
    links: Mapping[str, str] | None = None,
    most: int | None = None,
) -> Path:
    """Write the page and give its path; videos are inside, or where they are many in ``videos`` beside it.

    Args:
        path: where the page goes; its folder is made.
        scores: dataset of the evaluate stage.
        inputs: what that stage read.
        links: addresses by name, e.g. of runs.
        most: videos to show at most, the best and the worst by the primary metric; all by default.
    """
    table = scores.table()
    rows = table.to_pylist()
    (primary,) = {row["metric"] for row in rows if row["is_primary"]}
    every = [
        GalleryClip(
            clip.clip_id,
            f"{clip.source_name}, {clip.clip_id}",
            inputs["animate"].path(clip.clip_id, PREVIEW_FILE),
        )
        for clip in generated_clips(inputs)
    ]
    clips = every if most is None or len(every) <= most else _extremes(every, scores_of(table), primary, most)
    about = {
        "protocol": rows[0]["protocol"],
        "videos": f"{len(clips)} of {len(every)}"
        + (", the best and the worst" if len(clips) < len(every) else ""),
        "generated": inputs["animate"].key,
        "checkpoint": inputs["train"].key,
        "test clips": inputs["clips"].key,
        "scores": scores.key,
    }
    embed = sum(clip.video.stat().st_size for clip in clips) <= MAX_EMBEDDED_BYTES
    page = gallery_html("Generated test videos", about, clips, scores_of(table), primary, links, embed)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not embed:
        for clip in clips:
            target = path.parent / beside(clip)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(clip.video, target)
    path.write_text(page, encoding="utf-8")
    return path


def _extremes(
    clips: Sequence[GalleryClip], scores: Sequence[Score], primary: str, most: int
) -> list[GalleryClip]:
    """The best and the worst half; a distance between sets of videos gives none a number, so PSNR decides."""
    by_clip = {
        metric: {s.clip_id: s.value for s in scores if s.method == MODEL and s.metric == metric}
        for metric in (primary, "psnr")
    }
    metric = primary if by_clip[primary].keys() & {clip.clip_id for clip in clips} else "psnr"
    sign = 1 if METRICS[metric].higher_is_better else -1
    ranked = sorted(clips, key=lambda clip: sign * (by_clip[metric].get(clip.clip_id) or 0.0))
    return [*ranked[: most // 2], *ranked[-(most - most // 2) :]]

"""The gallery: one HTML file with every test video side by side, its scores, and the table with floors.

Videos are inside the file and nothing is fetched, so it plays from a mail, a share, or MLflow's page.
"""

import base64
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import quote

from mimicmotion.metrics.scores import METRICS, MODEL, SUMMARY, Score, cell_text, headline, title_of

MAX_EMBEDDED_BYTES = 200_000_000
"""More than this does not go into one page: videos are put into a folder beside it."""


@dataclass(frozen=True)
class GalleryClip:
    """One test video of the gallery.

    Attributes:
        clip_id: as in the scores.
        title: what people call it.
        video: an mp4 file that a browser plays.
    """

    clip_id: str
    title: str
    video: Path


def gallery_html(
    title: str,
    about: Mapping[str, str],
    clips: Sequence[GalleryClip],
    scores: Sequence[Score],
    primary: str,
    links: Mapping[str, str] | None = None,
    embed: bool = True,
) -> str:
    """The page, whole; videos are sorted by the primary metric at first, the worst on top.

    Args:
        title: of the page.
        about: what a reader must know, by name: protocol, data, config.
        clips: the videos.
        scores: rows of single videos and the summary, as a ``Scoreboard`` gives them.
        primary: metric that decides.
        links: address by name of what is shown elsewhere, e.g. runs.
        embed: videos are inside the page; else it expects them beside it, see ``beside``.
    """
    per_video = {(s.clip_id, s.method, s.metric): s for s in scores if s.clip_id != SUMMARY}
    metrics = [
        metric for metric in METRICS if any((clip.clip_id, MODEL, metric) in per_video for clip in clips)
    ]
    summary = [score for score in scores if score.clip_id == SUMMARY]
    first = primary if primary in metrics else "psnr"
    page = Template(files("mimicmotion.pictures").joinpath("gallery.html").read_text(encoding="utf-8"))
    return page.substitute(
        title=escape(title),
        about=_about(about, links or {}),
        headline=headline(summary, first, lambda text: f"<b>{escape(text)}</b>"),
        summary=_summary(summary, primary),
        metrics="".join(_option(metric, metric == first) for metric in metrics),
        clips="\n".join(_card(clip, metrics, per_video, embed) for clip in clips),
    )


def write_gallery(
    path: Path,
    about: Mapping[str, str],
    clips: Sequence[GalleryClip],
    scores: Sequence[Score],
    primary: str,
    links: Mapping[str, str] | None = None,
    most: int | None = None,
    title: str = "Generated test videos",
) -> Path:
    """Write the page and give its path; videos are inside, or where they are many in ``videos`` beside it.

    Args:
        path: where the page goes; its folder is made.
        about: what a reader must know, by name.
        clips: the test videos.
        scores: rows of single videos and the summary.
        primary: metric that decides.
        links: addresses by name, e.g. of runs.
        most: videos to show at most, the best and the worst by the primary metric; all by default.
        title: of the page.
    """
    shown = clips if most is None or len(clips) <= most else _extremes(clips, scores, primary, most)
    which = ", the best and the worst" if len(shown) < len(clips) else ""
    about = {**about, "videos": f"{len(shown)} of {len(clips)}{which}"}
    embed = sum(clip.video.stat().st_size for clip in shown) <= MAX_EMBEDDED_BYTES
    page = gallery_html(title, about, shown, scores, primary, links, embed)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not embed:
        for clip in shown:
            target = path.parent / beside(clip)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(clip.video, target)
    path.write_text(page, encoding="utf-8")
    return path


def best_to_worst(scores: Sequence[Score], primary: str) -> tuple[str, dict[str, float]]:
    """The metric that ranks videos, and what the model scored on each, the best one first.

    A distance between sets of videos gives none a number, so PSNR ranks them there.
    """
    rows = [s for s in scores if s.method == MODEL and s.clip_id != SUMMARY and s.value is not None]
    metric = primary if any(row.metric == primary for row in rows) else "psnr"
    sign = -1 if METRICS[metric].higher_is_better else 1
    values = {row.clip_id: row.value for row in rows if row.metric == metric and row.value is not None}
    return metric, dict(sorted(values.items(), key=lambda pair: sign * pair[1]))


def _extremes(
    clips: Sequence[GalleryClip], scores: Sequence[Score], primary: str, most: int
) -> list[GalleryClip]:
    """The worst and the best half, the worst first."""
    places = {clip_id: place for place, clip_id in enumerate(best_to_worst(scores, primary)[1])}
    ranked = sorted(clips, key=lambda clip: -places.get(clip.clip_id, len(places)))
    return [*ranked[: most // 2], *ranked[-(most - most // 2) :]]


def _about(about: Mapping[str, str], links: Mapping[str, str]) -> str:
    rows = [f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in about.items()]
    rows += [
        f'<tr><td>{escape(name)}</td><td><a href="{escape(address)}">{escape(address)}</a></td></tr>'
        for name, address in links.items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _summary(rows: Sequence[Score], primary: str) -> str:
    methods = list(dict.fromkeys(row.method for row in rows))
    cells = {(row.metric, row.method): row for row in rows}
    head = "".join(f"<th>{escape(method)}</th>" for method in methods)
    lines = [f"<tr><th>metric</th>{head}</tr>"]
    known = {row.metric for row in rows if row.value is not None}
    for metric in (name for name in METRICS if name in known):
        shade = ' class="primary"' if metric == primary else ""
        values = "".join(f"<td{shade}>{_value(cells.get((metric, method)))}</td>" for method in methods)
        lines.append(f"<tr><td{shade}>{escape(title_of(metric))}</td>{values}</tr>")
    notes = dict.fromkeys(f"{METRICS[row.metric].title}: {row.note}" for row in rows if row.note)
    said = "".join(f'<div class="note">{escape(note)}</div>' for note in notes)
    return f"<table>{''.join(lines)}</table><small>In brackets the 95 % interval over videos.</small>{said}"


def _card(
    clip: GalleryClip,
    metrics: Sequence[str],
    scores: Mapping[tuple[str, str, str], Score],
    embed: bool,
) -> str:
    own = {metric: scores.get((clip.clip_id, MODEL, metric)) for metric in metrics}
    methods = list(dict.fromkeys(method for clip_id, method, _ in scores if clip_id == clip.clip_id))
    data = "".join(
        f' data-{metric}="{score.value!r}"'
        for metric, score in own.items()
        if score and score.value is not None
    )
    head = "".join(f"<th>{escape(method)}</th>" for method in methods)
    lines = [
        f"<tr><td>{escape(title_of(metric))}</td>"
        + "".join(f"<td>{_value(scores.get((clip.clip_id, method, metric)))}</td>" for method in methods)
        + "</tr>"
        for metric in metrics
    ]
    source = _embedded(clip.video) if embed else quote(beside(clip))
    return (
        f'<div class="clip"{data}><h3>{escape(clip.title)}<span class="value"></span></h3><div class="both">'
        f'<video controls loop muted playsinline preload="auto" src="{source}"></video>'
        f"<details><summary>scores</summary><table><tr><th>metric</th>{head}</tr>{''.join(lines)}</table>"
        "</details></div></div>"
    )


def beside(clip: GalleryClip) -> str:
    """Where a page that does not hold its videos expects this one, relative to itself."""
    return f"videos/{clip.clip_id}.mp4"


def _embedded(video: Path) -> str:
    return f"data:video/mp4;base64,{base64.b64encode(video.read_bytes()).decode()}"


def _option(metric: str, chosen: bool) -> str:
    higher = int(METRICS[metric].higher_is_better)
    selected = " selected" if chosen else ""
    return f'<option value="{metric}" data-higher="{higher}"{selected}>{escape(title_of(metric))}</option>'


def _value(score: Score | None) -> str:
    return escape(cell_text(score))

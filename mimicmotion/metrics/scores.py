"""Scores: one number of a table each, what the metrics are called, and how a table of them reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mimicmotion.errors import InputError

SUMMARY = "summary"
"""In place of a clip's id: over all clips."""

MODEL, TRUTH = "model", "truth"
COPY, ROUND_TRIP, LATE = "copy_reference", "vae_round_trip", "truth_one_frame_late"
TRUE_SIDE = "true side"
"""In place of a method: features of the true frames, which those of every method are compared with."""
FLOORS = (COPY, ROUND_TRIP, LATE)
"""Methods that need no model: what a model must beat, and what it cannot beat."""

PER_VIDEO = "_per_video"
"""Ending of video metrics with one vector a video; without it, one a window of frames."""
KERNEL = "_mmd"
"""Ending of distances between sets by a kernel, for few videos; without it, the Frechet distance."""


def network_of(metric: str) -> str:
    """The metric's name without its endings, which names the network behind it."""
    return metric.removesuffix(KERNEL).removesuffix(PER_VIDEO)


@dataclass(frozen=True)
class Measured:
    """What one way of making one video came to: a number, or its feature vectors for a distance between sets.

    Attributes:
        clip_id: the video.
        method: what made the frames: ``model``, the name of a floor, or ``TRUE_SIDE``.
        metric: what was measured.
        value: a mean; None where it could not be measured, ``note`` says why, and where there are features.
        count: what a mean went over: frames, pairs of frames, hands or points.
        backbone_sha256: of the network's file, where the metric has one.
        note: what a reader must know.
        features: float32 (n, width): windows, frames, or one vector for the video.
    """

    clip_id: str
    method: str
    metric: str
    value: float | None
    count: int = 0
    backbone_sha256: str | None = None
    note: str | None = None
    features: np.ndarray | None = None


@dataclass(frozen=True)
class Score:
    """One number of the table.

    Attributes:
        clip_id: the video, or ``SUMMARY`` for all.
        method: what made the frames: ``model`` or the name of a floor.
        metric: what was measured.
        value: None where it could not be measured; ``note`` says why.
        low, high: 95 % interval over videos; summary rows only.
        count: what a mean went over: frames, pairs of frames, hands, points or windows.
        num_videos: videos behind it.
        backbone_sha256: of the network's file, where the metric has one.
        note: what a reader must know.
        without: summary rows only: the value without each video, or group of videos, in turn; what pairs two
            models on the same videos, see ``intervals``.
    """

    clip_id: str
    method: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    count: int = 0
    num_videos: int = 1
    backbone_sha256: str | None = None
    note: str | None = None
    without: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class MetricName:
    """How a metric is shown: its title, whether more is better, digits after the point, and its unit."""

    title: str
    higher_is_better: bool
    digits: int = 2
    unit: str = ""


METRICS = {
    "psnr": MetricName("PSNR dB", True),
    "ssim": MetricName("SSIM", True, 3),
    "l1": MetricName("L1", False, 4),
    "psnr_legacy": MetricName("PSNR legacy (wraps)", True),
    "fvd": MetricName("FVD", False, 1),
    "fid_vid": MetricName("FID-VID", False),
    "fvd_small": MetricName("FVD small", False),
    "fid": MetricName("FID", False),
    "videomae": MetricName("Frechet VideoMAE", False),
    "vjepa": MetricName("Frechet V-JEPA", False),
    "fvd_mmd": MetricName("MMD I3D", False, 3),
    "fid_vid_mmd": MetricName("MMD 3D ResNet", False, 3),
    "fvd_small_mmd": MetricName("MMD small", False, 3),
    "fid_mmd": MetricName("MMD Inception", False, 3),
    "videomae_mmd": MetricName("MMD VideoMAE", False, 3),
    "vjepa_mmd": MetricName("MMD V-JEPA", False, 3),
    "fvd_per_video": MetricName("FVD per video", False, 1),
    "fid_vid_per_video": MetricName("FID-VID per video", False),
    "fvd_small_per_video": MetricName("FVD small per video", False),
    "videomae_per_video": MetricName("Frechet VideoMAE per video", False),
    "vjepa_per_video": MetricName("Frechet V-JEPA per video", False),
    "lpips": MetricName("LPIPS", False, 3),
    "identity": MetricName("Identity", True, 3),
    "flicker": MetricName("Flicker", False, 4),
    "hand_psnr": MetricName("Hand PSNR dB", True),
    "hand_ssim": MetricName("Hand SSIM", True, 3),
    **{
        f"pose_{measure}_{part}": MetricName(f"Pose {title} {part}", higher, 4)
        for part in ("body", "hands", "face")
        for measure, title, higher in (
            ("error", "error", False),
            ("pck", "PCK", True),
            ("found", "found", True),
        )
    },
    "judge_body": MetricName("Judge body", False, 4, "heights"),
    "judge_hands": MetricName("Judge hands", False, 4, "heights"),
    "judge_face": MetricName("Judge face", False, 4, "heights"),
    "judge_nobody": MetricName("Judge nobody", False, 3, "share of frames"),
    "judge_jerk": MetricName("Judge jerk", False, 4, "heights per frame^3"),
    "judge_identity": MetricName("Judge identity", True, 3, "cosine"),
    "judge_appearance": MetricName("Judge appearance", True, 3, "cosine"),
    "judge_colour_drift": MetricName("Judge colour drift", False, 2, "Lab units per 100 frames"),
    "judge_appearance_drift": MetricName("Judge appearance drift", False, 3, "distance per 100 frames"),
    "judge_joins": MetricName("Judge joins", False, 2, "times the change elsewhere"),
    "judge_background": MetricName("Judge background", False, 2, "levels of 255"),
    "judge_flicker": MetricName("Judge background flicker", False, 2, "levels of 255"),
    "judge_sharp_face": MetricName("Judge sharpness face", True, 3, "of the reference's"),
    "judge_sharp_hands": MetricName("Judge sharpness hands", True, 3, "of the reference's"),
}

JUDGE = "judge_"
"""Beginning of metrics that need no true film: a film against its reference picture and driving poses."""


def metric_name(metric: str) -> MetricName:
    """How this metric is shown.

    Raises:
        InputError: there is no such metric.
    """
    if metric not in METRICS:
        raise InputError(f"there is no metric {metric!r}; choose one of {', '.join(METRICS)}")
    return METRICS[metric]


def is_better(metric: str, change: float, half: float | None) -> bool | None:
    """Whether a change is for the better beyond its interval, ``half`` to each side.

    None where that cannot be said: there is no interval, or it holds zero.
    """
    if half is None or abs(change) <= half:
        return None
    return (change > 0) == metric_name(metric).higher_is_better


def is_below_floor(metric: str, value: float | None, floor: float | None) -> bool:
    """Whether a model's value is worse than that of copying the reference, which needs no model."""
    if value is None or floor is None:
        return False
    return value < floor if metric_name(metric).higher_is_better else value > floor


def summary_markdown(scores: Sequence[Score], protocol_id: str) -> str:
    """The summary as a Markdown table, a row per metric and a column per method, then the notes.

    A metric that nobody could measure has no row, and a note that says why.
    """
    rows = [score for score in scores if score.clip_id == SUMMARY]
    methods = list(dict.fromkeys(row.method for row in rows))
    cells = {(row.metric, row.method): row for row in rows}
    lines = [
        f"Protocol `{protocol_id}`; in brackets the 95 % interval over videos.",
        "",
        f"| metric | {' | '.join(methods)} |",
        f"|---|{'---|' * len(methods)}",
    ]
    notes: list[str] = []
    for metric in sorted({row.metric for row in rows}, key=list(METRICS).index):
        if any(row.metric == metric and row.value is not None for row in rows):
            shown = [cell_text(cells.get((metric, method))) for method in methods]
            lines.append(f"| {title_of(metric)} | {' | '.join(shown)} |")
        of_metric = [row for row in rows if row.metric == metric]
        for note in sorted({row.note for row in of_metric if row.note}):
            said_of = [row.method for row in of_metric if row.note == note]
            whose = "" if len(said_of) == len(of_metric) else f", {', '.join(said_of)}"
            notes.append(f"- {METRICS[metric].title}{whose}: {note}")
    titles: dict[str, list[str]] = {}
    for metric, sha in {row.metric: row.backbone_sha256 for row in rows}.items():
        if sha:
            titles.setdefault(sha, []).append(METRICS[metric].title)
    notes += [f"- {', '.join(named)}: backbone sha256 `{sha}`" for sha, named in titles.items()]
    return "\n".join([*lines, "", *notes]) + "\n"


def headline(
    scores: Sequence[Score], metric: str, bold: Callable[[str], str] = lambda text: f"**{text}**"
) -> str:
    """One sentence: a metric of the model and of every floor; empty where it was not measured.

    Args:
        scores: any rows; those of the summary count.
        metric: the one that decides.
        bold: marks the methods; Markdown by default.
    """
    known = [
        row for row in scores if (row.clip_id, row.metric) == (SUMMARY, metric) and row.value is not None
    ]
    values = ", ".join(f"{bold(row.method)} {cell_text(row)}" for row in known)
    return f"{title_of(metric)}: {values}" if values else ""


def title_of(metric: str) -> str:
    """A metric's title with an arrow to where better is."""
    name = METRICS[metric]
    return f"{name.title} {'↑' if name.higher_is_better else '↓'}"


def cell_text(score: Score | None) -> str:
    """A value with its interval, as a table shows it; a dash where there is none."""
    if score is None or score.value is None:
        return "-"
    digits = metric_name(score.metric).digits
    interval = "" if score.low is None else f" [{score.low:.{digits}f}, {score.high:.{digits}f}]"
    return f"{score.value:.{digits}f}{interval}"

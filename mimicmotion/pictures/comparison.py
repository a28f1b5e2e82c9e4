"""Pictures of an ablation: a chart of every metric by arm, and what the arms made side by side."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mimicmotion.metrics.comparison import Compared
from mimicmotion.metrics.scores import METRICS
from mimicmotion.pictures.panels import labelled_row

_COLUMNS = 4
_FLOOR_COLOURS = ("tab:gray", "tab:orange", "tab:green")


def comparison_chart(rows: Sequence[Compared], floors: Sequence[str]) -> UInt8[np.ndarray, "h w 3"]:
    """A panel for each metric: every arm with its interval, floors as dashed lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = [
        metric
        for metric in dict.fromkeys(row.metric for row in rows)
        if any(row.metric == metric and row.value is not None and row.arm not in floors for row in rows)
    ]
    num_columns = min(_COLUMNS, max(len(metrics), 1))
    num_rows = -(-len(metrics) // num_columns) or 1
    figure = Figure(figsize=(4.2 * num_columns, 3.4 * num_rows), layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    panels = list(np.atleast_1d(figure.subplots(num_rows, num_columns)).flat)
    for axes, metric in zip(panels[: len(metrics)], metrics, strict=True):
        _panel(axes, metric, [row for row in rows if row.metric == metric], floors)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    if metrics:
        # Not every panel has every floor.
        known = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in panels[: len(metrics)]]
        by_label = {label: handle for panel in known for handle, label in panel}
        figure.legend(by_label.values(), by_label.keys(), loc="outside lower center", ncols=4)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _panel(axes: Any, metric: str, rows: Sequence[Compared], floors: Sequence[str]) -> None:
    known = [row for row in rows if row.value is not None]
    arms = [row for row in known if row.arm not in floors]
    places = np.arange(len(arms))
    values = np.array([row.value for row in arms])
    low = np.array([row.value if row.low is None else row.low for row in arms])
    high = np.array([row.value if row.high is None else row.high for row in arms])
    # A share of videos drawn again can miss the mean by rounding, which matplotlib refuses.
    errors = np.maximum([values - low, high - values], 0.0)
    axes.errorbar(places, values, errors, fmt="o-", capsize=4, label="arms, with interval")
    for place, floor in enumerate(floors):
        for row in known:
            if row.arm == floor:
                colour = _FLOOR_COLOURS[place % len(_FLOOR_COLOURS)]
                axes.axhline(row.value, linestyle="--", linewidth=1, color=colour, label=floor)
    name = METRICS[metric]
    axes.set_title(f"{name.title}, {'higher' if name.higher_is_better else 'lower'} is better", fontsize=10)
    axes.set_xticks(places, [row.arm for row in arms], rotation=20, ha="right", fontsize=8)


def panel_frames(videos: Mapping[str, Iterable[np.ndarray]]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frame by frame, videos of one clip side by side under their labels.

    Args:
        videos: label -> frames uint8 (h, w, 3), all of one number and size.
    """
    for frames in zip(*videos.values(), strict=True):
        yield labelled_row(dict(zip(videos, frames, strict=True)))

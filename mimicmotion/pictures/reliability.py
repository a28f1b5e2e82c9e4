"""The reliability diagram of a calibration: how often points of a confidence are right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mimicmotion.metrics.confidence.reliability import Reliability


def reliability_chart(rows: Sequence[Reliability]) -> UInt8[np.ndarray, "h w 3"]:
    """A panel for each part: share right over mean confidence, before and after, and the diagonal."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(rows), 3.4), layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    for axes, row in zip(np.atleast_1d(figure.subplots(1, len(rows))), rows, strict=True):
        axes.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color="tab:gray")
        for name, bins, error in (
            ("raw", row.before, row.error_before),
            ("calibrated", row.after, row.error_after),
        ):
            if not bins:
                continue
            confidence, share, _ = zip(*bins, strict=True)
            axes.plot(confidence, share, "o-", markersize=3, label=f"{name}, error {error:.3f}")
        axes.set_title(f"{row.part}, {row.num_points} points", fontsize=10)
        axes.set_xlabel("confidence (raw cut at 1)", fontsize=8)
        axes.set_ylabel("share within r of the truth", fontsize=8)
        if row.num_points:
            axes.legend(fontsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

"""A judge's verdict for the eye: how the film drifts, its scores over time, and its worst moments."""

import numpy as np
from jaxtyping import UInt8

from mimicmotion.metrics.film.film_scores import Verdict
from mimicmotion.metrics.scores import METRICS, title_of
from mimicmotion.pictures.clips import drawn, new_figure
from mimicmotion.pictures.panels import grid, labelled_row


def verdict_picture(verdict: Verdict, reference: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Curves over frame distance and over time, then the reference beside the worst frame by some scores."""
    shown = {moment.metric: verdict.per_frame[moment.metric] for moment in verdict.worst}
    panels = {
        f"{METRICS[moment.metric].title} {moment.value:.{METRICS[moment.metric].digits}f} "
        f"at {moment.frame}": moment.picture
        for moment in verdict.worst
    }
    rows = [labelled_row({"reference": reference, **panels})]
    if num_plots := len(verdict.curves) + len(shown):
        figure, canvas = new_figure(3.2 * num_plots, 2.6)
        axes = np.atleast_1d(figure.subplots(1, num_plots))
        for plot, (metric, curve) in zip(axes[: len(verdict.curves)], verdict.curves.items(), strict=True):
            plot.plot(list(curve), list(curve.values()), "o-")
            plot.set(title=METRICS[metric].title, xlabel="frames apart")
        for plot, (metric, values) in zip(axes[len(verdict.curves) :], shown.items(), strict=True):
            plot.plot(values)
            plot.set(title=title_of(metric), xlabel="frame")
        rows.insert(0, drawn(canvas))
    return grid(rows)

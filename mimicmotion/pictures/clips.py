"""Pictures that let a person judge the choice of clips: counts, histograms, clips with their poses."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mimicmotion.clips.overlays import Overlay
from mimicmotion.pictures.panels import grid, labelled_row, pose_over
from mimicmotion.pose.drawing import draw_pose
from mimicmotion.pose.framing import framed_track
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PoseTrack
from mimicmotion.video.framing import Framing
from mimicmotion.video.reader import VideoReader
from mimicmotion.video.size import Size

_NUM_BINS = 25
_PANEL_HEIGHT_PX = 260
_OVERLAY = (60, 60, 255)


def reasons_picture(counts: Mapping[str, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Bars of how many windows were kept, and rejected for which reason, most frequent on top."""
    names = sorted(counts, key=lambda name: counts[name])
    figure, canvas = new_figure(8, 1 + 0.35 * len(names))
    axes = figure.subplots()
    bars = axes.barh(names, [counts[name] for name in names])
    axes.bar_label(bars)
    axes.set(title="windows by outcome", xlabel="windows")
    return drawn(canvas)


def histograms_picture(values: Mapping[str, Sequence[float]]) -> UInt8[np.ndarray, "h w 3"]:
    """A histogram per name, side by side."""
    figure, canvas = new_figure(4 * len(values), 3.5)
    for axes, (name, numbers) in zip(
        np.atleast_1d(figure.subplots(1, len(values))), values.items(), strict=True
    ):
        axes.hist(numbers, bins=_NUM_BINS)
        axes.set(title=name, ylabel="windows")
    return drawn(canvas)


def clip_row(
    reader: VideoReader,
    track: PoseTrack,
    frames: Sequence[int],
    references: Sequence[int],
    title: str,
    overlays: Sequence[Overlay] = (),
) -> UInt8[np.ndarray, "h w 3"]:
    """A reference and some driving frames of a clip, side by side, with the pose drawn over them.

    Args:
        reader: the normalised video.
        track: main person of that video.
        frames: frames to show.
        references: reference candidates, of which the first is shown.
        title: written over the first panel.
        overlays: boxes that are outlined.
    """
    wanted = [*references[:1], *frames]
    labels = [f"reference {frame}" for frame in references[:1]] + [f"frame {frame}" for frame in frames]
    height_px = min(_PANEL_HEIGHT_PX, reader.height_px)
    size = Size(max(1, round(reader.width_px * height_px / reader.height_px)), height_px)
    small = track.select(wanted).resized(size)
    style = DrawingStyle(canvas_short_side_px=max(min(size), 480))
    panels = {}
    for place, (label, picture) in enumerate(zip(labels, reader.read(wanted), strict=True)):
        picture = _outlined(picture, [one for one in overlays if one.first <= wanted[place] < one.end])
        pose = draw_pose(
            small.keypoints[place : place + 1], small.confidences[place : place + 1], size, style
        )
        panels[label] = pose_over(_shrunk(picture, size), pose)
    return grid([_title(title, size.width_px * len(panels)), labelled_row(panels)])


def review_frames(
    reader: VideoReader, track: PoseTrack, frames: Sequence[int], fit: Framing
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Each frame as training would see it, and beside it the pose drawn over it, for a person to judge.

    Args:
        reader: the normalised video.
        track: main person of that video.
        frames: frames to show.
        fit: how they become training pictures.
    """
    width, height = fit.target
    height_px = min(_PANEL_HEIGHT_PX * 2, height) // 2 * 2
    size = Size(max(1, round(width * height_px / height / 2)) * 2, height_px)
    small = framed_track(track.select(frames), fit).resized(size)
    style = DrawingStyle(canvas_short_side_px=max(min(size), 480))
    for place, frame in enumerate(frames):
        picture = _shrunk(fit.frames(reader.read([frame]))[0], size)
        one = slice(place, place + 1)
        pose = draw_pose(small.keypoints[one], small.confidences[one], size, style)
        yield np.concatenate([picture, pose_over(picture, pose)], axis=1)


def _outlined(picture: np.ndarray, overlays: Sequence[Overlay]) -> np.ndarray:
    import cv2

    picture = np.ascontiguousarray(picture)
    for *_, left, top, right, bottom in overlays:
        cv2.rectangle(picture, (left, top), (right, bottom), _OVERLAY, max(1, len(picture) // 200))
    return picture


def _shrunk(picture: np.ndarray, size: Size) -> np.ndarray:
    import cv2

    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _title(text: str, width_px: int) -> np.ndarray:
    import cv2

    strip = np.full((22, max(width_px, 10 * len(text)), 3), 225, np.uint8)
    cv2.putText(strip, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return strip


def new_figure(width_in: float, height_in: float) -> tuple[Any, Any]:
    """An empty figure of this size, and the canvas it is drawn on."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    return figure, FigureCanvasAgg(figure)


def drawn(canvas: Any) -> np.ndarray:
    """The picture uint8 (h, w, 3) of a canvas."""
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

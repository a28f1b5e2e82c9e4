"""133 keypoints of people: a whole-body model with one heatmap a keypoint, in ViTPose's form.

The crop maps corners of the box to centres of the outermost pixels (UDP, CVPR 2020, "The Devil is in the
Details"), the maximum of a heatmap is refined below a cell by a Taylor step of its smoothed logarithm (DARK,
CVPR 2020, "Distribution-Aware Coordinate Representation"), and its height is the confidence. The numbers are
those of ``VitPoseImageProcessor.post_process_pose_estimation`` of transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, UInt8

from mimicmotion.errors import WeightsError
from mimicmotion.pose.layout import NUM_KEYPOINTS
from mimicmotion.pose.models.simcc import WholeBodyModel, crop_frame, cut

_BLUR_RADIUS_CELLS, _BLUR_SIGMA = 5, 0.8
_LOG_RANGE: Final = (0.001, 50.0)


@dataclass(frozen=True)
class HeatmapModel(WholeBodyModel):
    """A graph of heatmaps ready to place keypoints."""

    def _cut(
        self, frame: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]
    ) -> Float32[np.ndarray, "3 height width"]:
        centre, extent = crop_frame(box, self.size)
        scale = (np.array(self.size) - 1) / extent
        matrix = np.column_stack([np.diag(scale), -(centre - extent / 2) * scale])
        return cut(frame, matrix, self.size, self.top)

    def _place(
        self, results: Sequence[np.ndarray], boxes: Float[np.ndarray, "people 4"]
    ) -> tuple[Float32[np.ndarray, "people 133 2"], Float32[np.ndarray, "people 133"]]:
        (heatmaps,) = results
        places, confidences = decode(heatmaps)
        cells = np.array(heatmaps.shape[:1:-1])
        frames = [crop_frame(box, self.size) for box in boxes]
        points = [
            place * extent / (cells - 1) + centre - extent / 2
            for place, (centre, extent) in zip(places, frames, strict=True)
        ]
        return np.stack(points).astype(np.float32), confidences


def decode(
    heatmaps: Float32[np.ndarray, "people 133 rows columns"],
) -> tuple[Float32[np.ndarray, "people 133 2"], Float32[np.ndarray, "people 133"]]:
    """Return the refined places in cells, and the heights of the maxima.

    Where no height is above 0 there is nothing to refine, and the place is one cell before the first.

    Raises:
        WeightsError: the shape is not that of 133 heatmaps.
    """
    if heatmaps.ndim != 4 or heatmaps.shape[1] != NUM_KEYPOINTS:
        raise WeightsError(
            f"a whole-body model gives heatmaps of shape (people, {NUM_KEYPOINTS}, rows, columns), got "
            f"{heatmaps.shape}"
        )
    flat = heatmaps.reshape(*heatmaps.shape[:2], -1)
    heights, columns = flat.max(axis=-1), heatmaps.shape[3]
    y, x = np.divmod(flat.argmax(axis=-1), columns)
    places = np.stack([x, y], axis=-1).astype(np.float32)
    places += _step(heatmaps, x, y)
    places[heights <= 0] = -1
    return places, heights


def _step(
    heatmaps: Float32[np.ndarray, "people 133 rows columns"], x: np.ndarray, y: np.ndarray
) -> Float32[np.ndarray, "people 133 2"]:
    """Return how far from each maximum, in cells, the top of the parabola through its neighbours lies."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(heatmaps, _BLUR_SIGMA, radius=_BLUR_RADIUS_CELLS, axes=(2, 3))
    padded = np.pad(np.log(smooth.clip(*_LOG_RANGE)), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    people, each = np.indices(x.shape)

    def at(right: int, down: int) -> np.ndarray:
        values: np.ndarray = padded[people, each, y + 1 + down, x + 1 + right].astype(np.float64)
        return values

    middle, left, right, above, below = at(0, 0), at(-1, 0), at(1, 0), at(0, -1), at(0, 1)
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    across = 0.5 * (at(1, 1) - right - below + 2 * middle - left - above + at(-1, -1))
    tiny = np.finfo(np.float32).eps
    xx, yy = right - 2 * middle + left + tiny, below - 2 * middle + above + tiny
    determinant = xx * yy - across**2
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.stack([across * dy - yy * dx, across * dx - xx * dy], axis=-1) / determinant[..., None]
    return np.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)

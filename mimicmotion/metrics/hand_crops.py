"""PSNR and SSIM inside the boxes of hands, where a result is judged first."""

import numpy as np

from mimicmotion.metrics.image import capped, check_pair, psnr, ssim
from mimicmotion.video.size import Size

MIN_SIDE_PX = 16
"""Smaller boxes grow to this, so that SSIM has a few windows to look at."""
MARGIN = 0.2
"""Each box grows by this fraction of its side on each edge: the box of 21 points cuts the finger tips."""


def crop_bounds(box: np.ndarray, size: Size) -> tuple[int, int, int, int] | None:
    """Whole-pixel (top, bottom, left, right) around a hand box; None when it lies outside the picture.

    Args:
        box: float (4,) xyxy in pixels; nan when there is no hand.
        size: of the picture.
    """
    if not np.isfinite(box).all():
        return None
    width, height = size
    if box[2] <= 0 or box[3] <= 0 or box[0] >= width or box[1] >= height:
        return None
    left, right = _span(float(box[0]), float(box[2]), width)
    top, bottom = _span(float(box[1]), float(box[3]), height)
    return top, bottom, left, right


def _span(low: float, high: float, limit: int) -> tuple[int, int]:
    side = max((high - low) * (1 + 2 * MARGIN), MIN_SIDE_PX)
    start = round((low + high) / 2 - side / 2)
    length = min(int(np.ceil(side)), limit)
    start = min(max(start, 0), limit - length)
    return start, start + length


def hand_scores(
    true: np.ndarray, generated: np.ndarray, boxes: np.ndarray, usable: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """PSNR in dB (at most 100) and SSIM of every usable hand, float64 (k,) each; k may be 0.

    Args:
        true: uint8 (n, h, w, 3).
        generated: the same shape.
        boxes: float (n, 2, 4) xyxy pixels of the left and right hand in the true frames.
        usable: bool (n, 2), whether a hand was seen with enough confidence.
    """
    check_pair(true, generated)
    psnrs, ssims = [], []
    for frame, hand in np.argwhere(usable):
        bounds = crop_bounds(boxes[frame, hand], Size.of(true[frame]))
        if bounds is None:
            continue
        top, bottom, left, right = bounds
        a = true[frame : frame + 1, top:bottom, left:right]
        b = generated[frame : frame + 1, top:bottom, left:right]
        psnrs.append(capped(psnr(a, b))[0])
        ssims.append(ssim(a, b)[0])
    return np.array(psnrs, np.float64), np.array(ssims, np.float64)

"""Flicker: how far the change from frame to frame differs from the true change."""

import cv2
import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.metrics.image import PEAK, check_pair

_STRIP_PX = 64


class FlickerMeter:
    """Root mean square of the difference of temporal differences, in [0, 2], from frames that come in order.

    The dtSSD of video matting (Erofeev et al. 2015) on RGB frames in [0, 1]: a still error costs nothing,
    an error that comes and goes does. Holds one frame.
    """

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, true: np.ndarray, generated: np.ndarray) -> list[float]:
        """Flicker from each frame to the next, from the last one of the call before on.

        Args:
            true: uint8 (n, h, w, 3).
            generated: the same shape.
        """
        found = []
        for pair in zip(true, generated, strict=True):
            if self._before is not None:
                found.append(np.sqrt(_squares(*pair, *self._before) / pair[0].size) / PEAK)
            self._before = pair
        return found


def _squares(a: np.ndarray, b: np.ndarray, a_before: np.ndarray, b_before: np.ndarray) -> float:
    """Sum of squares of the change of the error b - a, strip by strip: errors take twice a frame's memory."""
    total = 0.0
    for top in range(0, len(a), _STRIP_PX):
        strip = slice(top, top + _STRIP_PX)
        error = cv2.subtract(b[strip], a[strip], dtype=cv2.CV_16S)
        before = cv2.subtract(b_before[strip], a_before[strip], dtype=cv2.CV_16S)
        total += cv2.norm(error, before, cv2.NORM_L2SQR)
    return total


def flicker(true: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Flicker of a whole video, float64 (n - 1,); see ``FlickerMeter``.

    Raises:
        InputError: shapes differ, or there is one frame only.
    """
    check_pair(true, generated)
    if len(true) < 2:
        raise InputError("flicker needs at least 2 frames, got 1")
    return np.array(FlickerMeter().add(true, generated))

"""Flicker: how far the change from frame to frame differs from the true change."""

from itertools import pairwise

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.metrics.image import PEAK, check_pair


def flicker(true: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Root mean square of the difference of temporal differences, float64 (n - 1,) in [0, 2].

    The dtSSD of video matting (Erofeev et al. 2015) on RGB frames in [0, 1]: a still error costs nothing,
    an error that comes and goes does.

    Args:
        true: uint8 (n, h, w, 3), n >= 2.
        generated: the same shape.

    Raises:
        InputError: shapes differ, or there is one frame only.
    """
    check_pair(true, generated)
    if len(true) < 2:
        raise InputError("flicker needs at least 2 frames, got 1")
    error = [(g.astype(np.float64) - t) / PEAK for t, g in zip(true, generated, strict=True)]
    return np.array([np.sqrt(np.mean((after - before) ** 2)) for before, after in pairwise(error)])

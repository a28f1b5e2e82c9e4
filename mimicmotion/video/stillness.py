"""Whether the camera of a film stands still, told from a few of its frames."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from mimicmotion.video.reader import VideoReader

MOST_LEVELS = 4.0
"""More change than this, of 255, in half of a picture is more than compression and noise make."""
_NUM_LOOKED_AT = 9
_SHORT_SIDE_PX = 64


def moving_camera(reader: VideoReader, frames: Sequence[int]) -> str | None:
    """The reason why a film's background is not still; None where it is.

    Of each pixel of the shrunk picture the change between frames that are looked at counts, and of all
    pixels the median: a person covers less than half of them.

    Args:
        reader: the film.
        frames: which of its frames count; some of them are looked at.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, _NUM_LOOKED_AT).round().astype(int))
    scale = _SHORT_SIDE_PX / min(reader.height_px, reader.width_px)
    small = [
        cv2.cvtColor(
            cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
        )
        for frame in reader.read([frames[place] for place in chosen])
    ]
    changes = [np.median(cv2.absdiff(a, b)) for a, b in pairwise(small)]
    if not changes or np.median(changes) <= MOST_LEVELS:
        return None
    return (
        f"the camera of the driving film moves, or its room changes: half of the picture changes by "
        f"{np.median(changes):.0f} levels or more"
    )

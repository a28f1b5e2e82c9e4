"""RGB pictures of decoded frames, for all that looks at pixels: training, poses, scores, sheets.

swscale's accurate conversion costs more than decoding a frame does, and its quick one makes pictures one to
two levels dark. OpenCV's resize of the chroma and one matrix take a third of the time, and lie nearer to the
formula in floating point than either.
"""

from functools import cache

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from mimicmotion.video.colour import EIGHT_BIT, is_full_range, is_hdr, matrix_of, to_rgb

_STRIP_PX = 64
"""Rows that are converted together, which fit into the cache."""
_SHARES = {
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.FCC: (0.30, 0.11),
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.SMPTE240M: (0.212, 0.087),
    Colorspace.BT2020: (0.2627, 0.0593),
}
"""Shares of red and blue in the luma of each matrix (ITU-T H.273, table 4)."""


class RgbConverter:
    """Gives the pictures of the frames of one video; keeps its buffers, whose first use costs most."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._spread: list[np.ndarray] = []
        self._merged = np.empty((0, 0, 3), np.uint8)

    def __call__(self, frame: av.VideoFrame, into: np.ndarray | None = None) -> np.ndarray:
        """Picture of a decoded frame, uint8 (h, w, 3), in the curve and primaries of BT.709.

        Args:
            frame: as the decoder gave it, of any pixel format.
            into: where to put it; a new array by default.
        """
        picture = np.empty((frame.height, frame.width, 3), np.uint8) if into is None else into
        if frame.format.name in EIGHT_BIT and not is_hdr(frame):
            self._convert(frame, picture)
        else:
            picture[:] = to_rgb(frame, self._reformatter)
        return picture

    def _convert(self, frame: av.VideoFrame, picture: np.ndarray) -> None:
        matrix = _to_rgb(matrix_of(frame), is_full_range(frame))
        luma, *chroma = (
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
            for plane in frame.planes
        )
        rows, columns = chroma[0].shape
        if not self._spread or self._spread[0].shape != (rows * 2, columns * 2):
            self._spread = [np.empty((rows * 2, columns * 2), np.uint8) for _ in chroma]
            self._merged = np.empty((_STRIP_PX, frame.width, 3), np.uint8)
        for plane, spread in zip(chroma, self._spread, strict=True):
            cv2.resize(plane, spread.shape[::-1], dst=spread, interpolation=cv2.INTER_CUBIC)
        planes = (luma, *(spread[:, : frame.width] for spread in self._spread))
        for top in range(0, frame.height, _STRIP_PX):
            strip = picture[top : top + _STRIP_PX]
            parts = [plane[top : top + len(strip)] for plane in planes]
            cv2.transform(cv2.merge(parts, dst=self._merged[: len(strip)]), matrix, dst=strip)


@cache
def _to_rgb(matrix: Colorspace, full_range: bool) -> np.ndarray:
    """Matrix float32 (3, 4) from (Y, Cb, Cr, 1) in code values to RGB (ITU-T H.273, section 8.3)."""
    red, blue = _SHARES[matrix]
    green = 1 - red - blue
    luma, chroma = (1.0, 1.0) if full_range else (255 / 219, 255 / 224)
    by_cb = np.array([0, -2 * blue * (1 - blue) / green, 2 * (1 - blue)]) * chroma
    by_cr = np.array([2 * (1 - red), -2 * red * (1 - red) / green, 0]) * chroma
    linear = np.stack([np.full(3, luma), by_cb, by_cr], axis=1)
    offset = linear @ np.array([0 if full_range else 16, 128, 128])
    return np.concatenate([linear, -offset[:, None]], axis=1).astype(np.float32)

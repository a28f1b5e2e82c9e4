"""Colours between files and RGB arrays: every conversion names its matrix and range.

swscale takes BT.601 for whatever does not say what it is, and players take BT.709 for large pictures.
Here the tags of the file decide, and where it has none, the size does, as players do.
"""

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

from mimicmotion.video.size import Size

# BITEXACT and ACCURATE_RND: the same pixels on every processor.
_FLAGS = int(
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
# AVColorSpace as files carry it -> the matrices swscale knows.
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
_FILTER_NAMES = {
    Colorspace.ITU709: "bt709",
    Colorspace.FCC: "fcc",
    Colorspace.ITU601: "smpte170m",
    Colorspace.SMPTE240M: "smpte240m",
    Colorspace.BT2020: "bt2020ncl",
}
"""The same matrices as FFmpeg's filter ``colorspace`` calls them."""
EIGHT_BIT = ("yuv420p", "yuvj420p")
_HDR_CURVES = (ColorTrc.SMPTE2084.value, ColorTrc.ARIB_STD_B67.value)
_HD_HEIGHT_PX = 720
_HD_WIDTH_PX = 1280


def matrix_of(frame: av.VideoFrame) -> Colorspace:
    """Matrix that turns this frame into RGB: its tag, or what players guess from its size."""
    tagged = _MATRICES.get(int(frame.colorspace))
    if tagged is not None:
        return tagged
    large = frame.height >= _HD_HEIGHT_PX or frame.width >= _HD_WIDTH_PX
    return Colorspace.ITU709 if large else Colorspace.ITU601


def is_full_range(frame: av.VideoFrame) -> bool:
    """Whether black is 0 and white is 255 in this frame."""
    return frame.format.name.startswith("yuvj") or int(frame.color_range) == ColorRange.JPEG


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether this frame's curve is one of high dynamic range."""
    return int(frame.color_trc) in _HDR_CURVES


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter, size: Size | None = None) -> np.ndarray:
    """Picture of a decoded frame, uint8 (h, w, 3), in the curve and primaries of BT.709.

    What is transparent is laid on white, as in pictures, before it is scaled.

    Args:
        frame: as the decoder gave it, of any pixel format.
        reformatter: kept between the frames of one video.
        size: of the result, before any rotation; the frame's own by default.
    """
    own = Size(frame.width, frame.height)
    if has_alpha(frame):
        seen = _converted(frame, reformatter, own, "rgba")
        frame = av.VideoFrame.from_ndarray(on_white(seen.to_ndarray()), format="rgb24")
    return _converted(frame, reformatter, size or own, "rgb24").to_ndarray()


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether parts of this frame may be transparent."""
    return frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components)


def on_white(picture: np.ndarray) -> np.ndarray:
    """A picture uint8 (h, w, 4) RGBA laid on white, uint8 (h, w, 3)."""
    alpha = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _converted(frame: av.VideoFrame, reformatter: VideoReformatter, size: Size, kind: str) -> av.VideoFrame:
    width, height = size
    if frame.format.is_rgb or frame.format.name == "pal8":
        return reformatter.reformat(
            frame, width=width, height=height, format=kind, interpolation=_FLAGS, threads=1
        )
    hdr = is_hdr(frame)
    return reformatter.reformat(
        frame,
        width=width,
        height=height,
        format=kind,
        src_colorspace=matrix_of(frame),
        src_color_range=ColorRange.JPEG if is_full_range(frame) else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        # Only high dynamic range needs another curve; the rest keeps its code values.
        dst_color_trc=ColorTrc.BT709 if hdr else None,
        dst_color_primaries=ColorPrimaries.BT709 if hdr else None,
        interpolation=_FLAGS,
        threads=1,
    )


def to_yuv(picture: np.ndarray, reformatter: VideoReformatter) -> av.VideoFrame:
    """Frame for an H.264 encoder: yuv420p, BT.709, limited range, tagged as such.

    Args:
        picture: uint8 (h, w, 3) RGB, both sides even.
        reformatter: kept between the frames of one video.
    """
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return reformatter.reformat(
        frame,
        format="yuv420p",
        src_color_range=ColorRange.JPEG,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=_FLAGS,
        threads=1,
    )


class YuvConverter:
    """Brings the frames of one video to a size and to BT.709 in limited range without leaving YUV.

    A picture that goes to RGB and back has its chroma spread and gathered again, and costs as much as its
    encoding. The matrices are applied as they are; as in ``to_rgb``, curves and primaries stay.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._graph: Graph | None = None
        self._graph_key: tuple[object, ...] = ()

    @staticmethod
    def takes(frame: av.VideoFrame, size: Size) -> bool:
        """Whether a frame is of the kind that this converter keeps exact: 8 bits, 4:2:0, SDR, even sides.

        Args:
            frame: as the decoder gave it.
            size: that the result is to have.
        """
        sides = (*size, frame.height, frame.width)
        plain = frame.format.name in EIGHT_BIT and not is_hdr(frame)
        return plain and not any(side % 2 for side in sides)

    def __call__(self, frame: av.VideoFrame, size: Size) -> av.VideoFrame:
        """The frame in yuv420p at this size, as ``to_yuv`` gives it; it may be the same object."""
        matrix, full = matrix_of(frame), is_full_range(frame)
        if size != (frame.width, frame.height):
            width, height = size
            frame = self._reformatter.reformat(
                frame, width=width, height=height, interpolation=_FLAGS, threads=1
            )
        if full or matrix is not Colorspace.ITU709:
            frame = self._in_bt709(frame, matrix, full)
        frame.colorspace, frame.color_range = Colorspace.ITU709.value, ColorRange.MPEG.value
        return frame

    def _in_bt709(self, frame: av.VideoFrame, matrix: Colorspace, full: bool) -> av.VideoFrame:
        key = (frame.width, frame.height, frame.format.name, matrix, full)
        if self._graph is None or key != self._graph_key:
            self._graph, self._graph_key = _graph(frame, matrix, full), key
        self._graph.push(frame)
        return self._graph.pull()


def _graph(frame: av.VideoFrame, matrix: Colorspace, full: bool) -> Graph:
    graph = Graph()
    graph.threads = 1
    given = f"iall=bt709:ispace={_FILTER_NAMES[matrix]}:irange={'pc' if full else 'tv'}"
    wanted = "all=bt709:range=tv:format=yuv420p:fast=1"
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
    )
    graph.link_nodes(source, graph.add("colorspace", f"{given}:{wanted}"), graph.add("buffersink"))
    graph.configure()
    return graph


def tag_like(stream: av.VideoStream, frame: av.VideoFrame) -> None:
    """Tag an output stream with the colours of its first frame; BT.709's curve."""
    context = stream.codec_context
    if frame.format.is_rgb:
        return
    context.color_range = frame.color_range
    context.colorspace = frame.colorspace
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709

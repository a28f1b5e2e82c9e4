"""Video files in order, with PyAV: read any, write lossless ones and ones that browsers play."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from mimicmotion.errors import InputError
from mimicmotion.video.colour import tag_like, to_yuv
from mimicmotion.video.containers import as_input
from mimicmotion.video.geometry import orientation_of
from mimicmotion.video.rgb import RgbConverter
from mimicmotion.video.sources import GoodFrames, read_outline

_COPY = int(Interpolation.POINT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT)


def iter_frames(path: Path) -> Iterator[np.ndarray]:
    """Every frame of a film, uint8 (h, w, 3) RGB, upright and progressive, at its stored size, in order.

    Raises:
        InputError: the file is missing, holds no video, changes its size, or stops decoding on its way.
    """
    converter, end_s, orientation = RgbConverter(), 0.0, None
    with as_input(path):
        outline = read_outline(path)
        frames = GoodFrames(path, outline, sort_times=False)
        for shown in frames:
            end_s = max(end_s, shown.time_s + shown.duration_s)
            # Asked of the first frame only, as decode does: a frame that was asked is freed seconds later,
            # for PyAV ties it and what it answers into a ring.
            orientation = orientation or orientation_of(shown.picture)
            yield orientation.apply(converter(shown.picture))
    if frames.num_bad or outline.breaks_off(end_s):
        raise InputError(
            f"{path} cannot be read as a video: {frames.num_bad} frames do not decode, and it ends after "
            f"{end_s:.2f} of {outline.expected_length_s:.2f} s"
        )


def codec_of(path: Path) -> str:
    """Name of the codec of a film's frames, e.g. ``h264``.

    Raises:
        InputError: the file is missing or holds no video.
    """
    with as_input(path):
        return read_outline(path).codec


def write_lossless(path: Path, frames: Iterable[np.ndarray], fps: Fraction | float) -> int:
    """Number of frames written to an FFV1 Matroska file that gives back exactly these pixels.

    Args:
        path: the file, usually ``.mkv``.
        frames: uint8 (h, w, 3) RGB, all of one size, odd sizes allowed.
        fps: frames per second.
    """
    # g=1 makes every frame a key frame.
    return _write(path, frames, as_rate(fps), "ffv1", _bgr0, {"g": "1"}, {"fflags": "+bitexact"})


def write_preview(path: Path, frames: Iterable[np.ndarray], fps: Fraction | float) -> int:
    """Number of frames written to an H.264 MP4 that browsers play while it still loads.

    Args:
        path: the file, usually ``.mp4``.
        frames: uint8 (h, w, 3) RGB, all of one size; an odd side repeats its last row or column.
        fps: frames per second.
    """
    # Told by thread_count alone, x264 gives one file in a hundred other bytes on a busy machine.
    options = {"crf": "18", "preset": "veryfast", "x264-params": "threads=1"}
    container_options = {"fflags": "+bitexact", "movflags": "+faststart"}
    return _write(path, frames, as_rate(fps), "libx264", _padded_yuv, options, container_options)


def as_rate(fps: Fraction | float) -> Fraction:
    """Frame rate as a fraction a container can store."""
    return Fraction(fps).limit_denominator(1001)


def _write(
    path: Path,
    frames: Iterable[np.ndarray],
    rate: Fraction,
    codec: str,
    to_frame: Callable[[np.ndarray, VideoReformatter], av.VideoFrame],
    options: dict[str, str],
    container_options: dict[str, str],
) -> int:
    reformatter = VideoReformatter()
    count = 0
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.codec_context.thread_count = 1
        for picture in frames:
            frame = to_frame(picture, reformatter)
            if count == 0:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
                tag_like(stream, frame)
            frame.pts, frame.time_base = count, 1 / rate
            container.mux(stream.encode(frame))
            count += 1
        if count == 0:
            raise InputError(f"no frames to write to {path}")
        container.mux(stream.encode(None))
    return count


def _bgr0(picture: np.ndarray, reformatter: VideoReformatter) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return reformatter.reformat(frame, format="bgr0", interpolation=_COPY, threads=1)


def _padded_yuv(picture: np.ndarray, reformatter: VideoReformatter) -> av.VideoFrame:
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return to_yuv(padded, reformatter)

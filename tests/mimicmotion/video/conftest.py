"""Ugly source videos, made with PyAV: any codec, matrix, range, rotation, pixel aspect, time stamps."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Weights of red and blue of BT.709, BT.601 and BT.2020, by their AVColorSpace number."""

CARD = [
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 255),
    (128, 128, 128),
    (200, 100, 50),
    (20, 180, 220),
]
PATCH_PX = 32

QUALITY = {
    "libx264": {"crf": "4"},
    "libx265": {"crf": "6", "x265-params": "log-level=none"},
    "libvpx-vp9": {"crf": "4", "b": "0", "deadline": "realtime"},
    "mpeg4": {"qscale": "1"},
}
"""Options that let each codec keep a colour card's colours."""


def card() -> np.ndarray:
    """Colour card, uint8 (64, 224, 3), one patch of 32 pixels' width per colour."""
    return np.concatenate([np.full((64, PATCH_PX, 3), colour, np.uint8) for colour in CARD], axis=1)


def patches(picture: np.ndarray) -> np.ndarray:
    """Colours at the middle of the patches of a picture of the card, int (7, 3)."""
    height, width = picture.shape[:2]
    middles = [round((k + 0.5) * width / len(CARD)) for k in range(len(CARD))]
    return picture[height // 2 - 2 : height // 2 + 2, middles].astype(int).mean(axis=0).round()


def planes(picture: np.ndarray, matrix: int, full_range: bool, bits: int) -> list[np.ndarray]:
    """Planes Y, Cb, Cr of a picture by the formula of the standards, free of any library."""
    red_weight, blue_weight = MATRICES[matrix]
    red, green, blue = (picture[..., k].astype(np.float64) / 255 for k in range(3))
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    chroma = [(blue - luma) / (2 - 2 * blue_weight), (red - luma) / (2 - 2 * red_weight)]
    scale, top = 2 ** (bits - 8), 2**bits - 1
    if full_range:
        values = [luma * top, *(c * top + 2 ** (bits - 1) for c in chroma)]
    else:
        values = [(16 + 219 * luma) * scale, *((128 + 224 * c) * scale for c in chroma)]
    dtype = np.uint8 if bits == 8 else np.uint16
    return [np.clip(np.round(value), 0, top).astype(dtype) for value in values]


def yuv_frame(picture: np.ndarray, pixel_format: str, matrix: int, full_range: bool) -> av.VideoFrame:
    """Frame of a picture in a planar format such as yuv420p, yuvj420p or yuv422p10le."""
    bits = 10 if "10" in pixel_format else 8
    frame = av.VideoFrame(picture.shape[1], picture.shape[0], pixel_format)
    across = 1 if "444" in pixel_format else 2
    down = 2 if "420" in pixel_format else 1
    y, cb, cr = planes(picture, matrix, full_range, bits)
    for plane, values in zip(frame.planes, (y, cb[::down, ::across], cr[::down, ::across]), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        content = np.ascontiguousarray(values).view(np.uint8).reshape(values.shape[0], -1)
        rows[:, : content.shape[1]] = content
        plane.update(rows)
    frame.colorspace, frame.color_range = matrix, 2 if full_range else 1
    return frame


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    matrix: int = 1,
    full_range: bool = False,
    fps: Fraction = Fraction(25),
    stamps_ms: Sequence[int] | None = None,
    rotation_deg: int = 0,
    mirrored: bool = False,
    pixel_aspect: Fraction | None = None,
    tone_hz: int = 0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """The path, where a video of these pictures now lies. ``rotation_deg`` turns it clockwise on showing."""
    if options is None:
        options = {"libx264": {"crf": "4"}, "libx265": {"crf": "6", "x265-params": "log-level=none"}}.get(
            codec, {}
        )
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], pixel_format
        context = stream.codec_context
        context.thread_count = 1
        context.colorspace, context.color_range = matrix, 2 if full_range else 1
        if stamps_ms is not None:
            context.time_base = Fraction(1, 1000)
        if pixel_aspect is not None:
            context.sample_aspect_ratio = pixel_aspect
        if rotation_deg or mirrored:
            stream.set_display_rotation(-rotation_deg, hflip=mirrored)
        sound = container.add_stream("aac", rate=16000, layout="mono") if tone_hz else None
        for k, picture in enumerate(pictures):
            frame = yuv_frame(picture, pixel_format, matrix, full_range)
            frame.pts = k if stamps_ms is None else stamps_ms[k]
            frame.time_base = 1 / fps if stamps_ms is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_tone(container, sound, tone_hz, len(pictures) / float(fps))
    return path


def _add_tone(container, stream, tone_hz: int, duration_s: float) -> None:
    samples = np.sin(np.arange(int(16000 * duration_s)) * tone_hz * 2 * np.pi / 16000).astype(np.float32)
    for start in range(0, len(samples) - 1023, 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def numbered(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Grey pictures whose level tells their index: read it back with ``numbers``."""
    return [np.full((height, width, 3), 16 + 8 * k, np.uint8) for k in range(count)]


def numbers(pictures: Sequence[np.ndarray]) -> list[int]:
    """Indices of pictures from ``numbered``."""
    return [round((float(picture.mean()) - 16) / 8) for picture in pictures]


@pytest.fixture(scope="session")
def ugly() -> SimpleNamespace:
    """The makers and readers of this file; test modules cannot import a conftest."""
    return SimpleNamespace(
        write=write_video,
        card=card,
        card_colours=np.array(CARD),
        patches=patches,
        numbered=numbered,
        numbers=numbers,
    )

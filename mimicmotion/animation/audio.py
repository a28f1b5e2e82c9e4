"""Keeping the sound of the driving video."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mimicmotion.errors import InputError, RejectedItem
from mimicmotion.video.containers import open_film, reading
from mimicmotion.video.sources import GoodFrames, read_outline
from mimicmotion.video.timing import Clock

_RATE_HZ = 48_000
_ROUNDED = _RATE_HZ // 50
"""Samples by which stamps may be off without a gap; some containers round them to a millisecond."""


def add_audio(silent: Path, source: Path, target: Path) -> bool:
    """Whether sound was there to add; writes an MP4 with the pictures of one file and the sound of another.

    Pictures are copied bit by bit; sound becomes AAC and ends with the last picture. Where it begins earlier
    or later than the source's first picture that decodes, or has gaps, it stays where it is beside the
    pictures.

    Args:
        silent: an MP4 with pictures.
        source: any file with or without sound.
        target: the MP4 to write; not written when there is no sound.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        with reading(source), open_film(source) as sounding, open_film(silent) as pictures:
            if not sounding.streams.audio:
                return False
            begin_s, max_gap_s = _picture_times(source) if sounding.streams.video else (None, math.inf)
            with av.open(str(target), "w", options={"movflags": "+faststart"}) as output:
                _mux(pictures, _from_first_picture(sounding, begin_s, max_gap_s), output)
    except (RejectedItem, OSError) as error:
        raise InputError(f"the sound of {source} cannot be kept: {error}") from error
    return True


def _mux(
    pictures: av.container.InputContainer,
    sound: Iterator[np.ndarray],
    output: av.container.OutputContainer,
) -> None:
    video_in = pictures.streams.video[0]
    video_out = output.add_stream_from_template(video_in)
    audio_out = output.add_stream("aac", rate=_RATE_HZ, layout="stereo")
    end_s = Fraction(0)
    for packet in pictures.demux(video_in):
        if packet.dts is None:
            continue
        end_s = max(end_s, (packet.pts + (packet.duration or 0)) * packet.time_base)
        packet.stream = video_out
        output.mux(packet)
    num_samples, last = 0, int(end_s * _RATE_HZ)
    for part in sound:
        if num_samples >= last:
            break
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.rate, frame.pts, frame.time_base = _RATE_HZ, num_samples, Fraction(1, _RATE_HZ)
        num_samples += frame.samples
        output.mux(audio_out.encode(frame))
    output.mux(audio_out.encode(None))


def _from_first_picture(
    sounding: av.container.InputContainer, begin_s: float | None, max_gap_s: float
) -> Iterator[np.ndarray]:
    """Parts of the sound, float32 (2, n), each at its own time after the first picture.

    Gaps are silent, what would overlap is cut. Stamps that are only rounded move nothing.
    """
    resampler, clock = av.AudioResampler(format="fltp", layout="stereo", rate=_RATE_HZ), Clock(0.0, max_gap_s)
    num_samples = 0
    for frame in sounding.decode(sounding.streams.audio[0]):
        for resampled in resampler.resample(frame):
            part = resampled.to_ndarray()
            time_s = clock(resampled.time, part.shape[1] / _RATE_HZ)
            begin_s = time_s if begin_s is None else begin_s
            late = round((time_s - begin_s) * _RATE_HZ) - num_samples
            if num_samples and abs(late) <= _ROUNDED:
                late = 0
            for silent in range(0, late, _RATE_HZ):
                yield np.zeros((2, min(_RATE_HZ, late - silent)), np.float32)
            part = part[:, max(-late, 0) :]
            num_samples += max(late, 0) + part.shape[1]
            if part.shape[1]:
                yield np.ascontiguousarray(part)


def _picture_times(source: Path) -> tuple[float | None, float]:
    """When the first picture that decodes is shown, by the file's clock, and how long one may be shown.

    None where the file does not say when.
    """
    outline = read_outline(source)
    frames = GoodFrames(source, outline, sort_times=False)
    return next((frame.picture.time for frame in frames), None), outline.max_gap_s

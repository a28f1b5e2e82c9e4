"""Keeping the sound of the driving video."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mimicmotion.errors import InputError, RejectedItem
from mimicmotion.video.containers import film_stream, open_film, reading

_RATE_HZ = 48_000


def add_audio(silent: Path, source: Path, target: Path) -> bool:
    """Whether sound was there to add; writes an MP4 with the pictures of one file and the sound of another.

    Pictures are copied bit by bit; sound becomes AAC and ends with the last picture. Where it begins earlier
    or later than the source's first picture, it stays where it is beside the pictures.

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
            film = sounding.streams[film_stream(sounding, source)] if sounding.streams.video else None
            with av.open(str(target), "w", options={"movflags": "+faststart"}) as output:
                _mux(pictures, sounding, film, output)
    except (RejectedItem, OSError) as error:
        raise InputError(f"the sound of {source} cannot be kept: {error}") from error
    return True


def _mux(
    pictures: av.container.InputContainer,
    sounding: av.container.InputContainer,
    film: av.VideoStream | None,
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
    for part in _from_first_picture(sounding, film):
        if num_samples >= last:
            break
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.rate, frame.pts, frame.time_base = _RATE_HZ, num_samples, Fraction(1, _RATE_HZ)
        num_samples += frame.samples
        output.mux(audio_out.encode(frame))
    output.mux(audio_out.encode(None))


def _from_first_picture(
    sounding: av.container.InputContainer, film: av.VideoStream | None
) -> Iterator[np.ndarray]:
    """Parts of the sound, float32 (2, n), from the first picture on, with silence until it begins."""
    late = round(_delay_s(film, sounding.streams.audio[0]) * _RATE_HZ)
    if late > 0:
        yield np.zeros((2, late), np.float32)
    surplus = max(-late, 0)
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_RATE_HZ)
    for frame in sounding.decode(sounding.streams.audio[0]):
        for resampled in resampler.resample(frame):
            part = resampled.to_ndarray()[:, surplus:]
            surplus -= resampled.samples - part.shape[1]
            if part.shape[1]:
                yield np.ascontiguousarray(part)


def _delay_s(film: av.VideoStream | None, sound: av.AudioStream) -> Fraction:
    """How much later than pictures sound begins, negative where earlier; 0 where a file does not say."""
    starts = []
    for stream in (film, sound):
        if stream is not None and stream.start_time is not None and stream.time_base is not None:
            starts.append(stream.start_time * stream.time_base)
    return starts[1] - starts[0] if len(starts) == 2 else Fraction(0)

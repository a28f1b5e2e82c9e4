"""Keeping the sound of the driving video."""

from fractions import Fraction
from pathlib import Path

import av

from mimicmotion.errors import InputError

_RATE_HZ = 48_000


def add_audio(silent: Path, source: Path, target: Path) -> bool:
    """Whether sound was there to add; writes an MP4 with the pictures of one file and the sound of another.

    Pictures are copied bit by bit; sound becomes AAC, starts with the first picture and ends with the last.

    Args:
        silent: an MP4 with pictures.
        source: any file with or without sound.
        target: the MP4 to write; not written when there is no sound.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        with av.open(str(source)) as sounding, av.open(str(silent)) as pictures:
            if not sounding.streams.audio:
                return False
            with av.open(str(target), "w", options={"movflags": "+faststart"}) as output:
                _mux(pictures, sounding, output)
    except av.FFmpegError as error:
        raise InputError(f"the sound of {source} cannot be kept: {error}; use --no-audio") from error
    return True


def _mux(
    pictures: av.container.InputContainer,
    sounding: av.container.InputContainer,
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
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_RATE_HZ)
    num_samples, last = 0, int(end_s * _RATE_HZ)
    for frame in sounding.decode(sounding.streams.audio[0]):
        for part in resampler.resample(frame):
            if num_samples >= last:
                break
            part.pts, part.time_base = num_samples, Fraction(1, _RATE_HZ)
            num_samples += part.samples
            output.mux(audio_out.encode(part))
        if num_samples >= last:
            break
    output.mux(audio_out.encode(None))

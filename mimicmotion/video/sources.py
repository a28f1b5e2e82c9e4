"""Source videos as they come: which stream to take, what its packets say, and its good frames in order.

A source is read twice. The first pass only splits it into packets, which is cheap, and settles the rate
and the length by time stamps, whatever the header says. The second pass decodes.
"""

import contextlib
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from mimicmotion.errors import RejectedItem
from mimicmotion.video.containers import film_decoder, film_stream, open_film, reading
from mimicmotion.video.geometry import pixel_aspect
from mimicmotion.video.interlacing import deinterlaced
from mimicmotion.video.timing import (
    DEFAULT_RATE,
    MAX_GAP_S,
    MAX_RATE,
    MIN_RATE,
    Clock,
    Rate,
    in_order,
    source_rate,
)

_WITHOUT_LENGTH = ("mpegts", "mpeg")
"""Formats of streams without a header: FFmpeg's length is the difference of two stamps, jumps included."""
_TAIL_TOLERANCE_FRAMES = 2.5
"""Frames that may lack at the end before a tail counts as broken: recorders often cut the last ones."""
_HEADER_TOLERANCE_S = 0.5
"""How far a length in the header may be off."""
_LENGTH_TAG = re.compile(r"(\d{1,6}):(\d{1,2}):(\d{1,2}(?:\.\d+)?)", re.ASCII)


@dataclass(frozen=True)
class Outline:
    """What a source says about its video before a frame is decoded.

    Attributes:
        stream_index: the stream to decode.
        codec: name of its codec, e.g. ``h264``.
        rate: frames per second by time stamps.
        tick_s: grain of the stamps.
        num_packets: packets of the stream.
        length_s: from the start of its first to the end of its last packet.
        stated_length_s: what the header says the length is, 0 where it says nothing.
        pixel_aspect: width of a stored pixel over its height.
        max_gap_s: longest time one frame may be shown; what is longer is a jump of the clock.
        has_audio: whether the file has a sound track.
        times_s: when each frame is shown, sorted, the first at 0.
    """

    stream_index: int
    codec: str
    rate: Rate
    tick_s: float
    num_packets: int
    length_s: float
    stated_length_s: float
    pixel_aspect: Fraction
    max_gap_s: float
    has_audio: bool
    times_s: np.ndarray = field(compare=False, repr=False)

    @property
    def step_s(self) -> float:
        """Average interval of two frames."""
        return float(1 / self.rate.fps)

    @property
    def expected_length_s(self) -> float:
        """Seconds that the video should last by its packets and its header."""
        return max(self.length_s, self.stated_length_s - _HEADER_TOLERANCE_S)

    def breaks_off(self, good_s: float) -> bool:
        """Whether good frames that end at this time end clearly before the video should."""
        return self.expected_length_s - good_s > _TAIL_TOLERANCE_FRAMES * self.step_s


@dataclass(frozen=True)
class SourceFrame:
    """A good frame of a source.

    Attributes:
        time_s: when it starts to be shown; the first good frame starts at 0.
        duration_s: how long it is shown if nothing follows.
        picture: the decoded frame.
        after_error: whether frames before it could not be decoded.
        number: its place among all frames of the source, those that did not decode included.
    """

    time_s: float
    duration_s: float
    picture: av.VideoFrame
    after_error: bool
    number: int


def read_outline(path: Path) -> Outline:
    """Stream, rate and length of a source.

    Raises:
        RejectedItem: ``unreadable`` or ``no_video_stream``.
        OSError: the file system failed, not the file.
    """
    with reading(path), open_film(path) as container:
        return _outline(container, container.streams[film_stream(container, path)])


def stated_length_s(path: Path) -> float:
    """Length that a film's header states, whose frames are not looked at; 0 where it states none."""
    with contextlib.suppress(OSError, RejectedItem), reading(path), open_film(path) as container:
        return (container.duration or 0) / av.time_base
    return 0.0


def _outline(container: Any, stream: Any) -> Outline:
    stated = [stream.average_rate, stream.guessed_rate]
    sane = [rate for rate in stated if rate and MIN_RATE <= rate <= MAX_RATE]
    step_s = float(1 / (sane[0] if sane else DEFAULT_RATE))
    max_gap_s = max(MAX_GAP_S, _stated_length(container, stream, 0.0))
    clock = Clock(step_s, max_gap_s)
    times_s, end_s = array("d"), 0.0
    tick_s = float(stream.time_base)
    for packet in _packets(container, stream):
        if packet.is_discard:
            continue  # an edit list leaves it out; others may still refer to it
        duration_s = _seconds(packet.duration, tick_s) or 0.0
        stamp = packet.dts if packet.pts is None else packet.pts
        time_s = clock(_seconds(stamp, tick_s), duration_s)
        times_s.append(time_s)
        end_s = max(end_s, time_s + (duration_s or step_s))
    if not times_s:
        raise RejectedItem("unreadable", "its video stream holds no packets")
    shown_s = np.sort(np.frombuffer(times_s, dtype=np.float64))
    return Outline(
        stream_index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        rate=source_rate(shown_s, end_s, stated),
        tick_s=tick_s,
        num_packets=len(times_s),
        length_s=end_s - float(shown_s[0]),
        stated_length_s=_stated_length(container, stream, float(shown_s[0])),
        pixel_aspect=pixel_aspect(stream),
        max_gap_s=max_gap_s,
        has_audio=bool(container.streams.audio),
        times_s=shown_s - shown_s[0],
    )


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets of a stream until the file ends or breaks off; what lacks then shows in the length."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            return
        if packet is None:
            return
        if packet.size:
            yield packet


def _stated_length(container: Any, stream: Any, start_s: float) -> float:
    if container.format.name in _WITHOUT_LENGTH:
        return 0.0
    if stream.duration:
        return float(stream.duration * stream.time_base)
    # Matroska states ends, not lengths.
    if tag := _LENGTH_TAG.fullmatch(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = (float(part) for part in tag.groups())
        return hours * 3600 + minutes * 60 + seconds - start_s
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base - start_s
    return 0.0


def _seconds(ticks: int | None, tick_s: float) -> float | None:
    return None if ticks is None else ticks * tick_s


class GoodFrames:
    """The frames of a source that decoded well, progressive, in the order shown. Iterate it once.

    After an error, what refers to the lost frame is spoilt too: everything up to the next key frame
    counts as bad and is left out.

    Args:
        path: the film.
        outline: what is known of it.
        sort_times: frames wait for their neighbours' times, which some containers give in another order; five
            of them are held. Else each comes at once, with the time that it has.

    Attributes:
        num_bad: frames left out so far.
        num_frames: frames met so far, good or bad.

    Raises:
        RejectedItem: while iterated, ``unreadable``, or ``changes_midway`` where the size of pictures or of
            pixels is not the same throughout.
    """

    def __init__(self, path: Path, outline: Outline, sort_times: bool = True) -> None:
        self.num_bad = self.num_frames = 0
        self._path = path
        self._outline = outline
        self._order = in_order if sort_times else iter

    def __iter__(self) -> Iterator[SourceFrame]:
        first_s: float | None = None
        for (time_s, duration_s, after_error, number), frame in deinterlaced(self._timed()):
            if first_s is None:
                first_s = time_s
            shown_s = max(0.0, time_s - first_s)
            step_s = self._outline.step_s
            if self._outline.rate.constant:
                shown_s, duration_s = round(shown_s / step_s) * step_s, step_s
            yield SourceFrame(shown_s, duration_s, frame, after_error, number)

    def _timed(self) -> Iterator[tuple[tuple[float, float, bool, int], av.VideoFrame]]:
        for time_s, (frame, after_error, number) in self._order(self._stamped()):
            duration_s = _seconds(frame.duration, self._outline.tick_s) or self._outline.step_s
            yield (time_s, duration_s, after_error, number), frame

    def _stamped(self) -> Iterator[tuple[float, tuple[av.VideoFrame, bool, int]]]:
        clock, tick_s = Clock(self._outline.step_s, self._outline.max_gap_s), self._outline.tick_s
        spoilt, after_error = False, False
        for number, frame in enumerate(self._decoded()):
            self.num_frames += 1
            if frame is not None and not frame.is_corrupt and frame.key_frame:
                spoilt = False
            if frame is None or frame.is_corrupt or spoilt:
                spoilt = after_error = True
                self.num_bad += 1
                if frame is not None:
                    clock(_seconds(frame.pts, tick_s), 0.0)
                continue
            duration_s = _seconds(frame.duration, tick_s) or 0.0
            yield clock(_seconds(frame.pts, tick_s), duration_s), (frame, after_error, number)
            after_error = False

    def _decoded(self) -> Iterator[av.VideoFrame | None]:
        """Decoded frames; None where the decoder gave up on a packet."""
        with reading(self._path), open_film(self._path) as container:
            stream = container.streams[self._outline.stream_index]
            decoder, shape = film_decoder(stream), _Shape(self._path.name)
            for packet in chain(_packets(container, stream), (None,)):
                for frame in _frames(decoder, packet):
                    if frame is not None and not frame.is_corrupt:
                        shape.check(frame, decoder.sample_aspect_ratio)
                    yield frame


class _Shape:
    """Size of pictures and of pixels, which a film must keep: what follows scales all frames alike."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._num_frames = 0
        self._first: tuple[int, int, Fraction] | None = None

    def check(self, frame: av.VideoFrame, aspect: Fraction | None) -> None:
        """Compare a frame with the first; an unknown aspect is that of a square."""
        now = (frame.width, frame.height, Fraction(aspect or 1))
        self._first = self._first or now
        if now != self._first:
            before, after = (
                f"{width} x {height} with pixels of {shape.numerator}:{shape.denominator}"
                for width, height, shape in (self._first, now)
            )
            raise RejectedItem(
                "changes_midway",
                f"{self._name} changes from {before} to {after} at its frame {self._num_frames}: "
                "cut it there, or convert it to one size",
            )
        self._num_frames += 1


def _frames(decoder: Any, packet: Any) -> Iterator[av.VideoFrame | None]:
    try:
        yield from decoder.decode(packet)
    except av.error.EOFError:
        return
    except av.FFmpegError as error:
        if isinstance(error, OSError) and not isinstance(error, av.error.EOFError):
            raise
        yield None

"""Source videos as they come: which stream to take, what its packets say, and its good frames in order.

A source is read twice. The first pass only splits it into packets, which is cheap, and settles the rate
and the length by time stamps, whatever the header says. The second pass decodes.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from mimicmotion.errors import RejectedItem
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
        max_gap_s: longest time one frame may be shown; what is longer is a jump of the clock.
        has_audio: whether the file has a sound track.
    """

    stream_index: int
    codec: str
    rate: Rate
    tick_s: float
    num_packets: int
    length_s: float
    stated_length_s: float
    max_gap_s: float
    has_audio: bool

    @property
    def step_s(self) -> float:
        """Average interval of two frames."""
        return float(1 / self.rate.fps)


@dataclass(frozen=True)
class SourceFrame:
    """A good frame of a source.

    Attributes:
        time_s: when it starts to be shown; the first good frame starts at 0.
        duration_s: how long it is shown if nothing follows.
        picture: the decoded frame.
        after_error: whether frames before it could not be decoded.
    """

    time_s: float
    duration_s: float
    picture: av.VideoFrame
    after_error: bool


def unreadable(path: Path, error: av.FFmpegError) -> RejectedItem:
    """The reject for a file that FFmpeg cannot read."""
    return RejectedItem("unreadable", f"{path.name} cannot be read as a video: {_reason(error)}")


def _reason(error: av.FFmpegError) -> str:
    """What FFmpeg says, without the file's path: the same video gives the same reject everywhere."""
    return error.strerror or type(error).__name__


def read_outline(path: Path) -> Outline:
    """Stream, rate and length of a source.

    Raises:
        RejectedItem: ``unreadable`` or ``no_video_stream``.
        OSError: the file system failed, not the file.
    """
    try:
        with av.open(str(path)) as container:
            index = _usable_stream(path)
            stream = container.streams[index]
            return _outline(container, stream)
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise unreadable(path, error) from error


def _usable_stream(path: Path) -> int:
    """Index of the first video stream that moves, else of the first that gives a frame; covers are none."""
    with av.open(str(path)) as container:
        candidates = [stream.index for stream in container.streams.video if not _is_still(stream)]
        kinds = sorted({stream.type for stream in container.streams})
    problem, still = "", None
    for index in candidates:
        with av.open(str(path)) as container:
            frames = container.decode(container.streams[index])
            try:
                if next(frames, None) is None:
                    problem = "it holds no frame"
                    continue
                still = index if still is None else still
                if next(frames, None) is not None:
                    return index
            except av.FFmpegError as error:
                if isinstance(error, OSError):
                    raise
                problem = _reason(error)
    if still is not None:
        return still
    if candidates:
        raise RejectedItem(
            "unreadable", f"none of the {len(candidates)} video streams of {path.name} decodes: {problem}"
        )
    found = ", ".join(kinds) or "no streams"
    raise RejectedItem("no_video_stream", f"{path.name} holds {found}, but no video")


def _is_still(stream: Any) -> bool:
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return stream.codec_context is None or bool(stream.disposition & still)


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
        max_gap_s=max_gap_s,
        has_audio=bool(container.streams.audio),
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
    tag = stream.metadata.get("DURATION", "")
    if tag.count(":") == 2:
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start_s
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base - start_s
    return 0.0


def _seconds(ticks: int | None, tick_s: float) -> float | None:
    return None if ticks is None else ticks * tick_s


class GoodFrames:
    """The frames of a source that decoded well, in the order shown. Iterate it once.

    After an error, what refers to the lost frame is spoilt too: everything up to the next key frame
    counts as bad and is left out.

    Attributes:
        num_bad: frames left out so far.
    """

    def __init__(self, path: Path, outline: Outline) -> None:
        self.num_bad = 0
        self._path = path
        self._outline = outline

    def __iter__(self) -> Iterator[SourceFrame]:
        first_s: float | None = None
        for time_s, (frame, after_error) in in_order(self._stamped()):
            if first_s is None:
                first_s = time_s
            shown_s = max(0.0, time_s - first_s)
            step_s = self._outline.step_s
            duration_s = _seconds(frame.duration, self._outline.tick_s) or step_s
            if self._outline.rate.constant:
                shown_s, duration_s = round(shown_s / step_s) * step_s, step_s
            yield SourceFrame(shown_s, duration_s, frame, after_error)

    def _stamped(self) -> Iterator[tuple[float, tuple[av.VideoFrame, bool]]]:
        clock, tick_s = Clock(self._outline.step_s, self._outline.max_gap_s), self._outline.tick_s
        spoilt, after_error = False, False
        for frame in self._decoded():
            if frame is not None and not frame.is_corrupt and frame.key_frame:
                spoilt = False
            if frame is None or frame.is_corrupt or spoilt:
                spoilt = after_error = True
                self.num_bad += 1
                if frame is not None:
                    clock(_seconds(frame.pts, tick_s), 0.0)
                continue
            duration_s = _seconds(frame.duration, tick_s) or 0.0
            yield clock(_seconds(frame.pts, tick_s), duration_s), (frame, after_error)
            after_error = False

    def _decoded(self) -> Iterator[av.VideoFrame | None]:
        """Decoded frames; None where the decoder gave up on a packet."""
        with av.open(str(self._path)) as container:
            stream = container.streams[self._outline.stream_index]
            # One thread: a broken stream then decodes to the same frames every time.
            stream.codec_context.thread_count = 1
            for packet in _packets(container, stream):
                yield from _frames(stream, packet)
            yield from _frames(stream, None)


def _frames(stream: Any, packet: Any) -> Iterator[av.VideoFrame | None]:
    try:
        yield from stream.codec_context.decode(packet)
    except av.error.EOFError:
        return
    except av.FFmpegError as error:
        if isinstance(error, OSError) and not isinstance(error, av.error.EOFError):
            raise
        yield None

"""Constant rate by time: each output instant takes the source frame shown then."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

from mimicmotion.video.sources import SourceFrame


@dataclass(frozen=True)
class Held:
    """A source frame and the output slots it fills.

    Attributes:
        picture: the decoded frame.
        num_slots: how many output frames show it; 0 when the next one comes before the next instant.
        end_s: when it stops being shown.
        before_error: whether frames after it were lost, so that it stands in for them.
        number: its place among the frames of the source.
    """

    picture: av.VideoFrame
    num_slots: int
    end_s: float
    before_error: bool
    number: int


def hold(frames: Iterable[SourceFrame], fps: Fraction, tick_s: float) -> Iterator[Held]:
    """Every frame with its slots: each output instant k / fps takes the frame shown then.

    The last frame is shown for its duration, and at least once.
    """
    current: SourceFrame | None = None
    slot = 0
    for following in frames:
        if current is not None:
            until = max(slot, first_slot(following.time_s, fps, tick_s))
            yield Held(current.picture, until - slot, following.time_s, following.after_error, current.number)
            slot = until
        current = following
    if current is not None:
        end_s = current.time_s + current.duration_s
        until = max(slot, round(end_s * float(fps)), 1)
        yield Held(current.picture, until - slot, end_s, False, current.number)


def first_slot(time_s: float, fps: Fraction, tick_s: float) -> int:
    """First output slot whose instant lies at or after ``time_s``, both counted from the first frame.

    Args:
        time_s: when a frame starts to be shown.
        fps: rate of the output.
        tick_s: grain of the source's stamps; half of it is forgiven.
    """
    return max(0, math.ceil((time_s - tick_s / 2) * float(fps) - 1e-6))

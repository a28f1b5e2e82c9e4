"""Times of frames: stamps made continuous and sorted, and the rate of a source."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np

T = TypeVar("T")

MIN_RATE = Fraction(1)
MAX_RATE = Fraction(240)
DEFAULT_RATE = Fraction(25)
"""Rate of a source whose stamps and header say nothing."""

_MAX_BACK_S = 1.0
"""Stamps go back by a few frames where frames are reordered; further back, the clock was reset."""
MAX_GAP_S = 10.0
"""Silence after the end of a frame that a source without a stated length may hold."""
_REORDER_DEPTH = 4
_GRID_TOLERANCE = 0.35
"""Share of a frame interval by which a stamp of a constant-rate source may lie off its grid."""
_DRIFT = 0.02
"""Error of an average over few frames."""
_MOST_LEFT_OUT = 0.1
"""Share of frames a recorder may leave out of a constant rate."""


class Clock:
    """Makes the stamps of one stream continuous, in order of their arrival.

    Args:
        step_s: interval to assume where a stamp is missing or the clock jumped.
        max_gap_s: silence beyond which the clock jumped and nothing was shown.
    """

    def __init__(self, step_s: float, max_gap_s: float = MAX_GAP_S) -> None:
        self._step_s = step_s
        self._max_gap_s = max_gap_s
        self._offset_s = 0.0
        self._last_s: float | None = None
        self._end_s = 0.0

    def __call__(self, stamp_s: float | None, duration_s: float) -> float:
        """Time in seconds of a frame with this stamp, which lasts ``duration_s`` or 0 if unknown."""
        if self._last_s is None:
            time_s = 0.0 if stamp_s is None else stamp_s
            self._last_s = time_s
        elif stamp_s is None:
            time_s = self._last_s + self._step_s
        else:
            time_s = stamp_s + self._offset_s
            if not self._last_s - _MAX_BACK_S <= time_s <= self._end_s + self._max_gap_s:
                self._offset_s += self._last_s + self._step_s - time_s
                time_s = self._last_s + self._step_s
        self._last_s = max(self._last_s, time_s)
        self._end_s = max(self._end_s, time_s + max(duration_s, self._step_s))
        return time_s


def in_order(stamped: Iterable[tuple[float, T]]) -> Iterator[tuple[float, T]]:
    """The same values in the same order, their times sorted among near neighbours.

    Decoders give frames in the order shown, but some containers (AVI) stamp them in the order stored.
    """
    waiting: list[T] = []
    times: list[float] = []
    for time_s, value in stamped:
        heapq.heappush(times, time_s)
        waiting.append(value)
        if len(waiting) > _REORDER_DEPTH:
            yield heapq.heappop(times), waiting.pop(0)
    for value in waiting:
        yield heapq.heappop(times), value


@dataclass(frozen=True)
class Rate:
    """Frame rate of a source.

    Attributes:
        fps: frames per second, on average over time.
        constant: whether every frame lies near a grid of this rate.
    """

    fps: Fraction
    constant: bool


def source_rate(
    times_s: Sequence[float] | np.ndarray, end_s: float, stated: Sequence[Fraction | None]
) -> Rate:
    """Rate of a source by its stamps; the header only lends an exact fraction that agrees with them.

    Where the frames lie on a grid with few left out, it is the grid's rate, and the average otherwise.

    Args:
        times_s: times of all frames, sorted.
        end_s: when the last frame ends.
        stated: rates that the header names, best first; 90000 or 1000 are common nonsense.
    """
    sane = [Fraction(rate) for rate in stated if rate and MIN_RATE <= rate <= MAX_RATE]
    span_s = (times_s[-1] - times_s[0]) if len(times_s) > 1 else 0.0
    if span_s <= 0:
        return Rate(sane[0] if sane else DEFAULT_RATE, True)
    measured = (len(times_s) - 1) / span_s
    average = Fraction(len(times_s) / max(end_s - times_s[0], span_s)).limit_denominator(1001)
    interval = float(np.median(np.diff(times_s)))
    candidates = [*sane, Fraction(measured).limit_denominator(1001)]
    if interval > 0:
        candidates.append(Fraction(round(1 / interval)))
    for rate in candidates:
        excess = float(rate) / measured - 1
        sane_rate = MIN_RATE <= rate <= MAX_RATE
        if sane_rate and -_DRIFT < excess < _MOST_LEFT_OUT and _on_grid(times_s, rate):
            return Rate(rate, True)
    return Rate(min(max(average, MIN_RATE), MAX_RATE), False)


def _on_grid(times_s: Sequence[float] | np.ndarray, rate: Fraction) -> bool:
    places = (np.asarray(times_s) - times_s[0]) * float(rate)
    nearest = np.round(places)
    return bool(np.abs(places - nearest).max() <= _GRID_TOLERANCE and np.diff(nearest).min() >= 1)

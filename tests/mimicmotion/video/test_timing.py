"""Stamps, rates and slots, without a file."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimicmotion.video.resample import hold
from mimicmotion.video.sources import SourceFrame
from mimicmotion.video.timing import Clock, in_order, source_rate


def test_clock_passes_good_stamps_and_reordered_ones() -> None:
    clock = Clock(0.04)
    stamps = [0.5, 0.62, 0.54, 0.58, 0.66]
    assert [clock(stamp, 0.04) for stamp in stamps] == stamps


def test_clock_fills_missing_stamps() -> None:
    clock = Clock(0.5)
    assert [clock(stamp, 0) for stamp in (None, None, 1.0, None)] == [0.0, 0.5, 1.0, 1.5]


def test_clock_survives_a_reset_and_a_jump() -> None:
    clock = Clock(0.1)
    stamps = [100.0, 100.1, 0.0, 0.1, 5000.0, 5000.1]
    assert [clock(stamp, 0.1) for stamp in stamps] == pytest.approx([100, 100.1, 100.2, 100.3, 100.4, 100.5])


def test_clock_believes_a_long_frame_that_says_so() -> None:
    clock = Clock(0.1)
    assert [clock(0.0, 60.0), clock(60.0, 0.1)] == [0.0, 60.0]


@given(st.permutations(range(4)))
def test_times_are_sorted_among_neighbours(order: list[int]) -> None:
    stamps = [*range(4), *(4 + k for k in order), *range(8, 12)]
    assert list(in_order(zip(stamps, "abcdefghijkl", strict=True))) == list(
        zip(range(12), "abcdefghijkl", strict=True)
    )


@pytest.mark.parametrize("header", [Fraction(90000), Fraction(1000), None, Fraction(25)])
def test_rate_is_measured_whatever_the_header_says(header: Fraction | None) -> None:
    times = np.arange(100) / 25
    rate = source_rate(times, 4.0, [header])
    assert (rate.fps, rate.constant) == (25, True)


def test_header_lends_the_exact_fraction() -> None:
    times = np.round(np.arange(300) * 1001 / 30000, 3)
    assert source_rate(times, 10.01, [Fraction(30000, 1001)]).fps == Fraction(30000, 1001)
    assert source_rate(times, 10.01, [Fraction(1000)]).fps == pytest.approx(29.97, rel=1e-3)


def test_variable_rate_is_frames_over_time() -> None:
    times = [0, 0.1, 0.2, 0.21, 0.22, 0.9, 1.5, 1.7]
    rate = source_rate(times, 2.0, [Fraction(30)])
    assert (rate.fps, rate.constant) == (4, False)


def test_rate_without_any_stamp() -> None:
    assert source_rate([0.0], 0.04, [Fraction(24)]).fps == 24
    assert source_rate([0.0, 0.0], 0.0, [Fraction(90000)]).fps == 25


def shown(times: list[float], end_s: float, fps: Fraction) -> list[int]:
    """Which frame each slot shows."""
    durations = [*np.diff(times), end_s - times[-1]]
    frames = [SourceFrame(t, d, k, False, k) for k, (t, d) in enumerate(zip(times, durations, strict=True))]
    return [held.picture for held in hold(frames, fps, 0.0) for _ in range(held.num_slots)]


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=40),
    st.sampled_from([Fraction(30000, 1001), Fraction(12)]),
)
def test_every_instant_takes_the_frame_shown_then(gaps_ms: list[int], fps: Fraction) -> None:
    times = [0.0, *(np.cumsum(gaps_ms) / 1000)]
    end_s = times[-1] + 0.1
    slots = shown(times, end_s, fps)
    assert len(slots) == pytest.approx(end_s * float(fps), abs=1)
    assert len(slots) >= 1
    for k, frame in enumerate(slots[:-1]):
        now = float(k / fps)
        assert times[frame] <= now + 1e-6
        assert frame + 1 == len(times) or times[frame + 1] > now - 1e-6

"""Change over long distances in time, and at the borders of tiles."""

import numpy as np
import pytest

from mimicmotion.diffusion.fusion import tiles
from mimicmotion.errors import InputError
from mimicmotion.metrics.film.drift import change_curve, drift_slope, film_borders, join_ratio


def test_the_slope_is_the_drift_and_a_dance_alone_has_next_to_none():
    time = np.arange(200.0)[:, None]
    line = change_curve(0.03 * time)
    assert list(line) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert drift_slope(line, 200) == pytest.approx(3.0)
    dance = drift_slope(change_curve(np.concatenate([np.sin(time), np.cos(time)], axis=1)), 200)
    assert abs(dance) < 0.5


def test_frames_without_a_vector_are_passed_over():
    vectors = np.arange(9.0)[:, None]
    vectors[4] = np.nan
    assert change_curve(vectors) == {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}
    assert change_curve(np.full((9, 1), np.nan)) == {}
    assert drift_slope({1: 1.0}, 2) is None


def test_borders_are_where_a_tile_begins_or_ends():
    assert film_borders("progressive", 8, 16, 6) == ()
    # Slots 1 to 7, 5 to 11 and 8 to 14 are frames 0 to 6, 4 to 10 and 7 to 13.
    assert tiles(15, 8, 4) == [(0, *range(1, 8)), (0, *range(5, 12)), (0, *range(8, 15))]
    assert film_borders("progressive", 14, 8, 4) == (4, 7, 11)
    assert film_borders("first", 14, 8, 4) == (7, 11)
    # Segments share only the reference; the last begins earlier, and its copies are dropped.
    assert film_borders("none", 10, 8, 4) == (7,)


def test_a_step_at_a_border_is_seen_whatever_the_pace():
    pace = np.array([1.0] * 10 + [5.0] * 10)
    assert join_ratio(pace, (5, 15)) == pytest.approx(1.0)
    pace[4], pace[14] = 3.0, 15.0
    assert join_ratio(pace, (5, 15)) == pytest.approx(3.0)
    assert join_ratio(pace, ()) is None
    assert join_ratio(np.zeros(8), (4,)) is None
    with pytest.raises(InputError, match=r"border at frame 30 does not fit a film of 21 frames"):
        join_ratio(pace, (30,))

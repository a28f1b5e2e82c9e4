"""Films with faults: what they deserve, what the filters say of two of them, and the table."""

import numpy as np
import pytest

from mimicmotion.clips.settings import WindowSettings
from mimicmotion.synthetic import spoilt
from mimicmotion.synthetic.spoilt import (
    FAULTS,
    HEIGHT,
    WIDTH,
    WINDOW,
    Posed,
    Verdict,
    also_true,
    read,
    said,
    table,
)


def posed(hand_frames: range, shift: float = 0.0) -> Posed:
    points = np.full((20, 133, 2), 60.0)
    points[..., 0] += shift
    confidences = np.full((20, 133), 0.9)
    confidences[:, 91:] = 0.1
    confidences[np.array(hand_frames, int), 91:112] = 0.9
    return Posed(np.zeros((20, HEIGHT, WIDTH, 3), np.uint8), points, confidences)


def test_hands_are_unsure_where_a_whole_window_shows_none() -> None:
    assert also_true(posed(range(0, 20, WINDOW))) == set()
    assert also_true(posed(range(0, 20, WINDOW + 1))) == {"unsure_hands"}
    assert also_true(posed(range(20), shift=WIDTH)) == {"unsure_hands"}, "outside of the picture"


def test_a_table_counts_films() -> None:
    found = [
        Verdict("fade to black", {"fade"}, {"fade", "blurred_hands"}),
        Verdict("dissolve", {"fade"}, {"moving_camera"}),
        Verdict("clean", {""}, set()),
    ]
    rows = {row.split("|")[1].strip(): row for row in table(found)}
    assert rows["fade"] == "| fade | 2: fade to black 1, dissolve 1 | 1 | none | 1.00 | 0.50 |"
    assert rows["blurred_hands"] == "| blurred_hands | 0:  | 0 | fade to black 1 | 0.00 | 0.00 |"
    assert "near_duplicate" in rows


@pytest.mark.parametrize("name", ["clean", "camera shake"])
def test_filters_at_their_defaults_say_what_a_film_deserves(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spoilt, "NUM_FRAMES", 18)
    settings = WindowSettings(num_frames=WINDOW + 1, sizes_px=((WIDTH, HEIGHT),))
    made = FAULTS[name][1](spoilt._film(920_005), np.random.default_rng([920_005, 7]), 920_005)
    assert said(read(made, settings)[0]) == {FAULTS[name][0]} - {""}

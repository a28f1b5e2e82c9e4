"""The split: by group, stable, given sides win, every side gets something where it can."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mimicmotion.clips.settings import SplitSettings
from mimicmotion.clips.split import joined_groups, split_videos, uneven_sides

VIDEOS = {f"video{k}": True for k in range(40)}


def split(usable=VIDEOS, given=None, groups=None, test=0.25, val=0.1, seed=0):
    settings = SplitSettings(test_fraction=test, val_fraction=val, seed=seed)
    return split_videos(usable, given or {}, groups or {}, settings)


def test_split_is_by_video_and_moves_nobody_when_videos_come() -> None:
    before = split()
    after = split({**VIDEOS, "new1": True, "new2": True})
    assert {name: after[name] for name in VIDEOS} == before
    sides = list(before.values())
    assert 3 <= sides.count("test") <= 17
    assert 1 <= sides.count("val") <= 10
    assert split(seed=1) != before


def test_a_group_is_on_one_side() -> None:
    groups = {name: f"dancer{k % 8}" for k, name in enumerate(VIDEOS)}
    found = split(groups=groups)
    assert all(
        len({found[name] for name in VIDEOS if groups[name] == group}) == 1 for group in groups.values()
    )
    assert set(found.values()) == {"train", "val", "test"}


@given(
    st.sets(st.text("abcdef", min_size=1), min_size=2, max_size=6), st.floats(0.01, 0.9), st.integers(0, 99)
)
def test_both_sides_get_a_usable_video(names: set[str], fraction: float, seed: int) -> None:
    usable = {name: k < 2 for k, name in enumerate(sorted(names))}
    found = split(usable, test=fraction, val=0, seed=seed)
    assert {found[name] for name in usable if usable[name]} == {"train", "test"}


@given(
    st.sets(st.text("abcdef", min_size=1), min_size=3, max_size=6), st.floats(0.01, 0.5), st.integers(0, 99)
)
def test_three_usable_videos_serve_three_sides(names: set[str], fraction: float, seed: int) -> None:
    found = split(dict.fromkeys(names, True), test=fraction, val=0.4, seed=seed)
    assert set(found.values()) == {"train", "val", "test"}


def test_given_split_wins_and_nothing_is_forced() -> None:
    assert split({"a": True, "b": True}, {"a": "test", "b": "test"}, test=0.5) == {"a": "test", "b": "test"}
    given_sides = {"a": "train", "b": "train"}
    assert split({"a": True, "b": True, "c": True}, given_sides, test=0.01) == {**given_sides, "c": "test"}
    assert set(split(test=0, val=0).values()) == {"train"}
    assert split({"a": True, "b": False}, test=0.01)["a"] == "train"


def test_the_rest_of_a_group_goes_where_one_of_it_was_sent() -> None:
    groups = dict.fromkeys(VIDEOS, "anna")
    assert set(split(given={"video3": "val"}, groups=groups).values()) == {"val"}


def test_pairs_join_groups() -> None:
    joined = joined_groups({"a": "anna", "b": "anna", "c": "cleo"}, [("b", "x"), ("x", "c"), ("p", "q")])
    assert len({joined[name] for name in "abcx"}) == 1
    assert joined["p"] == joined["q"] != joined["a"]


def test_a_new_copy_does_not_move_the_group_of_the_old_one() -> None:
    groups = {f"video{k}": f"dancer {k // 4}" for k in range(40)}
    before = split(groups=joined_groups(groups, []))
    for copied in ("video3", "video17", "video38"):
        joined = joined_groups({**groups, "0copy": None}, [("0copy", copied)])
        after = split({**VIDEOS, "0copy": True}, groups=joined)
        assert {name: after[name] for name in VIDEOS} == before
        assert after["0copy"] == before[copied]


def test_a_side_that_one_large_group_fills_is_told() -> None:
    settings = SplitSettings(test_fraction=0.01, val_fraction=0.0)
    batches = {name: f"group batch{int(name[5:]) % 2}" for name in VIDEOS}
    told = list(uneven_sides(split_videos(VIDEOS, {}, batches, settings), {}, batches, settings))
    assert len(told) == 1
    assert "20 of 40 videos are for test, where 1% was asked: group batch" in told[0]
    given = dict.fromkeys(VIDEOS, "test")
    assert not list(uneven_sides(given, given, batches, settings))
    dancers = {name: f"group {int(name[5:]) // 2}" for name in VIDEOS}
    assert not list(uneven_sides(split(groups=dancers), {}, dancers, SplitSettings(test_fraction=0.25)))


def test_shares_that_exceed_everything_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"must not exceed 1 together, got 0\.6 and 0\.5"):
        SplitSettings(val_fraction=0.6, test_fraction=0.5)

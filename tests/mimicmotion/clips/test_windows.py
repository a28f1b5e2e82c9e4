"""Windows: laid inside scenes, judged by every limit, longest runs, references, the split."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimicmotion.clips.quality import FrameQuality, frame_quality
from mimicmotion.clips.split import split_videos
from mimicmotion.clips.windows import (
    Limits,
    Reject,
    Window,
    judge,
    lay_windows,
    longest_window,
    measure,
    reference_candidates,
    scenes,
)
from mimicmotion.pose.hands import hand_boxes, hand_confidences
from mimicmotion.pose.table import PoseTrack

LIMITS = Limits(
    min_visibility=0.6, min_confidence=0.5, min_height_share=0.3, max_crowded_fraction=0.1, min_motion=0.05
)


def quality(n: int, **changes: object) -> FrameQuality:
    """A video of one person who dances well in view, with changes."""
    good = FrameQuality(
        present=np.ones(n, bool),
        visibility=np.full(n, 0.9),
        confidence=np.full(n, 0.8),
        height_share=np.full(n, 0.7),
        num_people=np.ones(n, int),
        lag=2,
        speed=np.full(n, 0.5),
        hands_confident=np.zeros((n, 2), bool),
        bad=np.zeros(n, bool),
    )
    return replace(good, **changes)


def at(n: int, indices: object, value: float, otherwise: float) -> np.ndarray:
    values = np.full(n, otherwise)
    values[indices] = value
    return values


def test_windows_lie_inside_scenes() -> None:
    assert scenes(20, [0, 7, 20]) == [(0, 7), (7, 20)]
    assert [(w.first, w.last) for w in lay_windows((7, 20), 3, 2, 4)] == [(7, 11), (11, 15), (15, 19)]
    assert lay_windows((0, 4), 3, 2, 1) == []
    assert list(Window(7, 3, 2).frames) == [7, 9, 11]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4), st.integers(1, 9))
def test_no_window_leaves_its_scene(length: int, num_frames: int, step: int, stride: int) -> None:
    windows = lay_windows((5, 5 + length), num_frames, step, stride)
    assert all(w.first >= 5 and w.last < 5 + length and len(w.frames) == num_frames for w in windows)
    assert bool(windows) == (length >= (num_frames - 1) * step + 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"bad": np.arange(10) == 4}, "bad_frames"),
        ({"bad": np.arange(10) == 9}, None),
        ({"present": np.arange(10) != 2}, "no_person"),
        ({"visibility": np.full(10, 0.59)}, "low_visibility"),
        ({"confidence": np.full(10, 0.49)}, "low_confidence"),
        ({"height_share": np.full(10, 0.29)}, "too_small"),
        ({"speed": np.full(10, 0.04)}, "too_still"),
        ({"speed": np.full(10, np.nan)}, "too_still"),
        ({"num_people": 1 + (np.arange(10) == 0)}, "several_people"),
    ],
)
def test_every_limit_rejects(changes: dict, reason: str | None) -> None:
    reject = judge(measure(quality(10, **changes), Window(0, 5, 2)), LIMITS)
    assert (reject.reason if reject else None) == reason
    if reject and reject.limit:
        assert f"{reject.limit} is {getattr(LIMITS, reject.limit):g}" in reject.sentence


def test_measures_are_of_the_windows_own_frames() -> None:
    hands = np.zeros((10, 2), bool)
    hands[[0, 2], 0], hands[:, 1] = True, True
    measures = measure(
        quality(
            10,
            visibility=at(10, [0, 2, 4, 6], 0.5, 0.0),
            hands_confident=hands,
            speed=at(10, [0, 1, 7], 99.0, 0.2),
        ),
        Window(0, 4, 2),
    )
    assert (measures.visibility, measures.motion) == (0.5, pytest.approx(0.2))
    assert (measures.left_hand_reliability, measures.right_hand_reliability) == (0.5, 1.0)


def test_motion_of_a_window_shorter_than_the_lag() -> None:
    assert measure(quality(10, lag=5, speed=np.arange(10.0)), Window(6, 3, 1)).motion == 8.0


def test_longest_window_is_a_whole_scene_where_it_can_be() -> None:
    assert longest_window(quality(50), [30], LIMITS, 5, 100, 1) == Window(0, 30, 1)
    assert longest_window(quality(50), [], LIMITS, 5, 20, 1) == Window(0, 20, 1)
    assert longest_window(quality(51), [], LIMITS, 5, 100, 2) == Window(0, 26, 2)


def test_longest_window_has_no_gap() -> None:
    gap = quality(50, present=np.arange(50) != 18)
    assert longest_window(gap, [], LIMITS, 5, 100, 1) == Window(19, 31, 1)


@given(st.integers(0, 33))
def test_short_window_is_found_wherever_it_lies(first: int) -> None:
    confidence = at(40, slice(first, first + 7), 0.9, 0.0)
    found = longest_window(quality(40, confidence=confidence), [], LIMITS, 7, 40, 1)
    assert isinstance(found, Window)
    assert judge(measure(quality(40, confidence=confidence), found), LIMITS) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"present": np.zeros(30, bool)}, "no_person"),
        ({"present": np.arange(30) % 4 > 0}, "too_short"),
        ({"visibility": np.full(30, 0.1)}, "low_visibility"),
    ],
)
def test_video_without_a_long_window_says_why(changes: dict, reason: str) -> None:
    found = longest_window(quality(30, **changes), [], LIMITS, 5, 30, 1)
    assert isinstance(found, Reject)
    assert found.reason == reason


def test_references_lie_outside_at_a_distance() -> None:
    assert reference_candidates(quality(40), Window(10, 5, 2), (0, 40), LIMITS, 8, 100) == [
        *range(3),
        *range(26, 40),
    ]
    assert reference_candidates(quality(40), Window(10, 5, 2), (0, 40), LIMITS, 8, 3) == [0, 31, 39]


def test_references_come_near_and_then_inside_where_they_must() -> None:
    assert reference_candidates(quality(40), Window(10, 5, 2), (8, 21), LIMITS, 8, 9) == [8, 9, 19, 20]
    assert reference_candidates(quality(40), Window(10, 5, 2), (10, 19), LIMITS, 8, 3) == [10, 14, 18]
    unsure = quality(40, confidence=np.zeros(40))
    assert reference_candidates(unsure, Window(10, 3, 2), (10, 19), LIMITS, 8, 9) == [10, 12, 14]


def test_references_show_the_person_well() -> None:
    present, bad = np.ones(20, bool), np.zeros(20, bool)
    present[0], bad[1] = False, True
    video = quality(20, present=present, bad=bad, height_share=at(20, 2, 0.1, 0.7))
    assert reference_candidates(video, Window(10, 10, 1), (0, 20), LIMITS, 1, 99) == list(range(3, 10))


def track(points: np.ndarray, confidence: float) -> PoseTrack:
    n = len(points)
    confidences = np.full((n, 133), confidence, np.float32)
    boxes = np.tile(np.array([0, 10, 50, 60], np.float32), (n, 1))
    return PoseTrack(
        keypoints=points.astype(np.float32),
        confidences=confidences,
        present=np.ones(n, bool),
        boxes=boxes,
        hand_boxes=hand_boxes(points, confidences),
        hand_confidences=hand_confidences(confidences),
        width_px=100,
        height_px=100,
    )


def test_quality_of_a_track() -> None:
    points = np.zeros((4, 133, 2)) + np.arange(4)[:, None, None] * [3.0, 4.0]
    found = frame_quality(track(points, 0.8), np.array([1, 1, 2, 1]), 10.0, [3], 0.3, 0.7)
    assert found.lag == 2
    # 5 px of 50 px in a tenth of a second.
    np.testing.assert_allclose(found.speed, [np.nan, np.nan, 1.0, 1.0])
    np.testing.assert_allclose(found.confidence, 0.8, rtol=1e-6)
    np.testing.assert_allclose(found.height_share, 0.5)
    assert found.visibility.tolist() == [1.0] * 4
    assert found.bad.tolist() == [False, False, False, True]
    assert found.hands_confident.all()
    unsure = frame_quality(track(points, 0.2), np.ones(4, int), 10.0, [], 0.3, 0.7)
    assert np.isnan(unsure.speed).all()
    assert not unsure.visibility.any()
    assert not unsure.hands_confident.any()


VIDEOS = {f"video{k}": True for k in range(40)}


def test_split_is_by_video_and_moves_nobody_when_videos_come() -> None:
    before = split_videos(VIDEOS, {}, 0.25, 0)
    after = split_videos({**VIDEOS, "new1": True, "new2": True}, {}, 0.25, 0)
    assert {name: after[name] for name in VIDEOS} == before
    assert 3 <= list(before.values()).count("test") <= 17
    assert split_videos(VIDEOS, {}, 0.25, 1) != before


@given(
    st.sets(st.text("abcdef", min_size=1), min_size=2, max_size=6), st.floats(0.01, 0.99), st.integers(0, 99)
)
def test_both_sides_get_a_usable_video(names: set[str], fraction: float, seed: int) -> None:
    names_in_order = sorted(names)
    usable = {name: k < 2 for k, name in enumerate(names_in_order)}
    split = split_videos(usable, {}, fraction, seed)
    assert {split[name] for name in names_in_order[:2]} == {"train", "test"}


def test_given_split_wins_and_nothing_is_forced() -> None:
    assert split_videos({"a": True, "b": True}, {"a": "test", "b": "test"}, 0.5, 0) == {
        "a": "test",
        "b": "test",
    }
    given = split_videos({"a": True, "b": True, "c": True}, {"a": "train", "b": "train"}, 0.01, 0)
    assert given == {"a": "train", "b": "train", "c": "test"}
    assert set(split_videos(VIDEOS, {}, 0.0, 0).values()) == {"train"}
    assert split_videos({"a": True, "b": False}, {}, 0.01, 0)["a"] == "train"

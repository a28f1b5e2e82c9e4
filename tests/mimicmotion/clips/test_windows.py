"""Windows: laid inside scenes, judged by every limit, longest runs, references, what a framing cuts off."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimicmotion.clips.choosing import generated_clip, training_windows
from mimicmotion.clips.quality import FrameQuality, PosedVideo, frame_quality, nearest_rows, steady
from mimicmotion.clips.settings import WindowSettings
from mimicmotion.clips.windows import (
    Reject,
    Window,
    far_frames,
    good_frames,
    judge,
    lay_windows,
    longest_window,
    measure,
    reject,
    scenes,
    spread,
)
from mimicmotion.pose.hands import hand_boxes, hand_confidences
from mimicmotion.pose.table import PoseTrack

SETTINGS = WindowSettings(min_motion=0.05)


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
        hand_confidence=np.full(n, 0.6),
        **pictures(n),
    )
    return replace(good, **changes)


def pictures(n: int) -> dict[str, np.ndarray]:
    """What pictures say of a still room without overlays; of hands and face they say nothing."""
    unknown = np.full(n, np.nan)
    none = {"faded": np.zeros(n, bool), "overlay": np.zeros(n), "background_motion": np.zeros(n)}
    return none | {"hand_sharpness": unknown, "face_sharpness": unknown}


def at(n: int, indices: object, value: float, otherwise: float) -> np.ndarray:
    values = np.full(n, otherwise)
    values[indices] = value
    return values


def measured(video: FrameQuality, window: Window) -> dict[str, float]:
    found = measure(video, np.array([window.first]), window.num_frames, window.step)
    return found.mean(slice(None))


def judged(video: FrameQuality, window: Window) -> Reject | None:
    found = measure(video, np.array([window.first]), window.num_frames, window.step)
    return reject(int(judge(found, SETTINGS)[0]), found.mean(slice(None)), SETTINGS)


def longest(video: FrameQuality, least: int, most: int, step: int = 1) -> Window | Reject:
    settings = SETTINGS.model_copy(update={"max_test_frames": most - 1})
    return longest_window(video, (0, len(video)), settings, least, step)


def test_windows_lie_inside_scenes() -> None:
    assert scenes(20, [0, 7, 20]) == [(0, 7), (7, 20)]
    assert lay_windows((7, 20), 3, 2, 4).tolist() == [7, 11, 15]
    assert lay_windows((0, 4), 3, 2, 1).tolist() == []
    assert list(Window(7, 3, 2).frames) == [7, 9, 11]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4), st.integers(1, 9))
def test_no_window_leaves_its_scene(length: int, num_frames: int, step: int, stride: int) -> None:
    firsts = lay_windows((5, 5 + length), num_frames, step, stride)
    assert all(first >= 5 and Window(first, num_frames, step).last < 5 + length for first in firsts)
    assert bool(len(firsts)) == (length >= (num_frames - 1) * step + 1)


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
    found = judged(quality(10, **changes), Window(0, 5, 2))
    assert (found.reason if found else None) == reason
    if found and found.limit:
        assert f"{found.limit} is {getattr(SETTINGS, found.limit):g}" in found.sentence


def test_measures_are_of_the_windows_own_frames() -> None:
    hands = np.zeros((10, 2), bool)
    hands[[0, 2], 0], hands[:, 1] = True, True
    video = quality(
        10,
        visibility=at(10, [0, 2, 4, 6], 0.5, 0.0),
        hands_confident=hands,
        speed=at(10, [0, 1, 7], 99.0, 0.2),
    )
    numbers = measured(video, Window(0, 4, 2))
    assert (numbers["visibility"], numbers["motion"]) == (0.5, pytest.approx(0.2))
    assert (numbers["left_hand_reliability"], numbers["right_hand_reliability"]) == (0.5, 1.0)


@given(st.integers(0, 9), st.integers(1, 5), st.integers(1, 3))
def test_many_windows_are_measured_as_one_by_one(seed: int, num_frames: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    speed = np.where(rng.random(20) < 0.3, np.nan, rng.random(20))
    video = quality(20, visibility=rng.random(20), speed=speed, present=rng.random(20) < 0.8)
    firsts = lay_windows((2, 20), num_frames, step, 1)
    together = measure(video, firsts, num_frames, step)
    for place, first in enumerate(firsts):
        frames = np.array(Window(first, num_frames, step).frames)
        spanned = speed[min(first + video.lag, frames[-1]) : frames[-1] + 1]
        known = spanned[~np.isnan(spanned)]
        assert together.visibility[place] == pytest.approx(video.visibility[frames].mean())
        assert together.absent[place] == pytest.approx((~video.present[frames]).mean())
        assert together.motion[place] == pytest.approx(known.mean() if known.size else 0.0)


def test_motion_of_a_window_shorter_than_the_lag() -> None:
    assert measured(quality(10, lag=5, speed=np.arange(10.0)), Window(6, 3, 1))["motion"] == 8.0


def test_longest_window_is_a_whole_scene_where_it_can_be() -> None:
    assert longest_window(quality(50), (0, 30), SETTINGS, 5, 1) == Window(0, 30, 1)
    assert longest(quality(50), 5, 20) == Window(0, 20, 1)
    assert longest(quality(51), 5, 100, step=2) == Window(0, 26, 2)


def test_longest_window_has_no_gap() -> None:
    gap = quality(50, present=np.arange(50) != 18)
    assert longest(gap, 5, 100) == Window(19, 31, 1)


@given(st.integers(0, 33))
def test_short_window_is_found_wherever_it_lies(first: int) -> None:
    video = quality(40, confidence=at(40, slice(first, first + 7), 0.9, 0.0))
    found = longest(video, 7, 40)
    assert isinstance(found, Window)
    assert judged(video, found) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"present": np.zeros(30, bool)}, "no_person"),
        ({"present": np.arange(30) % 4 > 0}, "too_short"),
        ({"visibility": np.full(30, 0.1)}, "low_visibility"),
    ],
)
def test_video_without_a_long_window_says_why(changes: dict, reason: str) -> None:
    found = longest(quality(30, **changes), 5, 30)
    assert isinstance(found, Reject)
    assert found.reason == reason


def test_references_lie_outside_at_a_distance() -> None:
    frames = far_frames(np.arange(40), 10, 18, 8)
    assert frames.tolist() == [*range(3), *range(26, 40)]
    assert spread(frames, 3) == (0, 31, 39)


def test_references_come_near_and_then_inside_where_they_must() -> None:
    assert far_frames(np.arange(8, 21), 10, 18, 8).tolist() == [8, 9, 19, 20]
    assert far_frames(np.arange(10, 19), 10, 18, 8).tolist() == [*range(10, 19)]


def test_references_show_the_person_well() -> None:
    present, bad = np.ones(20, bool), np.zeros(20, bool)
    present[0], bad[1] = False, True
    video = quality(20, present=present, bad=bad, height_share=at(20, 2, 0.1, 0.7))
    assert good_frames(video, (0, 10), SETTINGS).tolist() == list(range(3, 10))
    assert good_frames(video, (12, 14), SETTINGS).tolist() == [12, 13]


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
    points = np.full((4, 133, 2), 10.0) + np.arange(4)[:, None, None] * [3.0, 4.0]
    found = frame_quality(
        track(points, 0.8), np.array([1, 1, 2, 1]), 10.0, [3], WindowSettings(hand_threshold=0.7), pictures(4)
    )
    assert found.lag == 2
    # 5 px of 50 px in a tenth of a second.
    np.testing.assert_allclose(found.speed, [np.nan, np.nan, 1.0, 1.0])
    np.testing.assert_allclose(found.confidence, 0.8, rtol=1e-6)
    np.testing.assert_allclose(found.height_share, 0.5)
    assert found.visibility.tolist() == [1.0] * 4
    assert found.bad.tolist() == [False, False, False, True]
    assert found.hands_confident.all()
    unsure = frame_quality(
        track(points, 0.2), np.ones(4, int), 10.0, [], WindowSettings(hand_threshold=0.7), pictures(4)
    )
    assert np.isnan(unsure.speed).all()
    assert not unsure.visibility.any()
    assert not unsure.hands_confident.any()


def wide_video(middles: np.ndarray, **fields: object) -> PosedVideo:
    """A film of 320x180 in which the dancer, 60 px wide, has her middle at these places."""
    n = len(middles)
    body = np.random.default_rng(0).uniform((-30, 10), (30, 170), (133, 2))
    sway = np.stack([2 * np.sin(np.arange(n)), np.zeros(n)], axis=1)
    points = (body + np.stack([middles, np.zeros(n)], axis=1)[:, None] + sway[:, None]).astype(np.float32)
    boxes = np.stack([middles - 30, np.full(n, 10), middles + 30, np.full(n, 170)], axis=1).astype(np.float32)
    confidences = np.full((n, 133), 0.9, np.float32)
    person = PoseTrack(
        keypoints=points,
        confidences=confidences,
        present=np.ones(n, bool),
        boxes=boxes,
        hand_boxes=hand_boxes(points, confidences),
        hand_confidences=hand_confidences(confidences),
        width_px=320,
        height_px=180,
    )
    settings = WindowSettings(**{"num_frames": 6, "sizes_px": [[72, 128]], **fields})
    return PosedVideo(person, np.arange(n), boxes.astype(float), 12.0, [], [], settings)


def kept_points(video: PosedVideo, fit: object, first: int, num_frames: int) -> float:
    """Share of the body points of some frames that the framing shows."""
    return float(video.quality(fit).visibility[first : first + num_frames].mean())


def test_the_cut_follows_the_dancer_and_is_one_a_window() -> None:
    for middle in (40.0, 160.0, 285.0):
        (found,) = training_windows(wide_video(np.full(40, middle)))
        assert found.reject is None
        assert kept_points(wide_video(np.full(40, middle)), found.fit, 0, 40) == 1.0
    walk = wide_video(np.linspace(40, 280, 90))
    found = training_windows(walk)
    assert len({one.fit for one in found}) > 3
    assert all(one.reject is None for one in found)
    assert sum(one.num_windows for one in found) == 90 - 4
    for one in found:
        assert kept_points(walk, one.fit, one.window.first, one.window.num_frames) > 0.9


def test_checks_judge_what_the_framing_shows() -> None:
    """A dancer who leaps from side to side is in no cut, and a stranger who is cut off does not count."""
    leaping = wide_video(np.where(np.arange(40) % 2, 40.0, 280.0))
    assert {found.reject.reason for found in training_windows(leaping)} == {"no_person"}
    video = wide_video(np.full(40, 50.0))
    stranger = np.tile([[250.0, 10.0, 300.0, 170.0]], (40, 1))
    both = replace(
        video, frames=np.tile(np.arange(40), 2), boxes=np.concatenate([video.boxes, stranger]), _seen={}
    )
    assert [found.reject for found in training_windows(both)] == [None]
    beside = replace(both, boxes=np.concatenate([video.boxes, stranger - [180, 0, 180, 0]]), _seen={})
    assert [found.reject.reason for found in training_windows(beside)] == ["several_people"]


def test_windows_begin_anywhere_in_a_usable_run_so_that_every_frame_can_be_seen() -> None:
    video = wide_video(np.full(60, 160.0))
    video.track.present[25] = False
    found = training_windows(video)
    assert [(one.window.first, one.num_windows, one.reject and one.reject.reason) for one in found] == [
        (0, 21, None),
        (21, 5, "no_person"),
        (26, 30, None),
    ]
    seen = {
        frame + later
        for one in found
        if one.reject is None
        for frame in one.window.frames
        for later in range(one.num_windows)
    }
    assert seen == set(range(60)) - {25}


def test_all_windows_are_laid_end_to_end() -> None:
    found = training_windows(wide_video(np.full(41, 160.0), windows="all"))
    assert [(one.window.first, one.num_windows) for one in found] == [(5 * k, 1) for k in range(8)]
    assert all(min(abs(r - f) for f in one.window.frames) >= 8 for one in found for r in one.references)


def test_a_whole_video_is_every_frame_after_the_first_whatever_it_shows() -> None:
    video = wide_video(np.full(50, 40.0), test_clips="whole_video", fps=4, test_step=1)
    video.track.present[[0, 20, 21]] = False
    video = replace(video, cuts=[10], bad_frames=[5], boxes=np.tile(video.boxes, (2, 1)),
                    frames=np.tile(np.arange(50), 2), _seen={})  # fmt: skip
    found = generated_clip(video)
    assert found.reject is None
    assert (list(found.window.frames), found.references) == (list(range(1, 50)), (0,))
    assert found.fit.cut_share == 0
    assert (
        generated_clip(
            replace(video, settings=video.settings.model_copy(update={"test_step": None}))
        ).window.step
        == 3
    )


def test_the_longest_run_is_cut_around_the_dancer() -> None:
    found = generated_clip(wide_video(np.full(50, 285.0)))
    assert (found.window, found.references) == (Window(1, 49, 1), (0,))
    assert found.fit.offset[0] > 0.9 * (found.fit.scaled[0] - 72)


def test_one_wrong_measurement_decides_nothing_and_a_lone_one_is_not_known() -> None:
    values = np.array([0.0, 0.0, 9.0, 0.0, 0.0, np.nan, np.nan, np.nan, np.nan, np.nan, 4.0])
    np.testing.assert_array_equal(steady(values), [0, 0, 0, 0, 0, 0, *[np.nan] * 5])
    assert nearest_rows(np.array([0, 4]), 6).tolist() == [0, 0, 0, 1, 1, 1]
    assert nearest_rows(np.array([], int), 2).tolist() == [-1, -1]

"""Near-copies of made-up dances: encoded anew, cropped, mirrored, shortened; other dances are none."""

from dataclasses import replace

import numpy as np
import pytest

from mimicmotion.clips import copies
from mimicmotion.clips.copies import Fingerprint, _agree, _best, _Hint, _rest, near_copies, picture_hash
from mimicmotion.clips.quality import PosedVideo
from mimicmotion.clips.settings import WindowSettings
from mimicmotion.pose.table import PoseTrack

FPS, NUM_FRAMES = 24.0, 144


def dance(seed: int, confidence: float = 0.9) -> PosedVideo:
    """Six seconds of a body of 300 px whose points swing each in its own way."""
    rng = np.random.default_rng(seed)
    t = np.arange(NUM_FRAMES)[:, None, None] / FPS
    middle = np.random.default_rng(0).uniform((150, 50), (250, 350), (133, 2))
    swing = rng.uniform(20, 60, (133, 2)) * np.sin(
        2 * np.pi * rng.uniform(0.3, 1.2, (133, 2)) * t + rng.uniform(0, 6, (133, 2))
    )
    points = (middle + swing).astype(np.float32)
    boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    track = PoseTrack(
        keypoints=points,
        confidences=np.full((NUM_FRAMES, 133), confidence, np.float32),
        present=np.ones(NUM_FRAMES, bool),
        boxes=boxes,
        hand_boxes=np.full((NUM_FRAMES, 2, 4), np.nan, np.float32),
        hand_confidences=np.zeros((NUM_FRAMES, 2), np.float32),
        width_px=400,
        height_px=400,
    )
    return PosedVideo(track, np.arange(NUM_FRAMES), boxes.astype(float), FPS, [], [], WindowSettings())


def moved(video: PosedVideo, points: np.ndarray, seed: int = 1) -> PosedVideo:
    """The same with other points, jittering by 1 % of the body as a detector's do."""
    noise = np.random.default_rng(seed).normal(0, 0.01 * np.ptp(points[..., 1]), points.shape)
    return replace(video, track=replace(video.track, keypoints=(points + noise).astype(np.float32)))


def late(video: PosedVideo, start: int) -> PosedVideo:
    return replace(video, track=video.track.select(range(start, NUM_FRAMES)))


def mirrored(points: np.ndarray) -> np.ndarray:
    """Points in a mirror, where left and right change their names."""
    names = np.arange(133)
    names[1:17] = names[1:17].reshape(-1, 2)[:, ::-1].ravel()
    return points[:, names] * (-1, 1) + (400, 0)


def prints(**videos: PosedVideo) -> dict[str, Fingerprint]:
    return {name: Fingerprint.of(video, [], []) for name, video in videos.items()}


def test_near_copies_are_found_by_motion_and_other_dances_are_not() -> None:
    one = dance(1)
    points = one.track.keypoints
    found = near_copies(
        prints(
            a_first=one,
            b_again=moved(one, points),
            c_smaller=moved(one, 0.4 * points - 13),
            d_mirror=moved(one, mirrored(points)),
            e_late=late(moved(one, points), 50),
            f_unseen=dance(1, confidence=0.1),
            **{f"z_other{k}": dance(k) for k in range(2, 8)},
        )
    )
    assert {"b_again", "c_smaller", "d_mirror", "e_late"} <= {
        other for first, other in found if first == "a_first"
    }
    assert not any("other" in name or "unseen" in name for pair in found for name in pair)


def calm(seed: int, across_px: float, sways_px: float) -> PosedVideo:
    """A dance of the arms alone, of a body that drifts across the picture or sways as a whole."""
    video, t = dance(seed), np.arange(NUM_FRAMES) / FPS
    middle = video.track.keypoints.mean(axis=0)
    place = across_px * (t / t[-1] - 0.5) + sways_px * np.sin(2 * np.pi * 0.25 * t)
    swings = np.full((133, 1), 0.05)
    swings[7:9], swings[9:11] = 0.3, 0.6  # elbows and wrists
    points = middle + swings * (video.track.keypoints - middle)
    points[..., 0] += place[:, None]
    return moved(video, points, seed)


def with_gaps(video: PosedVideo, seed: int) -> PosedVideo:
    """The same with every point unsure for a third of the time, each at its own."""
    starts = np.random.default_rng(seed).integers(0, NUM_FRAMES * 2 // 3, 133)
    away = np.arange(NUM_FRAMES)[:, None] - starts
    confidences = np.where((away >= 0) & (away < NUM_FRAMES // 3), 0.1, video.track.confidences)
    return replace(video, track=replace(video.track, confidences=confidences.astype(np.float32)))


@pytest.mark.parametrize(("across_px", "sways_px"), [(300, 0), (80, 0), (0, 60)])
def test_bodies_that_cross_the_picture_alike_dance_no_less_differently(
    across_px: float, sways_px: float
) -> None:
    others = {f"other{k}": calm(k, across_px * (-1) ** k, sways_px * (-1) ** k) for k in range(2, 12)}
    one = calm(1, across_px, sways_px)
    again = {
        "again": moved(one, 0.6 * one.track.keypoints + 20, 30),
        "mirror": moved(one, mirrored(one.track.keypoints), 31),
        "shorter": late(moved(one, one.track.keypoints, 32), 40),
    }
    found = near_copies(prints(one=one, **again, **others))
    assert {name for pair in found if "one" in pair for name in pair} == {"one", *again}
    assert not any("other" in name for pair in found for name in pair)


@pytest.mark.parametrize("across_px", [0, 300])
def test_ways_tell_copies_where_points_are_lost_for_a_while(across_px: float) -> None:
    one = calm(1, across_px, 0)
    first, again = (with_gaps(moved(one, one.track.keypoints, seed), seed) for seed in (40, 41))
    shown = prints(
        first=first, again=again, **{f"other{k}": with_gaps(calm(k, across_px, 0), k) for k in range(2, 8)}
    )
    rests = {name: _rest(shown["first"], film, 0.0, False) for name, film in shown.items() if name != "first"}
    assert rests.pop("again") < 0.3
    assert min(rests.values()) > 0.6


def test_a_body_that_moves_as_one_piece_has_no_way_to_compare() -> None:
    still = dance(1)
    points = np.repeat(still.track.keypoints[:1], NUM_FRAMES, axis=0)
    points[..., 0] += np.arange(NUM_FRAMES)[:, None]
    stiff = replace(still, track=replace(still.track, keypoints=points))
    one, other = prints(one=stiff, other=stiff).values()
    assert _rest(one, other, 0.0, False) > 0.9


def test_of_hints_at_several_offsets_the_best_are_kept() -> None:
    hints = [
        _Hint(0.0, nearness, offset)
        for nearness, offset in ((0.2, 4.0), (1.5, -2.0), (1.4, -2.25), (0.9, 0.5))
    ]
    assert [hint.offset_s for hint in _best(hints)] == [-2.0, 0.5]
    assert _best([*hints, _Hint(0.3, 0.1, 7.0)])[0].offset_s == 7.0


def test_a_few_moments_alike_by_chance_are_no_copy() -> None:
    one, other = prints(one=dance(1), other=dance(2)).values()
    assert not _agree(one, other, _Hint(0.6, 3.7, 0.0), False)
    assert _agree(one, other, _Hint(0.6, 4.1, 0.0), False)
    first, dark, room = (
        Fingerprint.of(dance(k), [0], [bits]) for k, bits in ((1, 0), (2, 4095 << 9), (3, -1))
    )
    assert _agree(first, dark, _Hint(0.6, 2.0, 0.0), False)
    assert not _agree(first, dark, _Hint(0.4, 2.0, 0.0), False)
    assert not _agree(first, room, _Hint(0.6, 2.0, 0.0), False)


def test_roughly_found_points_of_a_short_film_are_told_by_their_ways() -> None:
    shown = [np.random.default_rng(k).integers(0, 256, (96, 72, 3), np.uint8) for k in range(2)]
    similar, own = ([picture_hash(picture)] for picture in shown)
    seen = similar[0] ^ (1 << 18) - 1  # 18 bits are otherwise, too many to tell a copy by themselves
    start, points = 72, dance(1).track.keypoints
    noise = np.random.default_rng(1).normal(0, 0.04 * np.ptp(points[..., 1]), points.shape)
    rough, again = (late(moved(dance(1), points + share * noise), start) for share in (0, 1))
    other = late(dance(2), start)
    films = {
        name: Fingerprint.of(video, [0], hashes)
        for name, video, hashes in (
            ("first", rough, similar),
            ("again", again, [seen]),
            ("other_dance_in_this_room", other, [similar[0] ^ 0b111 << 20]),
            ("elsewhere", late(dance(3), start), own),
        )
    }
    assert near_copies(films) == [("again", "first")]


def test_films_without_sure_poses_are_told_by_their_pictures() -> None:
    rng = np.random.default_rng(3)
    pictures = [
        rng.integers(0, 256, (8, 6, 3)).repeat(12, 0).repeat(12, 1).astype(np.uint8) for _ in range(8)
    ]
    brighter = [np.clip(picture * 0.8 + 20, 0, 255).astype(np.uint8) for picture in pictures]
    flipped = [picture[:, ::-1] for picture in pictures]
    films = {"first": pictures[:4], "brighter": brighter[:4], "flipped": flipped[:4], "other": pictures[4:]}
    found = near_copies(
        {
            name: Fingerprint.of(dance(1, confidence=0.1), [0, 24, 48, 72], [picture_hash(p) for p in shown])
            for name, shown in films.items()
        }
    )
    assert {frozenset(pair) for pair in found} == {
        frozenset(pair) for pair in (("first", "brighter"), ("first", "flipped"), ("brighter", "flipped"))
    }


@pytest.mark.parametrize("names", [(), ("alone",)])
def test_few_films_have_no_copies(names: tuple[str, ...]) -> None:
    assert near_copies({name: prints(x=dance(1))["x"] for name in names}) == []


def test_main_components_tell_the_same_moments_near_as_all_do_and_long_work_is_told(
    monkeypatch, caplog
) -> None:
    monkeypatch.setattr(copies, "_TOLD_EVERY_S", -1.0)
    monkeypatch.setattr(copies, "_BLOCK", 100)
    shown = prints(**{f"film{k}": calm(k, 0, 0) for k in range(4)})
    everything = np.concatenate([film.moments for film in shown.values()])
    place, found, apart = copies._Near(everything)(everything[::7])
    expected = ((everything[::7, None] - everything) ** 2).sum(axis=2)
    assert {*zip(place, found, strict=True)} == {*zip(*np.nonzero(expected < copies._RADIUS**2), strict=True)}
    assert apart == pytest.approx(expected[place, found], abs=1e-4)
    with caplog.at_level("INFO"):
        near_copies(shown)
    assert "near-copies: 3 of 4 films compared mirrored with all" in caplog.text

"""Cuts and fades are found, motion is neither."""

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from mimicmotion.video.colour import to_yuv
from mimicmotion.video.scenes import SceneCutFinder, scene_cuts

FPS = 24


def texture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return coarse.repeat(20, 0).repeat(20, 1)


def frame_of(picture: np.ndarray) -> av.VideoFrame:
    return to_yuv(picture, VideoReformatter())


def finder_of(pictures: list[np.ndarray]) -> SceneCutFinder:
    finder = SceneCutFinder(FPS)
    for picture in pictures:
        finder.add(frame_of(picture))
    return finder


def cuts(pictures: list[np.ndarray]) -> list[int]:
    return finder_of(pictures).cuts()


def blended(one: np.ndarray, other: np.ndarray, num_frames: int) -> list[np.ndarray]:
    shares = np.linspace(0, 1, num_frames)
    return [(one * (1 - share) + other * share).astype(np.uint8) for share in shares]


@pytest.mark.parametrize("num_frames", [12, 24])
def test_a_dissolve_and_a_fade_to_black_are_spans_of_frames(num_frames: int) -> None:
    still = [texture(1)] * 20
    for other in (texture(2), np.zeros_like(texture(1))):
        turned = [*still, *blended(texture(1), other, num_frames), *[other] * 20]
        ((first, end),) = finder_of(turned).fades()
        assert abs(first - 20) <= 3
        assert abs(end - 20 - num_frames) <= 3
        assert cuts(turned) == []


def test_a_dissolve_behind_somebody_who_moves_is_a_fade() -> None:
    pictures = [texture(1)] * 20 + blended(texture(1), texture(2), 20) + [texture(2)] * 20
    for number, picture in enumerate(pictures):
        picture = pictures[number] = picture.copy()
        picture[40:200, 5 * number : 5 * number + 90] = (250, 40, 40) if number % 4 < 2 else (20, 200, 20)
    ((first, end),) = finder_of(pictures).fades()
    assert (abs(first - 20) <= 3, abs(end - 40) <= 3) == (True, True)


def test_cuts_and_motion_are_no_fades() -> None:
    moving = [np.roll(texture(1), speed * k, axis=1) for speed in (1, 2, 5, 20) for k in range(30)]
    assert finder_of(moving).fades() == []
    assert finder_of([texture(k // 10) for k in range(40)]).fades() == []


def test_cuts_between_textures() -> None:
    assert cuts([texture(k // 10) for k in range(40)]) == [10, 20, 30]


def test_moving_pictures_hold_no_cut_and_hide_none() -> None:
    moving = [np.roll(texture(1), 2 * k, axis=1) for k in range(30)]
    assert cuts(moving) == []
    other = [np.roll(texture(2), 2 * k, axis=1) for k in range(30)]
    assert cuts(moving + other) == [30]


def test_slow_motion_by_repeats_holds_no_cut() -> None:
    assert cuts([np.roll(texture(1), 10 * (k // 3), axis=1) for k in range(40)]) == []


def test_fade_holds_no_cut() -> None:
    assert cuts([(texture(1) * (1 - k / 20)).astype(np.uint8) for k in range(20)]) == []


def test_noise_in_grey_is_no_change() -> None:
    random = np.random.default_rng(0)
    grey = [np.clip(120 + random.integers(-2, 3, (120, 160, 3)), 0, 255).astype(np.uint8) for _ in range(12)]
    assert cuts(grey) == []


def test_repeats_count_as_frames() -> None:
    finder = SceneCutFinder(FPS)
    finder.add(frame_of(texture(0)))
    finder.repeat(9)
    finder.add(frame_of(texture(1)))
    finder.repeat(9)
    assert finder.cuts() == [10]


def test_changes_at_the_ends_and_none_at_all() -> None:
    assert scene_cuts([]) == []
    assert scene_cuts([0.0]) == []
    assert scene_cuts([0.0, 40.0]) == [1]
    assert scene_cuts([0.0, 0.1, 0.1, 40.0]) == [3]

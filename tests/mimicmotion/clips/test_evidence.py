"""What pictures tell: a moving background, text that stays, blurred parts; and when nothing can be told."""

import cv2
import numpy as np
import pytest

from mimicmotion.clips.evidence import (
    CELL_PX,
    EVIDENCE_SCHEMA,
    background_motion,
    overlay_scores,
    picture_evidence,
    sharpness,
)
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table

WIDTH, HEIGHT, FPS = 160, 240, 10.0


def room(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    rng = np.random.default_rng(seed)
    picture = np.full((height, width), 120, np.uint8)
    for _ in range(12):
        left, top = rng.integers(0, width - 30), rng.integers(0, height - 30)
        cv2.rectangle(picture, (left, top), (left + 25, top + 25), int(rng.integers(40, 220)), -1)
    return cv2.GaussianBlur(picture, (0, 0), 0.7)


def moved(picture: np.ndarray, right: float) -> np.ndarray:
    shift = np.array([[1, 0, right], [0, 1, 0.0]])
    return cv2.warpAffine(picture, shift, picture.shape[::-1], borderMode=cv2.BORDER_REFLECT)


def written(picture: np.ndarray, level: int = 250) -> np.ndarray:
    drawn = picture.copy()
    cv2.putText(drawn, "part two", (20, 200), cv2.FONT_HERSHEY_SIMPLEX, 0.5, level, 1, cv2.LINE_AA)
    return drawn


@pytest.mark.parametrize("way", [0.0, 0.5, 3.0])
def test_the_way_of_the_background_is_measured_whatever_the_person_does(way: float) -> None:
    before, after = room(1), moved(room(1), way)
    background = np.full((HEIGHT, WIDTH), 255, np.uint8)
    background[:, 60:100] = 0
    before[:, 70:90], after[:, 70:90] = room(2)[:, 70:90], room(3)[:, 70:90]
    assert background_motion(before, after, background) == pytest.approx(way, abs=0.1)


def test_a_thing_that_drifts_before_a_still_room_is_no_moving_camera() -> None:
    def with_post(left: int) -> np.ndarray:
        picture = room(1)
        picture[:, left : left + 20] = 230
        return picture

    background = np.full((HEIGHT, WIDTH), 255, np.uint8)
    assert background_motion(with_post(60), with_post(63), background) == pytest.approx(0, abs=0.05)
    wall = np.full((HEIGHT, WIDTH), 90, np.uint8)
    before, after = wall.copy(), wall.copy()
    before[:, 60:80], after[:, 63:83] = 230, 230
    assert np.isnan(background_motion(before, after, background)), "what is at one place tells nothing"


@pytest.mark.parametrize(("down", "right"), [(2, 0), (2, 9), (17, 0)])
def test_the_edge_of_a_floor_alone_tells_a_camera_that_goes_up_or_down(down: int, right: int) -> None:
    wall = np.full((HEIGHT, WIDTH), 90, np.uint8)
    wall[200:] = 140
    after = np.roll(np.roll(wall, -down, 0)[: HEIGHT - down], right, 1)
    after = np.concatenate([after, wall[-down:]])
    way = background_motion(wall, after, np.full((HEIGHT, WIDTH), 255, np.uint8))
    assert way == pytest.approx(down, abs=0.1)


@pytest.mark.parametrize("noise", [4, 8])
@pytest.mark.parametrize("way", [0.0, 3.0])
def test_noise_of_a_dark_room_is_no_motion_and_hides_none_that_can_be_seen(noise: float, way: float) -> None:
    rng = np.random.default_rng(0)
    dark = [picture * 0.6 for picture in (room(1), moved(room(1), way))]
    seen = [np.clip(p + rng.normal(0, noise, p.shape), 0, 255).astype(np.uint8) for p in dark]
    assert background_motion(*seen, np.full((HEIGHT, WIDTH), 255, np.uint8)) == pytest.approx(way, abs=0.3)


def test_noise_alone_tells_nothing() -> None:
    rng = np.random.default_rng(1)
    before, after = (np.clip(rng.normal(20, 12, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8) for _ in range(2))
    assert np.isnan(background_motion(before, after, np.full((HEIGHT, WIDTH), 255, np.uint8)))


def test_a_plain_wall_tells_nothing() -> None:
    wall = np.full((HEIGHT, WIDTH), 90, np.uint8)
    assert np.isnan(background_motion(wall, wall, np.full_like(wall, 255)))


def test_text_that_stays_is_told_and_a_room_or_what_moves_is_not() -> None:
    still, shaken = [room(1)] * 4, [moved(room(1), 2 * k) for k in range(4)]
    for pictures in (still, shaken):
        scores = overlay_scores([written(picture) for picture in pictures])
        assert scores[(200 - 10) // CELL_PX : 200 // CELL_PX + 1, 2:11].max() > 80
        assert overlay_scores(pictures).max() < 80
    rolling = [np.roll(written(room(1)), (2 * way, way), (0, 1)) for way in (0, 11, 4, 17)]
    assert overlay_scores(rolling).max() < 50
    assert not overlay_scores([written(room(1))] * 2).any(), "two pictures tell nothing"


@pytest.mark.parametrize("size", [24, 48, 200])
def test_sharpness_falls_with_blur_relative_to_the_size_and_not_with_contrast(size: int) -> None:
    coarse = np.random.default_rng(0).integers(60, 200, (8, 8)).astype(np.uint8)
    part = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_NEAREST)
    picture = np.full((size * 2, size * 2), 128, np.uint8)
    picture[size // 2 : size // 2 + size, size // 2 : size // 2 + size] = part
    points = np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5], [1.5, 1.5]]) * size
    faint = (64 + picture // 2).astype(np.uint8)
    clean, pale = sharpness(picture, points), sharpness(faint, points)
    assert clean == pytest.approx(pale, rel=0.1)
    values = [
        sharpness(cv2.GaussianBlur(picture, (0, 0), share * size), points) for share in (0.03, 0.06, 0.12)
    ]
    assert clean > 0.25 > 0.2 > values[-1]
    assert values == sorted(values, reverse=True)
    assert np.isnan(sharpness(picture, points - 2 * size)), "outside of the picture"
    beside = np.array([[-1.2, 0.8], [0.8, -1.2], [-1.2, -1.2]]) * size
    assert np.isnan(sharpness(picture, beside)), "outside, but for a corner of the box around it"


class Reader:
    def __init__(self, frames: list[np.ndarray]) -> None:
        self.frames = np.stack([np.repeat(frame[..., None], 3, -1) for frame in frames])

    def read(self, indices: list[int]) -> np.ndarray:
        return self.frames[list(indices)]


def test_rows_of_a_video() -> None:
    points = np.random.default_rng(0).uniform((60, 60), (100, 180), (133, 2)).astype(np.float32)
    confidences = np.full(133, 0.9, np.float32)
    confidences[112:] = 0
    points[112:116] = (0, 0), (WIDTH, 0), (0, HEIGHT), (WIDTH, HEIGHT)  # not found: they hide no background
    person = Person(np.array([60, 60, 100, 180], np.float32), 0.9, points, confidences)
    info = PosesInfo(video_id="a", width_px=WIDTH, height_px=HEIGHT, fps=FPS, num_frames=13, models={})
    frames = [written(moved(room(4), 2 * k)) for k in range(13)]
    table = picture_evidence(Reader(frames), poses_table(info, [[(0, person)]] * 13), 13, FPS)
    assert table.schema == EVIDENCE_SCHEMA
    rows = table.to_pylist()
    assert [row["frame"] for row in rows] == [0, 3, 6, 9, 12]
    assert rows[0]["background_motion"] == pytest.approx(2 / HEIGHT * FPS, rel=0.1)
    assert rows[-1]["background_motion"] is None, "the last frame has none after it"
    assert all(row["right_hand_sharpness"] is None and 0 < row["left_hand_sharpness"] < 1 for row in rows)
    assert max(rows[0]["overlay_scores"]) > 80

"""Films are reproducible, and their truth is the truth."""

import numpy as np

from mimicmotion.synthetic.render import Visibility
from mimicmotion.synthetic.world import FPS, HEIGHT, WIDTH, film, make_videos
from mimicmotion.video.reader import open_video


def test_same_seed_same_film() -> None:
    one, two = film(5, 3), film(5, 3)
    assert np.array_equal(one.frames, two.frames)
    assert np.array_equal(one.keypoints, two.keypoints)
    assert not np.array_equal(one.frames, film(6, 3).frames)


def test_another_dance_keeps_the_dancer() -> None:
    one, two = film(5, 2), film(5, 2, dance_seed=77)
    assert np.array_equal(one.look, two.look)
    assert np.abs(one.keypoints - two.keypoints).max() > 5


def test_film_has_133_points_on_the_dancer() -> None:
    shown = film(11, 4, occluded=0.0, blurred=0.0)
    assert shown.frames.shape == (4, HEIGHT, WIDTH, 3)
    assert shown.keypoints.shape == (4, 133, 2)
    height = np.ptp(shown.keypoints[0, :, 1])
    assert 0.6 * HEIGHT < height < HEIGHT
    # The nose lies between the ears; feet lie below the head.
    assert shown.keypoints[0, 15:23, 1].min() > shown.keypoints[0, 0, 1]


def test_left_is_the_dancers_own_left() -> None:
    sides = [film(seed, 1, occluded=0).keypoints[0] for seed in range(20)]
    facing = [points for points in sides if points[5, 0] > points[6, 0]]
    assert len(facing) > 15


def test_points_behind_an_occluder_are_named() -> None:
    seen = np.concatenate([film(seed, 2, occluded=1.0).visibility.ravel() for seed in range(6)])
    assert (seen == Visibility.BEHIND_OCCLUDER).mean() > 0.02
    free = np.concatenate([film(seed, 2, occluded=0.0).visibility.ravel() for seed in range(6)])
    assert not (free == Visibility.BEHIND_OCCLUDER).any()
    assert (free == Visibility.VISIBLE).mean() > 0.6


def test_blur_is_measured_where_there_is_any() -> None:
    assert film(3, 3, blurred=0.0).blur_px.max() == 0
    assert film(3, 3, blurred=1.0).blur_px.max() > 0.2


def test_each_dancer_has_one_dance_to_test_on(tmp_path) -> None:
    paths = make_videos(tmp_path, range(900_000, 900_002), 2, 6, num_val_dancers=1)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "train/dancer_900000_0.mp4",
        "test/dancer_900000_1.mp4",
        "val/dancer_900000_2.mp4",
        "train/dancer_900001_0.mp4",
        "test/dancer_900001_1.mp4",
    ]
    reader = open_video(paths[0])
    assert (reader.num_frames, reader.width_px, reader.height_px) == (6, WIDTH, HEIGHT)
    assert abs(reader.fps - FPS) < 0.01
    first, other, another_dancer = (
        open_video(path).read([0])[0].astype(int) for path in (*paths[:2], paths[3])
    )
    # The room's upper left corner: the same for one dancer, another for another.
    assert np.abs(first - other)[:20, :20].mean() < 4 < np.abs(first - another_dancer)[:20, :20].mean()


def test_videos_are_written_once(tmp_path) -> None:
    (path,) = make_videos(tmp_path, range(900_000, 900_001), 1, 6)
    before = path.stat().st_mtime_ns
    make_videos(tmp_path, range(900_000, 900_001), 1, 6)
    assert path.stat().st_mtime_ns == before

"""Films beside a clip: each frame belongs to the same frame of the film, told by a marker drawn into it."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from marked_film import BAR_PX, FPS, HEIGHT, NUM_FRAMES, WIDTH, bar, make_film, number_in

from mimicmotion.clips.overlays import Overlay
from mimicmotion.pictures.conditions import FILMS, ClipConditions, further_people
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import read_track
from mimicmotion.video.files import iter_frames
from mimicmotion.video.framing import framing
from mimicmotion.video.picture_files import read_picture
from mimicmotion.video.reader import open_video
from mimicmotion.video.size import Size

STYLE = DrawingStyle(canvas_short_side_px=HEIGHT, draw_hands=False, draw_body=False)


def conditions(folder, frames, target=(WIDTH, HEIGHT), overlays=(), **film):
    video, poses = make_film(folder, **film)
    table = pq.read_table(poses)
    return ClipConditions(
        reader=open_video(video),
        track=read_track(table, NUM_FRAMES, 0, Size(WIDTH, HEIGHT)),
        others=further_people(table),
        overlays=overlays,
        frames=frames,
        fit=framing(Size(WIDTH, HEIGHT), [Size(*target)]),
        style=STYLE,
        threshold=0.3,
        face_px=32,
    )


@pytest.mark.parametrize("scale", [1, 2])
def test_every_film_shows_the_frames_of_the_clip_in_their_order(tmp_path, scale):
    frames = range(3, 23, 2)
    one = conditions(tmp_path, frames, (WIDTH * scale, HEIGHT * scale), others=(5, 7), faceless=(9,))
    one.write(tmp_path, 1, FPS)
    films = {name: list(iter_frames(tmp_path / f"{name}.mp4")) for name in FILMS}
    assert {len(film) for film in films.values()} == {len(frames)}
    assert number_in(read_picture(tmp_path / "reference.png"), scale) == 1
    for name in ("video", "hands", "person"):
        assert [number_in(picture, scale) for picture in films[name]] == list(frames), name
    middles = [np.where(film.max(axis=(0, 2)) > 128)[0].mean() for film in films["pose"] if film.max() > 128]
    drawn = [round((middle / scale - 1.5 - bar(0)) / BAR_PX) for middle in middles]
    assert drawn == [frame for frame in frames if frame != 9]
    assert [bool(picture.max() > 128) for picture in films["ignore"]] == [frame in (5, 7) for frame in frames]
    assert [bool(picture.max() > 128) for picture in films["face"]] == [frame != 9 for frame in frames]
    assert {picture.shape for picture in films["face"]} == {(32, 32, 3)}
    # The person's box covers the bar, so nothing is left of it where the box is.
    rows = slice(36 * scale, 74 * scale)
    assert max(int(picture[rows].max()) for picture in films["background"]) < 40
    assert films["background"][0][: 20 * scale].max() > 200


def test_masks_lie_where_boxes_are_and_only_sure_hands_count(tmp_path):
    one = conditions(tmp_path, [4], others=(4,))
    one.write(tmp_path, 0, FPS)
    (hands,), (ignore,) = (list(iter_frames(tmp_path / f"{name}.mp4")) for name in ("hands", "ignore"))
    rows, columns = np.where(hands[..., 0] > 128)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (bar(4), bar(4) + BAR_PX, 60, 68)
    rows, columns = np.where(ignore[..., 0] > 128)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (100, 104, 30, 80)
    assert one.hands.tolist() == [[True, False]]


def test_overlays_are_white_in_the_frames_that_show_them(tmp_path):
    logo = Overlay(first=3, end=5, left=4, top=2, right=20, bottom=12)
    one = conditions(tmp_path, [2, 3, 4, 5], (WIDTH * 2, HEIGHT * 2), overlays=[logo], others=(4,))
    one.write(tmp_path, 0, FPS)
    before, alone, beside, after = (picture[..., 0] > 128 for picture in iter_frames(tmp_path / "ignore.mp4"))
    assert [bool(mask.any()) for mask in (before, after)] == [False, False]
    rows, columns = np.where(alone)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (8, 40, 4, 24)
    person = np.zeros_like(alone)
    person[60:160, 200:208] = True
    np.testing.assert_array_equal(beside, alone | person)


def test_a_face_at_the_edge_is_padded_with_black(tmp_path):
    one = conditions(tmp_path, [0])
    track = one.track.cropped(bar(0) + 1, 0, Size(WIDTH, HEIGHT))
    moved = ClipConditions(one.reader, track, {}, (), [0], one.fit, STYLE, 0.3, 32)
    (face,) = moved.faces()
    assert not face[:, :8].any()


def test_a_point_of_the_face_that_was_not_found_does_not_stretch_the_picture_of_it(tmp_path):
    one = conditions(tmp_path, [4])
    keypoints, confidences = one.track.keypoints.copy(), one.track.confidences.copy()
    keypoints[4, 30], confidences[4, 30] = 0, 0
    (whole,) = one.faces()
    (missing,) = replace(one, track=replace(one.track, keypoints=keypoints, confidences=confidences)).faces()
    np.testing.assert_array_equal(missing, whole)

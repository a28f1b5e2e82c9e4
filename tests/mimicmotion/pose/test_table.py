"""Poses written and read back are the same; what is missing stays visible as missing."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from mimicmotion.errors import DataError
from mimicmotion.pose.layout import LEFT_HAND, RIGHT_HAND
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import POSES_SCHEMA, PosesInfo, poses_table, read_track
from mimicmotion.video.size import Size

INFO = PosesInfo(
    video_id="abc", width_px=128, height_px=192, fps=12.0, num_frames=4, models={"detector": "00"}
)


def person(seed, **confidences):
    random = np.random.default_rng(seed)
    scores = random.uniform(0.4, 1.1, 133).astype(np.float32)
    if "left" in confidences:
        scores[LEFT_HAND.start + 3] = confidences["left"]
    return Person(
        box=np.array([1, 2, 30, 40], np.float32) + seed,
        box_score=0.9,
        keypoints=random.uniform(0, 128, (133, 2)).astype(np.float32),
        confidences=scores,
    )


@pytest.fixture
def frames():
    return [[(1, person(10)), (0, person(0))], [], [(0, person(2, left=0.0))], [(0, person(3))]]


def test_rows_come_back(frames, tmp_path):
    table = poses_table(INFO, frames)
    assert table.schema.equals(POSES_SCHEMA)
    assert table["person"].to_pylist() == [0, 1, 0, 0]
    pq.write_table(table, tmp_path / "poses.parquet")
    for source in (table, tmp_path / "poses.parquet"):
        track = read_track(source, num_frames=4)
        assert (len(track), track.width_px, track.height_px) == (4, 128, 192)
        assert track.present.tolist() == [True, False, True, True]
        np.testing.assert_array_equal(track.keypoints[3], person(3).keypoints)
        np.testing.assert_array_equal(track.confidences[0], person(0).confidences)
        np.testing.assert_array_equal(track.boxes[3], person(3).box)
        assert not track.confidences[1].any()
        assert np.isnan(track.boxes[1]).all()
        other = read_track(source, num_frames=4, person=1)
        assert other.present.tolist() == [True, False, False, False]


def test_hands_have_boxes_unless_a_point_was_not_located(frames):
    table = poses_table(INFO, frames)
    assert table["left_hand_box"].is_null().to_pylist() == [False, False, True, False]
    track = read_track(table, num_frames=4)
    hand = person(3).keypoints[RIGHT_HAND]
    np.testing.assert_array_equal(track.hand_boxes[3, 1], [*hand.min(axis=0), *hand.max(axis=0)])
    assert np.isnan(track.hand_boxes[2, 0]).all()
    assert track.hand_confidences[2, 0] == 0
    assert track.hand_confidences[3, 0] == person(3).confidences[LEFT_HAND].min()
    assert track.hand_confidences[1].tolist() == [0, 0]


def test_an_empty_table_knows_its_video(tmp_path):
    pq.write_table(poses_table(INFO, [[], [], [], []]), tmp_path / "poses.parquet")
    table = pq.read_table(tmp_path / "poses.parquet")
    assert table.num_rows == 0
    assert PosesInfo.of(table) == INFO
    assert not read_track(table, num_frames=4).present.any()


def test_select_resize_and_crop_move_points_and_boxes_alike(frames):
    track = read_track(poses_table(INFO, frames), num_frames=4).select([3, 0, 3])
    np.testing.assert_array_equal(track.keypoints[0], track.keypoints[2])
    moved = track.resized(Size(256, 96)).cropped(10, 20, Size(50, 60))
    assert (moved.width_px, moved.height_px) == (50, 60)
    np.testing.assert_allclose(
        moved.keypoints[1], track.keypoints[1] * [2, 0.5] - [10, 20], rtol=1e-5, atol=1e-4
    )
    np.testing.assert_allclose(
        moved.boxes[1], track.boxes[1] * [2, 0.5, 2, 0.5] - [10, 20, 10, 20], rtol=1e-5
    )
    box = np.concatenate(
        [moved.keypoints[1, LEFT_HAND].min(axis=0), moved.keypoints[1, LEFT_HAND].max(axis=0)]
    )
    np.testing.assert_allclose(moved.hand_boxes[1, 0], box, rtol=1e-5)
    np.testing.assert_array_equal(moved.confidences, track.confidences)


def test_refuses_what_breaks_the_contract(frames):
    table = poses_table(INFO, frames)
    with pytest.raises(DataError, match="frames 0 to 3, the video has 2"):
        read_track(table, num_frames=2)
    with pytest.raises(DataError, match="schema"):
        read_track(table.drop_columns(["box"]), num_frames=4)
    with pytest.raises(DataError, match="metadata"):
        PosesInfo.of(table.replace_schema_metadata(None))
    with pytest.raises(DataError, match="3 frames"):
        poses_table(INFO, frames[:3])

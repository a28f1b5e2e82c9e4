"""Poses of other programs become ours: right frame by time, right pixel, right point."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimicmotion.errors import InputError
from mimicmotion.pose.importing import VideoShape, find_import, import_poses, shown_frames
from mimicmotion.pose.layout import LEFT_HAND, to_openpose
from mimicmotion.pose.openpose_json import read_json

VIDEO = VideoShape(
    num_frames=6, fps=12.0, width_px=100, height_px=200, source_width_px=300, source_height_px=600
)


def write(path, frames=range(12), fps=24.0, people=1, scale=1.0, **replaced):
    """A Parquet file whose point 0 of person p in frame f lies at (f / 100, p / 10)."""
    rows = [(f, p) for f in frames for p in range(people)]
    keypoints = np.full((len(rows), 133, 2), 0.5)
    keypoints[:, 0] = [(f / 100, p / 10) for f, p in rows]
    columns = {
        "frame": pa.array([f for f, _ in rows], pa.int32()),
        "time_s": pa.array([f / fps for f, _ in rows]),
        "person": pa.array([p for _, p in rows], pa.int16()),
        "box": pa.FixedSizeListArray.from_arrays(
            pa.array(np.tile([0.1, 0.2, 0.3, 0.4], len(rows)), pa.float32()), 4
        ),
        "box_score": pa.array([0.5] * len(rows), pa.float32()),
        "keypoints": pa.FixedSizeListArray.from_arrays(
            pa.array(keypoints.ravel() * scale, pa.float32()), 266
        ),
        "confidences": pa.FixedSizeListArray.from_arrays(
            pa.array([0.7] * 133 * len(rows), pa.float32()), 133
        ),
    }
    pq.write_table(pa.table({**columns, **replaced}), path)
    return path


def test_every_second_frame_of_a_faster_source(tmp_path):
    frames = import_poses(write(tmp_path / "a.parquet", people=2), VIDEO)
    assert [[number for number, _ in people] for people in frames] == [[0, 1]] * 6
    shown = [people[1][1].keypoints[0] for people in frames]
    np.testing.assert_allclose(shown, [(f, 20) for f in (0, 2, 4, 6, 8, 10)], atol=1e-4)
    person = frames[0][0][1]
    np.testing.assert_allclose(person.box, [10, 40, 30, 80], rtol=1e-5)
    assert person.box_score == 0.5


@pytest.mark.parametrize(
    ("source_fps", "fps", "wanted"),
    [
        (24, 24, [0, 1, 2, 3, 4, 5]),
        (8, 24, [0, 0, 0, 1, 1, 1]),
        (25, 24, [0, 1, 2, 3, 4, 5]),
        (30, 24, [0, 1, 2, 3, 5, 6]),
    ],
)
def test_each_instant_takes_the_frame_shown_then(source_fps, fps, wanted):
    frames = np.arange(10)
    assert shown_frames(frames, frames / source_fps, 6, fps) == wanted
    later = shown_frames(frames, frames / source_fps + 3.5, 6, fps)
    assert later == wanted


def test_a_frame_lasts_until_the_next_at_any_rate():
    times = np.array([0.0, 0.1, 0.8, 0.9, 1.0])
    assert shown_frames(np.arange(5), times, 10, 10) == [0, 1, 1, 1, 1, 1, 1, 1, 2, 3]


def test_a_frame_without_rows_has_nobody(tmp_path):
    frames = import_poses(write(tmp_path / "a.parquet", frames=[1, 2, 3, 5], fps=12.0), VIDEO)
    assert [len(people) for people in frames] == [0, 1, 1, 1, 0, 1]
    assert shown_frames(np.array([], int), np.array([]), 3, 12) == [None] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 1000.0}, "relative"),
        ({"time_s": pa.array([f / -24 for f in range(12)])}, "go back"),
        ({"person": pa.array([0] * 12), "frame": pa.array([0] * 12)}, "one row per frame"),
        ({"confidences": pa.array([[0.5] * 17] * 12)}, "133"),
        ({"time_s": pa.array([float("nan")] * 12)}, "finite"),
        ({"person": pa.array([40_000] * 12)}, "column person must lie within 0 and 32767"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        import_poses(write(tmp_path / "a.parquet", **change), VIDEO)


def test_what_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="no Parquet"):
        import_poses(tmp_path / "a.parquet", VIDEO)
    pq.write_table(pa.table({"frame": [1]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="lacks the columns"):
        import_poses(tmp_path / "b.parquet", VIDEO)


def test_files_are_found_by_path_then_by_name(tmp_path):
    assert find_import(tmp_path, "deep/clip.one.mp4") is None
    write(tmp_path / "clip.one.parquet")
    assert find_import(tmp_path, "deep/clip.one.mp4") == tmp_path / "clip.one.parquet"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "clip.one.json").write_text("[]")
    assert find_import(tmp_path, "deep/clip.one.mp4") == tmp_path / "deep" / "clip.one.json"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x_000_keypoints.json").write_text("{}")
    assert find_import(tmp_path, "other.mp4") == tmp_path / "other"


def flat(points, scores):
    return np.concatenate([points, scores[:, None]], axis=1).ravel().tolist()


@pytest.fixture
def person():
    random = np.random.default_rng(0)
    return random.uniform(10, 290, (133, 2)), random.uniform(0.4, 0.9, 133)


def as_openpose(keypoints, confidences):
    points, scores = to_openpose(keypoints, confidences)
    return {
        "pose_keypoints_2d": flat(points[:18], scores[:18]),
        "face_keypoints_2d": flat(
            np.concatenate([points[24:92], [[1, 1], [2, 2]]]), np.append(scores[24:92], [1, 1])
        ),
        "hand_left_keypoints_2d": flat(points[92:113], scores[92:113]),
        "hand_right_keypoints_2d": None,
    }


def test_openpose_files_give_the_same_points(tmp_path, person):
    for frame in range(3):
        people = [as_openpose(*person)] if frame else []
        (tmp_path / f"a_{frame:03}_keypoints.json").write_text(json.dumps({"people": people}))
    frames = import_poses(tmp_path, VIDEO)
    assert [len(people) for people in frames] == [0, 0, 1, 1, 1, 1]
    number, found = frames[2][0]
    assert number == 0
    np.testing.assert_allclose(found.keypoints[:17], person[0][:17] / 3, rtol=1e-5)
    np.testing.assert_allclose(found.keypoints[23:112], person[0][23:112] / 3, rtol=1e-5)
    np.testing.assert_allclose(found.confidences[LEFT_HAND], person[1][LEFT_HAND], rtol=1e-6)
    assert not found.confidences[112:].any()
    assert not found.confidences[17:23].any()


@pytest.mark.parametrize("relative", [False, True])
def test_one_file_with_a_canvas(tmp_path, person, relative):
    keypoints, confidences = person
    written = keypoints / 500 if relative else keypoints
    frame = {"people": [as_openpose(written, confidences)], "canvas_width": 500, "canvas_height": 500}
    (tmp_path / "a.json").write_text(json.dumps([frame]))
    found = read_json(tmp_path / "a.json", (1, 1))[0][0]
    np.testing.assert_allclose(found.keypoints[:17], keypoints[:17] / 500, rtol=1e-5)


def test_body_25_brings_feet(tmp_path, person):
    points = np.concatenate([person[0][:25], person[1][:25, None]], axis=1)
    frame = {"people": [{"pose_keypoints_2d": points.ravel().tolist()}]}
    (tmp_path / "a.json").write_text(json.dumps(frame))
    found = read_json(tmp_path / "a.json", (300, 300))[0][0]
    np.testing.assert_allclose(found.keypoints[11] * 300, points[12, :2], rtol=1e-5)
    np.testing.assert_allclose(found.keypoints[17:23] * 300, points[19:25, :2], rtol=1e-5)


def test_mmpose_predictions(tmp_path, person):
    instance = {"keypoints": person[0].tolist(), "keypoint_scores": person[1].tolist()}
    document = {"instance_info": [{"frame_id": 1, "instances": [instance]}, {"frame_id": 2, "instances": []}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    frames = read_json(tmp_path / "a.json", (300, 300))
    assert [len(people) for people in frames] == [1, 0]
    np.testing.assert_allclose(frames[0][0].keypoints * 300, person[0], rtol=1e-5)


@pytest.mark.parametrize(
    "document", [{}, [{"persons": []}], [{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}], [3]]
)
def test_json_of_another_form_is_refused(tmp_path, document):
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"a\.json"):
        read_json(tmp_path / "a.json", (1, 1))


def test_real_poses_can_be_imported(real_data):
    video = VideoShape(
        num_frames=288, fps=24.0, width_px=576, height_px=1024, source_width_px=1080, source_height_px=1920
    )
    frames = import_poses(real_data / "poses" / "musepose_dance.parquet", video)
    assert len(frames) == 288
    assert all(len(people) == 1 for people in frames)
    person = frames[100][0][1]
    assert 0 < person.keypoints[:17, 0].min() < person.keypoints[:17, 0].max() < 576

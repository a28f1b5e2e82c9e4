"""Poses of other programs become ours: right frame by time, right pixel, right point."""

import json
from dataclasses import replace
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimicmotion.errors import InputError
from mimicmotion.pose.files.importing import VideoShape, import_poses, shown_frames
from mimicmotion.pose.files.openpose_json import read_json
from mimicmotion.pose.layout import LEFT_HAND, to_openpose
from mimicmotion.pose.matching import match_imports
from mimicmotion.video.size import Size

VIDEO = VideoShape(
    num_frames=6,
    fps=12.0,
    size=Size(100, 200),
    source_size=Size(300, 600),
    source_frames=range(0, 12, 2),
    source_num_frames=12,
    source_length_s=0.5,
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
        ({"person": pa.array([1, 2] * 6)}, r"column person must hold the main person, 0, but holds \[1 2\]"),
        ({"box": pa.array([[30.0, 60.0, 90.0, 120.0]] * 12)}, "box must be relative .* reach 120"),
        (
            {"box": pa.array([[0.4, 0.3, 0.2, 0.6]] * 12)},
            "12 of 12 boxes are not x0, y0, x1, y1 .* of frame 0",
        ),
        ({"box": pa.array([[0.0, 0.0, 0.0, 0.0]] * 12)}, "boxes are not x0, y0, x1, y1"),
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
    def found(*sources):
        return [match.path or match.code for match in match_imports(tmp_path, sources).values()]

    assert found("deep/clip.one.mp4") == ["no_poses_to_import"]
    write(tmp_path / "clip.one.PARQUET")
    (tmp_path / "._clip.one.json").write_text("hidden")
    assert found("deep/clip.one.mp4") == [tmp_path / "clip.one.PARQUET"]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "clip.one.json").write_text("[]")
    assert found("deep/clip.one.mp4") == [tmp_path / "deep" / "clip.one.json"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x_000_keypoints.json").write_text("{}")
    (tmp_path / "other" / "loop").symlink_to(tmp_path)
    assert found("other.mp4", "x.mp4") == [tmp_path / "other", "no_poses_to_import"]


def test_one_file_for_two_videos_and_two_files_for_one_are_ambiguous(tmp_path):
    (tmp_path / "clip.json").write_text("[]")
    matches = match_imports(tmp_path, ["anna/clip.mp4", "ben/clip.mp4"])
    for match in matches.values():
        assert match.code == "ambiguous_poses"
        assert "clip.json" in match.sentence
        assert "anna/clip.mp4, ben/clip.mp4" in match.sentence
    matches = match_imports(tmp_path, ["clip.mp4", "ben/clip.mp4"])
    assert [match.code for match in matches.values()] == ["", "ambiguous_poses"]
    assert match_imports(tmp_path, ["clip.mp4", "clip.mov"])["clip.mov"].code == "ambiguous_poses"
    write(tmp_path / "clip.parquet")
    assert "clip.json, clip.parquet" in match_imports(tmp_path, ["clip.mp4"])["clip.mp4"].sentence


def test_names_are_equal_in_any_unicode_form_and_other_forms_are_named(tmp_path):
    (tmp_path / normalize("NFD", "für.json")).write_text("[]")
    (tmp_path / "b.npz").write_bytes(b"")
    matches = match_imports(tmp_path, [normalize("NFC", "für.mp4"), "b.mp4"])
    assert [match.path is not None for match in matches.values()] == [True, False]
    assert (
        "b.parquet, b.json or folder b of *_keypoints.json; b.npz is of a form" in matches["b.mp4"].sentence
    )


def body(k, n=25):
    """OpenPose's people of source frame k: the nose stands at (0.1 + 0.008 k) of the width."""
    points = [[(0.1 + 0.008 * k + 0.01 * (j % 5)) * 300, (0.2 + 0.02 * j) * 600, 0.9] for j in range(n)]
    return {"people": [{"pose_keypoints_2d": [value for point in points for value in point]}]}


def nose_frames(frames):
    """The source frame that each pose was made for, None where nobody is."""
    return [
        round((people[0][1].keypoints[0, 0] / 100 - 0.1) / 0.008) if people else None for people in frames
    ]


@pytest.mark.parametrize("name", ["{}_keypoints.json", "clip_{:012d}_keypoints.json", "a2_{}_keypoints.json"])
@pytest.mark.parametrize("first", [0, 1])
def test_the_number_in_a_name_is_the_frame(tmp_path, name, first):
    for k in range(12):
        (tmp_path / name.format(k + first)).write_text(json.dumps(body(k)))
    (tmp_path / "._0_keypoints.json").write_text("hidden")
    assert nose_frames(import_poses(tmp_path, VIDEO)) == [0, 2, 4, 6, 8, 10]
    if first == 0:
        (tmp_path / name.format(4)).unlink()
        assert nose_frames(import_poses(tmp_path, VIDEO)) == [0, 2, None, 6, 8, 10]
        (tmp_path / name.format(12)).write_text(json.dumps(body(12)))
        with pytest.raises(InputError, match="12 frames, numbered 0 to 12, but the video has 12 frames"):
            import_poses(tmp_path, VIDEO)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("1", "01"), "frame 1 2 times"),
        (("a_1", "b_2"), "several videos"),
        (("x", "1"), "x_keypoints.json has no number"),
    ],
)
def test_numbers_that_do_not_tell_are_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / f"{name}_keypoints.json").write_text(json.dumps(body(0)))
    with pytest.raises(InputError, match=message):
        import_poses(tmp_path, VIDEO)


@pytest.mark.parametrize("count", [0, 7, 11, 13])
def test_counts_that_do_not_fit_are_refused_with_both(tmp_path, count):
    (tmp_path / "a.json").write_text(json.dumps([body(k) for k in range(count)]))
    with pytest.raises(InputError, match=f"poses of {count} frames, but the video has 12 frames"):
        import_poses(tmp_path / "a.json", VIDEO)


@pytest.mark.parametrize("count", [6, 12])
def test_counts_of_the_source_or_of_the_normalised_video_fit(tmp_path, count):
    step = 12 // count
    (tmp_path / "a.json").write_text(json.dumps([body(step * k) for k in range(count)]))
    assert nose_frames(import_poses(tmp_path / "a.json", VIDEO)) == [0, 2, 4, 6, 8, 10]


def test_a_frame_id_is_the_frame_whatever_the_order(tmp_path, person):
    def document(ids):
        return {"instance_info": [{"frame_id": k, **body(k % 12)} for k in ids]}

    def noses(ids):
        (tmp_path / "a.json").write_text(json.dumps(document(ids)))
        return nose_frames(import_poses(tmp_path / "a.json", VIDEO))

    assert noses([11, *range(11)]) == [0, 2, 4, 6, 8, 10]
    assert noses([0, 4, 10]) == [0, None, 4, None, None, 10]
    for ids, message in (
        ([0, 4, 4], "frame 4 2 times"),
        ([0, 12], "2 frames, numbered 0 to 12, but the video has 12"),
        (range(6), "6 frames, numbered 0 to 5, but the video has 12 frames .normalised: 6"),
        (range(1, 7), "6 frames, numbered 1 to 6, but the video has 12 frames .normalised: 6"),
        ([0, "1"], "frame_id must be a whole number"),
        ([0, None], "1 of 2 frames have a number"),
    ):
        infos = [{"frame_id": k, **body(0)} for k in ids]
        (tmp_path / "a.json").write_text(json.dumps({"instance_info": infos}))
        with pytest.raises(InputError, match=message):
            import_poses(tmp_path / "a.json", VIDEO)


def test_a_film_of_varying_rate_whose_dancer_comes_late_is_matched_by_its_frames(tmp_path):
    # Eight frames at 8 a second, then sixteen at 16: two seconds, twelve a second on average.
    times = np.concatenate([np.arange(8) / 8, 1 + np.arange(16) / 16])
    shown = [int(np.searchsorted(times, t + 1e-9, side="right") - 1) for t in np.arange(24) / 12]
    film = replace(VIDEO, num_frames=24, source_frames=shown, source_num_frames=24, source_length_s=2.0)
    late = range(10, 24)
    path = write(tmp_path / "a.parquet", frames=late, time_s=pa.array(times[10:]))
    found = [round(people[0][1].keypoints[0, 0]) if people else None for people in import_poses(path, film)]
    assert found == [frame if frame in late else None for frame in shown]
    # Numbers at half the source's rate, and stamps that begin late: by time, as where it begins at zero.
    even = replace(VIDEO, num_frames=60, source_frames=range(0, 120, 2), source_num_frames=120)
    even = replace(even, source_length_s=5.0)
    frames = np.arange(10, 60)
    path = write(tmp_path / "b.parquet", frames=frames, time_s=pa.array(frames / 12 + 1.4))
    found = [round(people[0][1].keypoints[0, 0]) if people else None for people in import_poses(path, even)]
    assert found == [None] * 10 + [*range(10, 60)]


def test_poses_of_a_longer_or_a_faster_video_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"up to frame 23, by time_s 1.00 s, but the video has 12 frames"):
        import_poses(write(tmp_path / "a.parquet", frames=range(24)), VIDEO)
    with pytest.raises(InputError, match=r"up to frame 11, by time_s 0.20 s, but the video has 12 frames"):
        import_poses(write(tmp_path / "a.parquet", fps=60.0), VIDEO)


def test_a_canvas_of_another_shape_and_deep_nesting_are_refused(tmp_path):
    frames = [{**body(k), "canvas_width": 640, "canvas_height": 480} for k in range(12)]
    (tmp_path / "a.json").write_text(json.dumps(frames))
    with pytest.raises(InputError, match="canvas of 640 x 480 has another shape than the video of 300 x 600"):
        import_poses(tmp_path / "a.json", VIDEO)
    (tmp_path / "a.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(InputError, match="RecursionError"):
        import_poses(tmp_path / "a.json", VIDEO)


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
    for frame in range(12):
        people = [as_openpose(*person)] if frame > 3 else []
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
    found = read_json(tmp_path / "a.json", Size(1, 1)).people[0][0]
    np.testing.assert_allclose(found.keypoints[:17], keypoints[:17] / 500, rtol=1e-5)


def test_body_25_brings_feet(tmp_path, person):
    points = np.concatenate([person[0][:25], person[1][:25, None]], axis=1)
    frame = {"people": [{"pose_keypoints_2d": points.ravel().tolist()}]}
    (tmp_path / "a.json").write_text(json.dumps(frame))
    found = read_json(tmp_path / "a.json", Size(300, 300)).people[0][0]
    np.testing.assert_allclose(found.keypoints[11] * 300, points[12, :2], rtol=1e-5)
    np.testing.assert_allclose(found.keypoints[17:23] * 300, points[19:25, :2], rtol=1e-5)


def test_mmpose_predictions(tmp_path, person):
    instance = {"keypoints": person[0].tolist(), "keypoint_scores": person[1].tolist()}
    document = {"instance_info": [{"frame_id": 1, "instances": [instance]}, {"frame_id": 2, "instances": []}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    frames = read_json(tmp_path / "a.json", Size(300, 300)).people
    assert {number: len(people) for number, people in frames.items()} == {1: 1, 2: 0}
    np.testing.assert_allclose(frames[1][0].keypoints * 300, person[0], rtol=1e-5)


@pytest.mark.parametrize(
    "document", [{}, [{"persons": []}], [{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}], [3]]
)
def test_json_of_another_form_is_refused(tmp_path, document):
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"a\.json"):
        read_json(tmp_path / "a.json", Size(1, 1))


def test_real_poses_can_be_imported(real_data):
    video = VideoShape(
        num_frames=288,
        fps=24.0,
        size=Size(576, 1024),
        source_size=Size(1080, 1920),
        source_frames=range(288),
        source_num_frames=288,
        source_length_s=12.0,
    )
    frames = import_poses(real_data / "poses" / "musepose_dance.parquet", video)
    assert len(frames) == 288
    assert all(len(people) == 1 for people in frames)
    person = frames[100][0][1]
    assert 0 < person.keypoints[:17, 0].min() < person.keypoints[:17, 0].max() < 576


@pytest.mark.parametrize("unit", [1.0, 500.0])
def test_a_file_counts_in_shares_or_in_pixels_throughout(tmp_path, person, unit):
    shares, confidences = person[0] / 300, person[1]
    shares[5] = (0.4, 2.3)  # far below the picture
    frames = [{"people": [as_openpose(shares * unit, confidences)]} for _ in range(3)]
    (tmp_path / "a.json").write_text(json.dumps(frames))
    found = read_json(tmp_path / "a.json", Size(500, 500)).people
    assert len(found) == 3
    for people in found.values():
        np.testing.assert_allclose(people[0].keypoints[:5], shares[:5], rtol=1e-5)
    frames[1] = {"people": [as_openpose(shares * (501 - unit), confidences)]}
    (tmp_path / "a.json").write_text(json.dumps(frames))
    with pytest.raises(InputError, match=r"[12] of 3 frames count in shares .* and the others in pixels"):
        read_json(tmp_path / "a.json", Size(500, 500))


@pytest.mark.parametrize("factor", [3.0, 1.5])
def test_points_of_a_larger_picture_are_refused(tmp_path, person, factor):
    """Found in the original, for a film that was made smaller since."""
    frames = [{"people": [as_openpose(person[0] * factor, person[1])]} for _ in range(3)]
    (tmp_path / "a.json").write_text(json.dumps(frames))
    with pytest.raises(InputError, match=r"[0-9]+% of its points lie outside the picture of 300 x 300"):
        read_json(tmp_path / "a.json", Size(300, 300))
    assert len(read_json(tmp_path / "a.json", Size(900, 900)).people) == 3


def test_points_that_nobody_is_sure_of_may_lie_outside(tmp_path, person):
    keypoints, confidences = person[0].copy(), person[1].copy()
    keypoints[91:], confidences[91:] = 900, 0.01
    (tmp_path / "a.json").write_text(json.dumps([{"people": [as_openpose(keypoints, confidences)]}] * 3))
    assert len(read_json(tmp_path / "a.json", Size(300, 300)).people) == 3


def test_shares_from_minus_one_are_refused(tmp_path, person):
    frames = [{"people": [as_openpose(person[0] / 150 - 1, person[1])]} for _ in range(3)]
    (tmp_path / "a.json").write_text(json.dumps(frames))
    with pytest.raises(InputError, match=r"seems to count from -1 to 1 .*--keypoint_scale 3"):
        read_json(tmp_path / "a.json", Size(300, 300))


def test_numbers_from_one_that_end_early_are_told(tmp_path, person, caplog):
    frames = [{"frame_id": 1 + n, "people": [as_openpose(*person)]} for n in range(9)]
    (tmp_path / "a.json").write_text(json.dumps(frames))
    import_poses(tmp_path / "a.json", VIDEO)
    assert "frames 1 to 9 of 12 have poses; they are taken as counted from 0" in caplog.text


@pytest.mark.usefixtures("closed_folders")
def test_a_folder_of_poses_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "closed").mkdir()
    with pytest.raises(InputError, match=r"closed: cannot be searched for poses \(Permission denied\)"):
        match_imports(tmp_path, ["closed/a.mp4"])

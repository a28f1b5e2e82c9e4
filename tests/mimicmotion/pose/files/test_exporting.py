"""Exported poses, read back by the importer and by readers written from each form's documentation."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from mimicmotion.errors import InputError
from mimicmotion.pose.files.exporting import export_poses
from mimicmotion.pose.files.importing import VideoShape, import_poses
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
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
COCO_BODY_25 = {0: "nose", 2: 6, 3: 8, 4: 10, 5: 5, 6: 7, 7: 9, 9: 12, 10: 14, 11: 16, 12: 11, 13: 13, 14: 15}
"""OpenPose's BODY_25 -> COCO, from its documentation of the output."""


def person(frame, track):
    random = np.random.default_rng(100 * frame + track)
    keypoints = random.uniform([20 + 40 * track, 20], [30 + 40 * track, 180], (133, 2)).astype(np.float32)
    confidences = random.uniform(0.2, 1.15, 133).astype(np.float32)
    box = np.concatenate([keypoints.min(axis=0), keypoints.max(axis=0)])
    return Person(box, 0.9, keypoints, confidences)


def stored(num_people=1, missing=()):
    info = PosesInfo(video_id="v", width_px=100, height_px=200, fps=12.0, num_frames=6, models={})
    frames = [
        [] if frame in missing else [(track, person(frame, track)) for track in range(num_people)]
        for frame in range(6)
    ]
    return poses_table(info, frames), frames


@pytest.mark.parametrize("form", ["openpose", "dwpose", "parquet"])
def test_what_was_exported_is_imported_as_the_same_frames_and_points(tmp_path, form):
    table, frames = stored(missing={3})
    path = export_poses(table, VIDEO, tmp_path / "deep" / "anna_1", form)
    assert path.exists()
    found = import_poses(path, VIDEO)
    assert [len(people) for people in found] == [len(people) for people in frames] == [1, 1, 1, 0, 1, 1]
    for before, after in zip(frames, found, strict=True):
        for (track, was), (number, got) in zip(before, after, strict=True):
            assert number == track
            kept = was.confidences > (0.3 if form == "dwpose" else -1)
            np.testing.assert_allclose(got.keypoints[kept], was.keypoints[kept], atol=2e-3)
            wanted = kept if form == "dwpose" else was.confidences
            np.testing.assert_allclose(got.confidences, wanted, atol=6e-4)
    assert [path.name for path in path.parent.iterdir()] == [path.name]  # nothing half-written beside it


@pytest.mark.parametrize("form", ["openpose", "dwpose", "parquet"])
def test_a_film_that_shows_nobody_is_exported_and_read_back(tmp_path, form):
    table, _ = stored(missing=range(6))
    assert import_poses(export_poses(table, VIDEO, tmp_path / "a", form), VIDEO) == [[]] * 6


def test_several_people_keep_their_places_in_parquet(tmp_path):
    table, frames = stored(num_people=2)
    found = import_poses(export_poses(table, VIDEO, tmp_path / "a", "parquet"), VIDEO)
    assert [[track for track, _ in people] for people in found] == [[0, 1]] * 6
    np.testing.assert_allclose(found[4][1][1].keypoints, frames[4][1][1].keypoints, atol=1e-4)
    np.testing.assert_allclose(found[4][1][1].box, frames[4][1][1].box, atol=1e-4)


def test_an_openpose_reader_finds_every_part_of_every_source_frame(tmp_path):
    table, frames = stored()
    folder = export_poses(table, VIDEO, tmp_path / "a", "openpose")
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"a_{number:012d}_keypoints.json" for number in range(12)]
    for number, file in enumerate(files):
        (found,) = json.loads(file.read_text())["people"]
        was = frames[number // 2][0][1]
        body = np.reshape(found["pose_keypoints_2d"], (25, 3))
        for point, coco in COCO_BODY_25.items():
            ours = 0 if coco == "nose" else coco
            np.testing.assert_allclose(
                body[point], [*(was.keypoints[ours] * 3), was.confidences[ours]], atol=1e-3
            )
        np.testing.assert_allclose(body[8, :2], was.keypoints[[11, 12]].mean(axis=0) * 3, atol=1e-3)
        np.testing.assert_allclose(body[1, :2], was.keypoints[[5, 6]].mean(axis=0) * 3, atol=1e-3)
        np.testing.assert_allclose(body[19:25, :2], was.keypoints[17:23] * 3, atol=1e-3)
        lengths = {name: len(values) // 3 for name, values in found.items() if name.endswith("_2d")}
        assert lengths == {
            "pose_keypoints_2d": 25,
            "face_keypoints_2d": 70,
            "hand_left_keypoints_2d": 21,
            "hand_right_keypoints_2d": 21,
        }


def test_a_comfyui_reader_finds_a_list_of_frames_in_pixels_of_the_canvas(tmp_path):
    table, frames = stored()
    document = json.loads(export_poses(table, VIDEO, tmp_path / "a", "dwpose").read_text())
    assert len(document) == 12
    assert {(frame["canvas_width"], frame["canvas_height"]) for frame in document} == {(300, 600)}
    body = np.reshape(document[5]["people"][0]["pose_keypoints_2d"], (18, 3))
    np.testing.assert_allclose(body[4, :2], frames[2][0][1].keypoints[10] * 3, atol=1e-3)
    # Such readers drop what is below 1, and draw what is not.
    sure, all_of_it = frames[2][0][1].confidences > 0.3, document[5]["people"][0]
    for name, part in (("hand_left", slice(91, 112)), ("hand_right", slice(112, 133))):
        triples = np.reshape(all_of_it[f"{name}_keypoints_2d"], (21, 3))
        assert ((triples[:, 2] >= 1) == sure[part]).all()
        assert not triples[~sure[part]].any()


@pytest.mark.parametrize("form", ["openpose", "dwpose", "parquet"])
def test_a_confidence_below_zero_does_not_spoil_a_film(tmp_path, form):
    """Models whose scores are maxima of maps give some."""
    table, _ = stored()
    column = np.stack(table["confidences"].to_pylist()).astype(np.float32)
    column[2, 100] = -0.02
    spoilt = pa.FixedSizeListArray.from_arrays(pa.array(column.ravel()), 133)
    place = table.schema.get_field_index("confidences")
    table = table.set_column(place, table.schema.field(place), spoilt)
    found = import_poses(export_poses(table, VIDEO, tmp_path / "a", form), VIDEO)
    assert [len(people) for people in found] == [1] * 6
    assert found[2][0][1].confidences[100] == 0


def test_frames_that_the_normalised_film_repeats_are_one_of_the_source(tmp_path):
    slow = replace(VIDEO, source_frames=[0, 0, 1, 1, 2, 2], source_num_frames=3)
    table, frames = stored()
    document = json.loads(export_poses(table, slow, tmp_path / "a", "dwpose").read_text())
    assert len(document) == 3
    body = np.reshape(document[1]["people"][0]["pose_keypoints_2d"], (18, 3))
    np.testing.assert_allclose(body[0, :2], frames[3][0][1].keypoints[0] * 3, atol=1e-3)


def alphapose(points, image="4.jpg"):
    triples = [(10.0 * point, 5.0 * point + 1, 0.5 + 0.001 * point) for point in range(points)]
    keypoints = [value for triple in triples for value in triple]
    return {
        "image_id": image,
        "category_id": 1,
        "keypoints": keypoints,
        "score": 2.9,
        "box": [0, 0, 9, 9],
    }


@pytest.mark.parametrize(
    ("points", "ours"),
    [
        (17, {0: 0, 16: 16, 17: None, 91: None}),
        (26, {16: 16, 17: 20, 18: 22, 19: 24, 20: 21, 21: 23, 22: 25, 23: None}),
        (68, {17: 20, 23: None, 91: 26, 111: 46, 112: 47, 132: 67}),
        (133, {17: 17, 91: 91, 132: 132}),
        (136, {17: 20, 23: 26, 90: 93, 91: 94, 111: 114, 112: 115, 132: 135}),
    ],
)
def test_alphapose_in_each_of_its_orders(tmp_path, points, ours):
    shape = replace(VIDEO, source_size=Size(2000, 4000))
    (tmp_path / "a.json").write_text(json.dumps([alphapose(points)]))
    found = import_poses(tmp_path / "a.json", shape)
    assert [len(people) for people in found] == [0, 0, 1, 0, 0, 0]  # source frame 4 is shown third
    ((_, person),) = found[2]
    for point, theirs in ours.items():
        wanted = (0, 0, 0) if theirs is None else (theirs / 2, (5 * theirs + 1) / 20, 0.5 + 0.001 * theirs)
        np.testing.assert_allclose([*person.keypoints[point], person.confidences[point]], wanted, atol=1e-4)


def test_alphapose_by_image_and_what_is_none_of_its_forms(tmp_path):
    joints = [value for point in range(18) for value in (10 * point, 20, 0.9)]
    path = tmp_path / "a.json"
    for frame in ({"bodies": [{"joints": joints}]}, {"people": [{"pose_keypoints_2d": joints}]}):
        path.write_text(json.dumps({f"{number}.jpg": {"version": "0.3", **frame} for number in range(12)}))
        found = import_poses(path, VIDEO)
        assert [len(people) for people in found] == [1] * 6
        np.testing.assert_allclose(found[0][0][1].keypoints[10], [40 / 3, 20 / 3], rtol=1e-5)
        nobody = {name: [] for name in frame}
        path.write_text(json.dumps({f"{n}.jpg": nobody if n < 4 else frame for n in range(12)}))
        assert [len(people) for people in import_poses(path, VIDEO)] == [0, 0, 1, 1, 1, 1]
    path.write_text(json.dumps([alphapose(20)]))
    with pytest.raises(InputError, match="17, 26, 68, 133, 136 points, got 20"):
        import_poses(path, VIDEO)
    path.write_text(json.dumps([alphapose(17, image="x.jpg"), alphapose(17)]))
    with pytest.raises(InputError, match=r"image_id .x.jpg. has no number"):
        import_poses(path, VIDEO)


def test_results_of_coco_wholebody_bring_hands_face_and_feet(tmp_path):
    numbers = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    triples = [(2.0 * point, 4.0 * point, 0.5 + 0.001 * point) for point in range(133)]
    person, first = {"image_id": 4, "category_id": 1, "score": 2.0}, 0
    for name, number in numbers.items():
        person[name] = [value for triple in triples[first : first + number] for value in triple]
        first += number
    path = tmp_path / "a.json"
    path.write_text(json.dumps([person]))
    ((_, found),) = import_poses(path, VIDEO)[2]
    np.testing.assert_allclose(found.keypoints, np.array(triples)[:, :2] / 3, rtol=1e-5)
    np.testing.assert_allclose(found.confidences, np.array(triples)[:, 2], rtol=1e-6)
    del person["face_kpts"]
    path.write_text(json.dumps([person]))
    with pytest.raises(InputError, match="face_kpts"):
        import_poses(path, VIDEO)


def dwpose(frames, scored):
    """DWPose's dictionary: shares of the picture, -1 where not found, all left hands before the right."""
    points = np.random.default_rng(0).uniform(0.1, 0.9, (frames, 2, 134, 2))
    points[:, :, 30] = -1
    document = []
    for people in points:
        subset = np.array([[18 * person + part for part in range(18)] for person in range(2)])
        subset[0, 4] = -1
        frame = {
            "bodies": {"candidate": people[:, :18].reshape(36, 2).tolist(), "subset": subset.tolist()},
            "hands": np.concatenate([people[:, 92:113], people[:, 113:]]).tolist(),
            "faces": people[:, 24:92].tolist(),
            "foots": people[:, 18:24].tolist(),
        }
        if scored:
            frame["bodies"]["score"] = np.full((2, 18), 0.7).tolist()
            frame |= {
                "hands_score": np.full((4, 21), 0.6).tolist(),
                "faces_score": np.full((2, 68), 0.5).tolist(),
            }
        document.append(frame)
    return points, document


@pytest.mark.parametrize("scored", [False, True])
def test_dwposes_dictionaries_as_one_to_all_and_humanvid_hold_them(tmp_path, scored):
    points, document = dwpose(12, scored)
    (tmp_path / "a.json").write_text(json.dumps(document))
    found = import_poses(tmp_path / "a.json", VIDEO)
    people = [person for _, person in found[3]]
    wrists = sorted(tuple(person.keypoints[10] / [100, 200]) for person in people)
    np.testing.assert_allclose(wrists, sorted(map(tuple, points[6, :, 4])), atol=1e-6)
    first = min(people, key=lambda person: np.abs(person.keypoints[91] / [100, 200] - points[6, 0, 92]).sum())
    np.testing.assert_allclose(first.keypoints[112] / [100, 200], points[6, 0, 113], atol=1e-6)
    np.testing.assert_allclose(first.keypoints[17] / [100, 200], points[6, 0, 18], atol=1e-6)
    sure = first.confidences[[0, 10, 17, 23, 29, 91]]
    np.testing.assert_allclose(sure, [0.7, 0.7, 1, 0.5, 0, 0.6] if scored else [1, 0, 1, 1, 0, 1], atol=1e-6)


@pytest.mark.parametrize("raw", [False, True])
def test_a_frame_without_people_is_one_of_the_film(tmp_path, raw):
    _, document = dwpose(12, scored=True)
    empty = {"bodies": {"candidate": [], "subset": [], "score": []}, "hands": [], "faces": []}
    if raw:
        document = [{"candidate": np.full((1, 134, 2), 50.0).tolist(), "score": [[0.8] * 134]}] * 12
        empty = {"candidate": [], "score": []}
    for places in ((4,), (0, 4)):
        given = [empty if place in places else frame for place, frame in enumerate(document)]
        (tmp_path / "a.json").write_text(json.dumps(given))
        found = import_poses(tmp_path / "a.json", VIDEO)
        assert [bool(people) for people in found] == [place not in places for place in range(0, 12, 2)]


def test_one_to_alls_raw_form_counts_in_pixels(tmp_path):
    points = np.random.default_rng(0).uniform(50, 250, (12, 1, 134, 2))
    document = [{"candidate": one.tolist(), "score": np.full((1, 134), 0.8).tolist()} for one in points]
    (tmp_path / "a.json").write_text(json.dumps(document))
    found = import_poses(tmp_path / "a.json", VIDEO)
    np.testing.assert_allclose(found[1][0][1].keypoints[132], points[2, 0, 133] / 3, rtol=1e-5)

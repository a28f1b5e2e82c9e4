"""The clips stage as a plain function, on tiny videos whose poses are made up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from mimicmotion.clips.evidence import EVIDENCE_SCHEMA, picture_evidence
from mimicmotion.errors import StageError
from mimicmotion.pose.calibration import PARTS, Calibration, Curve
from mimicmotion.pose.files.importing import VideoShape, import_poses
from mimicmotion.pose.layout import to_openpose
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.video.files import write_preview
from mimicmotion.video.size import Size
from stages.clip_rows import EVIDENCE_FILE
from stages.clips import CLIPS_SCHEMA, Clips
from stages.decode import VIDEOS_SCHEMA
from stages.engine.contract import Context
from stages.engine.keys import key_fields, recipe_key

WIDTH, HEIGHT, FPS = 64, 96, 12.0


class Published:
    """A dataset with tables by item; files lie in a folder."""

    key = "key"

    def __init__(self, tables: Mapping[str, pa.Table], folder: Path = Path()) -> None:
        self._tables, self._folder = tables, folder
        self.evidence: Mapping[str, pa.Table] = {}
        self.ids = tuple(sorted(tables))

    def item_key(self, item_id: str) -> str:
        return f"key-{item_id}"

    def item_table(self, item_id: str) -> pa.Table:
        return self._tables[item_id]

    def table(self) -> pa.Table:
        return pa.concat_tables(self._tables[item_id] for item_id in self.ids)

    def path(self, item_id: str, name: str) -> Path | BytesIO:
        if name != EVIDENCE_FILE:
            return self._folder / item_id / name
        buffer = BytesIO()
        pq.write_table(self.evidence.get(item_id, EVIDENCE_SCHEMA.empty_table()), buffer)
        return buffer


class Reported:
    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}
        self.images: dict[str, np.ndarray] = {}
        self.tables: dict[str, pa.Table] = {}

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.numbers |= values

    def image(self, name: str, image: np.ndarray, step: int | None = None) -> None:
        self.images[name] = image

    def table(self, name: str, table: pa.Table) -> None:
        self.tables[name] = table


def video(video_id: str, num_frames: int = 40, **facts: object) -> pa.Table:
    row = dict.fromkeys(VIDEOS_SCHEMA.names) | {
        "video_id": video_id,
        "source": f"{video_id}.mp4",
        "width_px": WIDTH,
        "height_px": HEIGHT,
        "fps": FPS,
        "num_frames": num_frames,
        "scene_cuts": [],
        "fades": [],
        "hash_frames": [],
        "hashes": [],
        "bad_frames": [],
    }
    return pa.Table.from_pylist([row | facts], schema=VIDEOS_SCHEMA)


def dancer(frame: int, confidence: float = 0.9) -> Person:
    points = np.random.default_rng(0).uniform(10, 50, (133, 2)) + np.array([2 * np.sin(frame), 0])
    return Person(
        box=np.array([8, 8, 56, 88], np.float32),
        box_score=0.9,
        keypoints=points.astype(np.float32),
        confidences=np.full(133, confidence, np.float32),
    )


def poses(video_id: str, frames: list[list[Person]]) -> pa.Table:
    info = PosesInfo(
        video_id=video_id,
        width_px=WIDTH,
        height_px=HEIGHT,
        fps=FPS,
        num_frames=len(frames),
        models={"wholebody": "ab" * 32},
    )
    return poses_table(info, [list(enumerate(people)) for people in frames])


def solo(video_id: str, num_frames: int = 40, confidence: float = 0.9) -> pa.Table:
    return poses(video_id, [[dancer(k, confidence)] for k in range(num_frames)])


def make(**fields: object) -> Clips:
    """The stage over windows laid end to end, at the size of these videos."""
    return Clips(
        **{"num_frames": 8, "windows": "all", "sizes_px": [[WIDTH, HEIGHT]], "val_fraction": 0} | fields
    )


def run(
    stage: Clips,
    videos: Mapping[str, pa.Table],
    tracks: Mapping[str, pa.Table],
    evidence: Mapping[str, pa.Table] | None = None,
) -> list[dict]:
    inputs = {"decode": Published(videos), "pose": Published(tracks)}
    inputs["pose"].evidence = evidence or {}
    context = Context(report=Reported(), launch=None, state=Path())
    table = stage.run(inputs, Path(), context)
    assert table.schema == CLIPS_SCHEMA
    rows = table.to_pylist()
    assert len({row["clip_id"] for row in rows}) == len(rows)
    assert all(row["kept"] == (row["reason"] is None) == (row["sentence"] is None) for row in rows)
    return rows


def test_a_review_is_obeyed_and_kept_with_who_and_when(tmp_path: Path) -> None:
    rows = [
        f"v,0,27,reject,anna,2026-11-30T08:00:00+00:00,v.mp4,{2 * FPS}",
        "v,21,27,accept,ben,2026-11-30T09:00:00+00:00,v.mp4,",
        "gone,0,6,reject,ben,2026-11-30T09:00:00+00:00,gone.mp4,",
    ]
    columns = "video_id,first_frame,last_frame,decision,who,when,source,fps"
    (tmp_path / "list.csv").write_text("\n".join([columns, *rows]))
    frames = [[dancer(k, 0.2 if 21 <= k < 28 else 0.9)] for k in range(35)]
    stage = make(review=tmp_path / "list.csv", test_fraction=0)
    inputs = {"decode": Published({"v": video("v", 35)}), "pose": Published({"v": poses("v", frames)})}
    (tmp_path / "out").mkdir()
    table = stage.run(inputs, tmp_path / "out", Context(report=Reported(), launch=None, state=Path()))
    found = {row["first_frame"]: row["reason"] or "kept" for row in table.to_pylist()}
    assert found == {0: "review", 7: "review", 14: "kept", 21: "kept", 28: "kept"}
    assert table["sentence"][0].as_py() == "anna rejected it on 2026-11-30T08:00:00+00:00"
    assert (tmp_path / "out" / "review.csv").read_text().split() == [columns, *rows]


def test_no_review_leaves_the_recipe_as_it_was_and_a_changed_list_changes_it(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("video_id,first_frame,last_frame,decision,who,when\n")
    keys = [recipe_key(make()), recipe_key(make(review=tmp_path / "list.csv"))]
    (tmp_path / "list.csv").write_text(
        "video_id,first_frame,last_frame,decision,who,when\nv,0,6,reject,a,b\n"
    )
    keys.append(recipe_key(make(review=tmp_path / "list.csv")))
    assert len(set(keys)) == 3
    assert "review" not in key_fields(make())


def test_windows_references_and_numbers() -> None:
    stage = make(step=2, stride=10, test_fraction=0, reference_distance=3, max_references=4)
    rows = run(stage, {"a": video("a", split="train")}, {"a": solo("a")})
    assert [(row["clip_id"], row["first_frame"]) for row in rows] == [
        ("a-000000", 0),
        ("a-000010", 10),
        ("a-000020", 20),
    ]
    first = rows[0]
    assert (first["split"], first["num_frames"], first["step"]) == ("train", 7, 2)
    assert first["fps"] == 6.0
    assert first["reference_frames"] == [15, 23, 31, 39]
    assert first["mean_confidence"] == pytest.approx(0.9)
    assert first["box_height"] == pytest.approx(80 / 96)
    assert first["hand_reliability"] == 1.0
    assert first["motion"] > 0.05


def test_scenes_are_respected_and_short_ones_are_rows() -> None:
    rows = run(make(test_fraction=0), {"a": video("a", scene_cuts=[15, 20])}, {"a": solo("a")})
    assert [(row["first_frame"], row["reason"]) for row in rows] == [
        (0, None),
        (7, None),
        (15, "too_short"),
        (20, None),
        (27, None),
    ]
    assert rows[2]["sentence"] == "its scene has 5 frames, a window spans 7"
    assert all(frame < 15 for frame in rows[0]["reference_frames"])
    assert all(frame >= 20 for frame in rows[3]["reference_frames"])


def test_every_reject_is_a_row_with_its_reason() -> None:
    frames = [[dancer(k)] for k in range(42)]
    frames[3] = []
    frames[10] = [dancer(10), dancer(11)]
    frames[14:21] = [[dancer(k, 0.2)] for k in range(14, 21)]
    frames[28:35] = [[dancer(0)] for _ in range(7)]
    videos = {"a": video("a", 42, bad_frames=[21])}
    rows = run(make(test_fraction=0), videos, {"a": poses("a", frames)})
    assert [row["reason"] for row in rows] == [
        "no_person",
        "several_people",
        "low_visibility",
        "bad_frames",
        "too_still",
        None,
    ]


def test_no_usable_window_is_an_error_with_counts() -> None:
    videos = {"a": video("a"), "b": video("b", num_frames=5), "c": video("c")}
    stage = make(min_confidence=0.95, test_fraction=0)
    with pytest.raises(StageError) as caught:
        run(stage, videos, {"a": solo("a"), "b": solo("b", 5)})
    assert str(caught.value) == (
        "clips keeps none of 7 windows: 5 low_confidence, 1 too_short, 1 no_poses. "
        "clips.min_confidence = 0.95 rejected most (5): change it, or look at the poses that the pose "
        "stage shows."
    )


def test_test_video_gives_its_longest_run_whose_first_frame_is_the_reference_and_not_generated() -> None:
    videos = {"a": video("a", split="test", scene_cuts=[12]), "b": video("b", split="train")}
    frames = [[dancer(k)] for k in range(40)]
    frames[38] = []
    rows = run(make(), videos, {"a": poses("a", frames), "b": solo("b")})
    (clip,) = [row for row in rows if row["split"] == "test"]
    assert (clip["clip_id"], clip["first_frame"], clip["num_frames"]) == ("a-test", 13, 25)
    assert clip["reference_frames"] == [12]
    assert clip["split"] == "test"
    (short,) = [
        row
        for row in run(make(max_test_frames=9), videos, {"a": solo("a"), "b": solo("b")})
        if row["split"] == "test"
    ]
    assert (short["first_frame"], short["num_frames"]) == (1, 9)


def test_two_videos_serve_both_sides_and_the_split_stays() -> None:
    videos = {name: video(name) for name in "abc"}
    tracks = {name: solo(name) for name in "abc"}
    stage = make(test_fraction=0.01)
    split = {row["video_id"]: row["split"] for row in run(stage, videos, tracks)}
    assert sorted(split.values()) == ["test", "train", "train"]
    unseen = {row["video_id"]: row["split"] for row in run(stage, videos, {k: tracks[k] for k in "ab"})}
    assert {unseen["a"], unseen["b"]} == {"train", "test"}


def test_a_val_video_gives_windows_to_validate_on_and_a_clip_to_score() -> None:
    videos = {name: video(name, split=side) for name, side in (("a", "train"), ("b", "val"), ("c", "test"))}
    rows = run(make(windows="random"), videos, {name: solo(name) for name in "abc"})
    forms = [(row["video_id"], row["split"], row["form"], row["num_windows"]) for row in rows]
    assert forms == [
        ("a", "train", "window", 34),
        ("b", "val", "window", 34),
        ("b", "val", "clip", 1),
        ("c", "test", "clip", 1),
    ]
    assert [row["clip_id"] for row in rows if row["form"] == "clip"] == ["b-val", "c-test"]
    assert [row["unit"] for row in rows] == ["a", "b", "b", "c"]


def test_whole_videos_keep_every_frame_at_a_step_of_their_own() -> None:
    frames = [[dancer(k)] for k in range(40)]
    frames[18], frames[20] = [], [dancer(20), dancer(21)]
    videos = {"a": video("a", split="train"), "b": video("b", split="test", scene_cuts=[12])}
    stage = make(fps=4, test_clips="whole_video", test_step=1, max_test_frames=9)
    rows = run(stage, videos, {"a": solo("a"), "b": poses("b", frames)})
    (clip,) = [row for row in rows if row["split"] == "test"]
    assert (clip["first_frame"], clip["num_frames"], clip["step"], clip["kept"]) == (1, 39, 1, True)
    assert "max_test_frames" in stage.idle_fields()


def test_near_copies_are_on_one_side_or_rejected() -> None:
    videos = {name: video(name) for name in "abcdef"}

    def waving(name: str, seed: int) -> pa.Table:
        rng = np.random.default_rng(seed)
        speed, phase = rng.uniform(1, 4, (133, 1)), rng.uniform(0, 6, (133, 1))
        return poses(name, [[waver(dancer(0), 12 * np.sin(speed * k / 12 + phase))] for k in range(40)])

    def waver(person: Person, shift: np.ndarray) -> Person:
        return replace(person, keypoints=(person.keypoints + shift).astype(np.float32))

    tracks = {name: waving(name, k // 2) for k, name in enumerate("abcdef")}
    stage = make(test_fraction=0.4, val_fraction=0.2)
    split = {row["video_id"]: row["split"] for row in run(stage, videos, tracks)}
    assert split["a"] == split["b"]
    assert split["c"] == split["d"]
    assert split["e"] == split["f"]
    given = {name: video(name, split="test" if name == "b" else "train") for name in "abcdef"}
    reasons = {row["video_id"]: (row["reason"], row["sentence"]) for row in run(make(), given, tracks)}
    assert reasons["a"] == ("near_duplicate", "a.mp4 shows what b.mp4 shows, for test")
    assert reasons["b"] == (None, None)


def test_a_group_is_on_one_side_and_a_folder_of_everything_is_none() -> None:
    videos = {name: video(name, group="anna" if name in "abc" else "ben") for name in "abcdef"}
    tracks = {name: solo(name) for name in "abcdef"}
    split = {row["video_id"]: row["split"] for row in run(make(test_fraction=0.3), videos, tracks)}
    assert len({split[name] for name in "abc"}) == len({split[name] for name in "def"}) == 1


def test_fps_sets_the_step_of_each_video() -> None:
    videos = {"a": video("a", fps=30.0), "b": video("b", fps=12.0)}
    rows = run(make(num_frames=4, fps=6, test_fraction=0), videos, {name: solo(name) for name in "ab"})
    assert {(row["video_id"], row["step"]) for row in rows} == {("a", 5), ("b", 2)}


def test_fields_that_do_not_fit() -> None:
    with pytest.raises(ValidationError, match="step and fps say the same thing"):
        Clips(step=2, fps=8)
    with pytest.raises(ValidationError, match="stride is 3, but windows: random begin anywhere"):
        Clips(stride=3)
    with pytest.raises(ValidationError, match=r"multiples of 8, got \[\(64, 60\)\]"):
        Clips(sizes_px=((64, 60),))
    with pytest.raises(ValidationError, match="max_test_frames must be at least num_frames - 1 = 15, got 9"):
        Clips(max_test_frames=9)


def test_show(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        pictures = [np.full((HEIGHT, WIDTH, 3), 5 * k, np.uint8) for k in range(40)]
        write_preview(tmp_path / name / "video.mp4", pictures, FPS)
    videos = Published({name: video(name) for name in "abc"}, tmp_path)
    tracks = Published({"a": solo("a"), "b": solo("b", confidence=0.4)}, tmp_path)
    inputs, report = {"decode": videos, "pose": tracks}, Reported()
    stage = make()
    table = stage.run(inputs, tmp_path, Context(report=report, launch=None, state=tmp_path))
    stage.show(Published({"all": table}), inputs, report)
    assert report.numbers["windows"] == table.num_rows
    assert report.numbers["windows_no_poses"] == 1
    assert report.tables["clips"] == table
    summary = stage.summary(Published({"all": table}))
    windows = [row["kept"] for row in table.to_pylist() if row["form"] == "window"]
    assert f"{sum(windows)} of {len(windows)} windows kept" in summary
    assert "none to train on" not in summary
    lost = pc.if_else(pc.equal(table["split"], "train"), pa.scalar(False), table["kept"])
    spoilt = table.set_column(table.column_names.index("kept"), "kept", lost)
    assert stage.summary(Published({"all": spoilt})).endswith(", none to train on")
    rejects = {f"rejected/{reason}" for reason in table["reason"].to_pylist() if reason}
    assert {"rejected/no_poses", "rejected/low_confidence"} <= rejects
    assert set(report.images) == {"reasons", "histograms", "kept", *rejects}
    assert all(image.dtype == np.uint8 and image.ndim == 3 for image in report.images.values())
    # The same poses as probabilities, here improbable ones, are drawn darker.
    line, dark = Curve((0.0, 1.0), (0.01, 0.02)), Reported()
    Calibration("ab" * 32, dict.fromkeys(PARTS, line)).write(tmp_path / "c.json")
    calibrated = stage.model_copy(update={"calibration": tmp_path / "c.json"})
    # A video without poses, such as c, does not stop the stage.
    with pytest.raises(StageError, match="clips keeps none of"):
        calibrated.run(inputs, tmp_path, Context(report=report, launch=None, state=tmp_path))
    calibrated.show(Published({"all": table}), inputs, dark)
    assert dark.images["kept"].sum() < report.images["kept"].sum()


def test_every_row_says_in_how_many_frames_of_its_film_the_person_is_not() -> None:
    people = [[(0, dancer(k))] if k < 30 else [(1, dancer(k))] if k < 33 else [] for k in range(40)]
    info = PosesInfo(video_id="a", width_px=WIDTH, height_px=HEIGHT, fps=FPS, num_frames=40, models={})
    rows = run(make(test_fraction=0), {"a": video("a", split="train")}, {"a": poses_table(info, people)})
    assert {(row["video_frames_nobody"], row["video_frames_person_lost"]) for row in rows} == {(7, 3)}


def seen(num_frames: int = 40, **values: object) -> pa.Table:
    """Evidence of a still room with sharp hands and face, with changes."""
    row = {"background_motion": 0.0, "face_sharpness": 0.4, "overlay_cells": [], "overlay_scores": []}
    row |= {"left_hand_sharpness": 0.3, "right_hand_sharpness": None} | values
    rows = [{"frame": frame, **row} for frame in range(0, num_frames, 4)]
    return pa.Table.from_pylist(rows, schema=EVIDENCE_SCHEMA)


TEXT = {"overlay_cells": list(range(8 * 6, 8 * 12)), "overlay_scores": [200] * 48}
"""Half of the picture: six of twelve rows of eight cells."""


@pytest.mark.parametrize(
    ("evidence", "reason", "field", "value"),
    [
        ({"background_motion": 0.05}, "moving_camera", "max_background_motion", None),
        (TEXT, "overlay", "max_overlay_share", 0.6),
        ({"left_hand_sharpness": 0.1}, "blurred_hands", "min_hand_sharpness", 0),
        ({"face_sharpness": 0.1}, "blurred_face", "min_face_sharpness", 0),
    ],
)
def test_what_pictures_tell_rejects_by_its_limit(
    evidence: dict, reason: str, field: str, value: object
) -> None:
    videos, tracks = {"a": video("a", split="train"), "b": video("b", split="train")}, {}
    tracks = {name: solo(name) for name in "ab"}
    pictures = {"a": seen(**evidence), "b": seen()}
    rows = run(make(test_fraction=0), videos, tracks, pictures)
    assert {(row["video_id"], row["reason"]) for row in rows} == {("a", reason), ("b", None)}
    assert field in next(row["sentence"] for row in rows if row["reason"])
    kept = run(make(test_fraction=0, **{field: value}), videos, tracks, pictures)
    assert {row["reason"] for row in kept} == {None}


def test_a_kept_window_says_where_overlays_are_and_those_of_a_list_count_too(tmp_path: Path) -> None:
    videos, tracks = {"a": video("a", split="train")}, {"a": solo("a")}
    cells = {"overlay_cells": [0, 1, 8], "overlay_scores": [200, 200, 200]}
    (first, *_) = run(make(test_fraction=0), videos, tracks, {"a": seen(**cells)})
    assert first["ignore"] == [[0, 40, 0, 0, 16, 16]]
    assert first["overlay"] == pytest.approx(4 / 96)
    assert (
        run(make(test_fraction=0, overlay_threshold=0.7), videos, tracks, {"a": seen(**cells)})[0]["ignore"]
        == []
    )
    facts = {"source_width_px": WIDTH, "source_height_px": HEIGHT, "rotation_deg": 0}
    (tmp_path / "boxes.csv").write_text("video,left,top,right,bottom\na.mp4,8,8,24,16\n")
    stage = make(test_fraction=0, overlay_boxes=tmp_path / "boxes.csv")
    rows = run(stage, {"a": video("a", split="train", **facts)}, tracks, {"a": seen()})
    assert rows[0]["ignore"] == [[0, 40, 8, 8, 24, 16]]


def test_a_fade_ends_a_scene_and_its_frames_are_no_references() -> None:
    videos, tracks = {"a": video("a", split="train", fades=[[16, 26]])}, {"a": solo("a")}
    rows = run(make(test_fraction=0), videos, tracks)
    assert [(row["first_frame"], row["reason"]) for row in rows] == [
        (0, None),
        (7, None),
        (16, "fade"),
        (26, None),
        (33, None),
    ]
    assert all(frame < 16 for frame in rows[0]["reference_frames"])
    assert {row["reason"] for row in run(make(test_fraction=0, reject_fades=False), videos, tracks)} == {None}
    short = run(make(test_fraction=0), {"a": video("a", split="train", fades=[[16, 20]])}, tracks)
    assert [row["reason"] for row in short] == [None, None, "fade", None, None]


def test_a_hand_is_sure_once_or_the_window_is_rejected() -> None:
    frames = [[dancer(k, 0.9 if k == 3 else 0.7)] for k in range(14)]
    videos, tracks = {"a": video("a", 14, split="train")}, {"a": poses("a", frames)}
    rows = run(make(test_fraction=0, min_hand_confidence=0.8), videos, tracks)
    assert [row["reason"] for row in rows] == [None, "unsure_hands"]
    assert [round(row["hand_confidence"], 2) for row in rows] == [0.9, 0.7]


def test_imported_poses_without_hands_and_face_are_not_rejected_for_them(tmp_path: Path) -> None:
    for frame in range(40):
        person = dancer(frame)
        points, scores = to_openpose(person.keypoints, person.confidences)
        flat = np.concatenate([points, scores[:, None]], axis=1)[:18].ravel().tolist()
        people = {"people": [{"pose_keypoints_2d": flat}]}
        (tmp_path / f"a_{frame:03}_keypoints.json").write_text(json.dumps(people))
    size = Size(WIDTH, HEIGHT)
    shape = VideoShape(
        num_frames=40,
        fps=FPS,
        size=size,
        source_size=size,
        source_frames=range(40),
        source_num_frames=40,
        source_length_s=40 / FPS,
    )
    frames = import_poses(tmp_path, shape)
    info = PosesInfo(video_id="a", width_px=WIDTH, height_px=HEIGHT, fps=FPS, num_frames=40, models={})
    bodies = poses_table(info, frames)
    evidence = picture_evidence(Blank(), bodies, 40, FPS)
    videos = {"a": video("a", split="train")}
    rows = run(make(test_fraction=0), videos, {"a": bodies}, {"a": evidence})
    assert [row["reason"] for row in rows] == [None] * len(rows)
    unknown = {row[name] for row in rows for name in ("hand_confidence", "hand_sharpness", "face_sharpness")}
    assert unknown == {None}
    seldom = [[dancer(k, 0.1 if k < 20 else 0.9)] for k in range(40)]
    sure = run(
        make(test_fraction=0, min_confidence=0, min_visibility=0, min_motion=0),
        videos,
        {"a": poses("a", seldom)},
    )
    assert [row["reason"] for row in sure] == ["unsure_hands", "unsure_hands", None, None, None]


class Blank:
    """Pictures of nothing."""

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return np.zeros((len(indices), HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize("confidence", [1.0, 1.5])
def test_confidences_of_another_kind_of_model_are_told_by_name(confidence: float, caplog) -> None:
    videos = {name: video(name, split="train") for name in "ab"}
    tracks = {"a": solo("a", confidence=confidence), "b": solo("b")}
    rows = run(make(test_fraction=0), videos, tracks)
    assert {row["reason"] for row in rows} == {None}
    assert "a.mp4 was given poses of another kind of model" in caplog.text
    assert "b.mp4" not in caplog.text
    rows = run(make(test_fraction=0, odd_confidences="reject"), videos, tracks)
    assert {(row["video_id"], row["reason"]) for row in rows} == {("a", "odd_confidences"), ("b", None)}

"""``mimicmotion export-data`` and ``export-poses``: datasets become folders that other programs read."""

import csv
import json
import tarfile
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from marked_film import FPS, HEIGHT, NUM_FRAMES, WIDTH, make_datasets, number_in
from scored_clips import FakeDataset
from typer.testing import CliRunner

from flows import cli
from flows.commands import export_data as data_command
from flows.commands import export_poses as poses_command
from mimicmotion.errors import InputError
from mimicmotion.pose.files.importing import VideoShape, import_poses
from mimicmotion.pose.table import read_track
from mimicmotion.video.files import iter_frames
from mimicmotion.video.picture_files import read_picture

SOURCE = {
    "source_width_px": HEIGHT * 2,
    "source_height_px": WIDTH * 2,
    "rotation_deg": 90,
    "source_frames": list(range(NUM_FRAMES)),
    "source_num_frames": NUM_FRAMES,
    "trimmed_s": 0.0,
}


@pytest.fixture
def published(tmp_path, monkeypatch):
    rows = [
        {"first_frame": 0, "num_frames": 11, "step": 1},
        {"first_frame": 12, "num_frames": 12, "step": 1, "split": "val"},
    ]
    inputs = make_datasets(tmp_path, rows)
    facts = {**inputs["decode"].item_table("film").to_pylist()[0], **SOURCE}
    inputs["decode"].tables["film"] = pa.Table.from_pylist([facts])

    class FakePipeline:
        def __init__(self, config):
            pass

        def result(self, name):
            return inputs[name]

        def read_by(self, dataset):
            return {name: inputs[name] for name in ("decode", "pose")}

    def run_here(config, stage, datasets):
        tables, files = {}, {}
        for item in stage.items(datasets):
            folder = tmp_path / "items" / item.id
            folder.mkdir(parents=True, exist_ok=True)
            tables[item.id] = stage.process(stage.load(), item, folder)
            files |= {(item.id, path.name): path for path in folder.iterdir()}
        found = FakeDataset(tables, files)
        found.manifest = SimpleNamespace(fields={"num_frames": stage.num_frames})
        return found

    monkeypatch.setattr(data_command, "StageGraph", FakePipeline)
    monkeypatch.setattr(poses_command, "StageGraph", FakePipeline)
    monkeypatch.setattr(data_command, "run_part", run_here)
    return inputs


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "300"})


def test_clips_become_a_folder_for_a_trainer(published, tmp_path):
    out, texts = tmp_path / "out", tmp_path / "texts.csv"
    texts.write_text("path,text\nanna/film.mov,a slow dance\n")
    result = run("export-data", "demo", "--for", "videox-fun", "--out", out, "--captions", texts)
    assert result.exception is None, result.output
    assert f"{out}: clips: 1 train, 1 val; written for videox-fun" in result.stdout
    (clip,) = json.loads((out / "train" / "metadata.json").read_text())
    assert (clip["text"], clip["width"], clip["height"]) == ("a slow dance", WIDTH, HEIGHT)
    assert (out / "train" / clip["control_file_path"]).is_file()
    lineage = json.loads((out / "lineage.json").read_text())
    assert lineage["datasets"] == {"clips": "key", "decode": "key", "pose": "key"}
    assert lineage["config"]["clips"]["num_frames"] == 8
    again = run("export-data", "demo", "--for", "ltx", "--out", out)
    with pytest.raises(InputError, match="is there already"):
        raise again.exception


def named_files(folder, trainer):
    """Column -> file of the one clip of a split, as each trainer finds it: relative to the split's folder."""
    if trainer == "webdataset":
        with tarfile.open(folder / "000000.tar") as shard:
            shard.extractall(folder / "read", filter="data")
        return {path.name.partition(".")[2]: path for path in (folder / "read").iterdir()}
    if trainer == "diffsynth":
        (row,) = csv.DictReader((folder / "metadata.csv").read_text().splitlines())
    elif trainer == "huggingface":
        (row,) = pq.read_table(folder / "metadata.parquet").to_pylist()
    else:
        (path,) = folder.glob("*.json")
        (row,) = json.loads(path.read_text())
    return {name: folder / str(value) for name, value in row.items() if (folder / str(value)).is_file()}


MARKED = {
    "diffsynth": ("control_video", "reference_image", "video animate_inpaint_video animate_mask_video"),
    "videox-fun": ("control_file_path", "ref_file_path", "file_path background_file_path mask_file_path"),
    "ltx": ("reference_video", None, "video"),
    "huggingface": ("pose_file_name", "reference", "file_name background_file_name hands_file_name"),
    "webdataset": ("pose.mp4", "reference.png", "video.mp4 background.mp4 person.mp4 hands.mp4"),
}
"""Trainer -> columns of the pose film, of the reference, and of films with the marker itself."""


@pytest.mark.parametrize("trainer", MARKED)
def test_every_film_that_a_trainer_finds_shows_the_frames_that_the_export_names(published, tmp_path, trainer):
    out, (pose, reference, marked) = tmp_path / "out", MARKED[trainer]
    assert run("export-data", "demo", "--for", trainer, "--out", out).exception is None
    clips = pq.read_table(out / "clips.parquet").to_pylist()
    assert {clip["split"] for clip in clips} == {"train", "val"}
    for clip in clips:
        files = named_files(out / clip["split"], trainer)
        for column in marked.split():
            shown = [number_in(frame) for frame in iter_frames(files[column])]
            assert shown == clip["frames"], column
        poses = [frame.max(axis=(0, 2)) for frame in iter_frames(files[pose])]
        drawn = [round((np.flatnonzero(columns > 128).mean() - 9.5) / 4) for columns in poses]
        assert drawn == clip["frames"]
        assert reference is None or number_in(read_picture(files[reference])) == clip["reference_frame"]


@pytest.mark.parametrize(("options", "most"), [((), 81), (("--frames", "5"), 5)])
def test_a_length_is_the_trainers_unless_another_is_asked_for(published, tmp_path, options, most):
    assert (
        run("export-data", "demo", "--for", "diffsynth", "--out", tmp_path / "out", *options).exception
        is None
    )
    lineage = json.loads((tmp_path / "out" / "lineage.json").read_text())
    assert lineage["export"]["fields"] == {"num_frames": most}
    assert lineage["clips"] == ({"train": 1, "val": 1} if most == 81 else {"train": 2, "val": 2})


@pytest.mark.parametrize("form", ["openpose", "dwpose", "parquet"])
def test_poses_are_named_like_the_films_and_read_back(published, tmp_path, form):
    out = tmp_path / "poses"
    result = run("export-poses", "demo", "--form", form, "--out", out)
    assert result.exception is None, result.output
    path = out / "anna" / {"openpose": "film", "dwpose": "film.json", "parquet": "film.parquet"}[form]
    facts = published["decode"].item_table("film").to_pylist()[0]
    shape = VideoShape.of(facts)
    assert (shape.source_size.width_px, shape.fps) == (WIDTH * 2, FPS)
    found = import_poses(path, shape)
    track = read_track(published["pose"].item_table("film"), NUM_FRAMES)
    for frame, ((number, person),) in enumerate(found):
        assert number == 0
        found_here = track.confidences[frame] > (0.3 if form == "dwpose" else -1)
        assert found_here.any()
        assert abs(person.keypoints - track.keypoints[frame])[found_here].max() < 2e-3


def test_too_few_frames_for_a_trainer_are_refused(published, tmp_path):
    result = run("export-data", "demo", "--for", "ltx", "--frames", 8, "--out", tmp_path / "out")
    with pytest.raises(InputError, match=r"--frames 8: clips for ltx have 8 k \+ 1 frames, so 9 or more"):
        raise result.exception


def test_an_export_without_a_clip_says_that_no_stretch_is_long_enough(published, tmp_path, monkeypatch):
    monkeypatch.setattr(data_command, "run_part", lambda *_: FakeDataset({"all": []}))
    result = run("export-data", "demo", "--for", "ltx", "--out", tmp_path / "out")
    with pytest.raises(
        InputError, match="no stretch of kept windows is long enough: clips for ltx have at least 9"
    ):
        raise result.exception
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("outside", ["{root}/theirs/film.mp4", "../theirs/film.mp4"])
def test_poses_of_films_outside_of_the_source_stay_in_the_export(published, tmp_path, outside):
    theirs = tmp_path / "theirs" / "film"
    theirs.mkdir(parents=True)
    facts = published["decode"].item_table("film").to_pylist()[0] | {"source": outside.format(root=tmp_path)}
    published["decode"].tables["film"] = pa.Table.from_pylist([facts])
    result = run("export-poses", "demo", "--out", tmp_path / "poses")
    assert result.exception is None, result.output
    assert not [*theirs.iterdir()]
    assert (tmp_path / "poses" / "film" / "film_000000000000_keypoints.json").is_file()


@pytest.mark.parametrize(("source", "ends"), [("anna/film.mp4", True), ("anna.mp4", False)])
def test_two_films_of_one_name_are_refused_and_a_folder_of_a_films_name_is_none(
    published, tmp_path, source, ends
):
    facts = published["decode"].item_table("film").to_pylist()[0] | {"source": source}
    published["decode"].tables["twin"] = pa.Table.from_pylist([facts])
    published["pose"].tables["twin"] = published["pose"].tables["film"]
    published["pose"].ids = ("film", "twin")
    result = run("export-poses", "demo", "--out", tmp_path / "poses")
    if ends:
        with pytest.raises(InputError, match=r"anna/film.mov and anna/film.mp4 would both be anna/film"):
            raise result.exception
        assert not (tmp_path / "poses").exists()
    else:
        assert result.exception is None, result.output
        assert (tmp_path / "poses" / "anna" / "anna_000000000000_keypoints.json").is_file()
        assert (tmp_path / "poses" / "anna" / "film" / "film_000000000000_keypoints.json").is_file()

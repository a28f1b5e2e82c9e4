"""``mimicmotion export-data`` and ``export-poses``: datasets become folders that other programs read."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pytest
from marked_film import FPS, HEIGHT, NUM_FRAMES, WIDTH, make_datasets
from scored_clips import FakeDataset
from typer.testing import CliRunner

from flows import cli
from flows.commands import export_data as data_command
from flows.commands import export_poses as poses_command
from mimicmotion.errors import InputError
from mimicmotion.pose.files.importing import VideoShape, import_poses
from mimicmotion.pose.table import read_track

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
        assert abs(person.keypoints - track.keypoints[frame]).max() < 2e-3


def test_too_few_frames_for_a_trainer_are_refused(published, tmp_path):
    result = run("export-data", "demo", "--for", "ltx", "--frames", 8, "--out", tmp_path / "out")
    with pytest.raises(InputError, match=r"--frames 8: clips for ltx have 8 k \+ 1 frames, so 9 or more"):
        raise result.exception


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

"""The folder of an export is complete or not there, and says where all of it comes from."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from marked_film import make_datasets
from scored_clips import FakeDataset

from mimicmotion.errors import InputError
from stages.parts import export_folder
from stages.parts.export_clips import ExportClips
from stages.parts.export_folder import check_out, read_texts, write_export

TEXTS = {"anna/film.mov": "a dance"}


@pytest.fixture
def exported(tmp_path):
    rows = [
        {"first_frame": 0, "num_frames": 5, "step": 1},
        {"first_frame": 9, "num_frames": 5, "step": 1, "split": "test"},
    ]
    inputs, stage = make_datasets(tmp_path, rows), ExportClips(face_px=32)
    tables, files = {}, {}
    for item in stage.items(inputs):
        folder = tmp_path / "items" / item.id
        folder.mkdir(parents=True)
        tables[item.id] = stage.process(None, item, folder)
        files |= {(item.id, path.name): path for path in folder.iterdir()}
    found = FakeDataset(tables, files)
    found.manifest = SimpleNamespace(fields={"multiple": 1})
    return found


@pytest.mark.parametrize("trainer", ["diffsynth", "videox-fun", "ltx", "huggingface"])
def test_metadata_names_files_that_are_there(tmp_path, exported, trainer):
    out = tmp_path / "out"
    assert write_export(out, trainer, exported, TEXTS, {"datasets": {"clips": "k"}}) == {
        "train": 1,
        "test": 1,
    }
    assert sorted(path.name for path in out.iterdir()) == ["clips.parquet", "lineage.json", "test", "train"]
    name = export_folder.FORMS[trainer].metadata
    content = (out / "test" / name).read_bytes()
    names = [path.relative_to(out / "test").as_posix() for path in (out / "test").glob("*/*")]
    assert len(names) == 8
    unused = {"ltx": 6, "videox-fun": 2, "diffsynth": 2, "huggingface": 0}[trainer]
    assert sum(path.encode() not in content for path in names) == unused
    lineage = json.loads((out / "lineage.json").read_text())
    assert (lineage["for"], lineage["datasets"], lineage["export"]["dataset_key"]) == (
        trainer,
        {"clips": "k"},
        "key",
    )
    rows = pq.read_table(out / "clips.parquet").to_pylist()
    assert {row["split"]: (row["frames"], row["text"]) for row in rows} == {
        "train": ([0, 1, 2, 3, 4], "a dance"),
        "test": ([9, 10, 11, 12, 13], "a dance"),
    }


def test_shards_hold_the_films_themselves(tmp_path, exported):
    write_export(tmp_path / "out", "webdataset", exported, TEXTS, {})
    assert [path.name for path in (tmp_path / "out" / "train").iterdir()] == ["000000.tar"]


def test_an_export_that_fails_leaves_nothing(tmp_path, exported, monkeypatch):
    def broken(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(export_folder.pq, "write_table", broken)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OSError, match="no space"):
        write_export(tmp_path / "out", "diffsynth", exported, TEXTS, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("can_clone", [True, False])
def test_films_changed_in_place_change_nothing_in_the_workspace(tmp_path, exported, monkeypatch, can_clone):
    def cannot(*arguments):
        raise OSError("cross-device")

    if not can_clone:
        monkeypatch.setattr(export_folder.os, "copy_file_range", cannot)
    (tmp_path / "out").mkdir()
    write_export(tmp_path / "out", "ltx", exported, TEXTS, {})
    (film,) = (tmp_path / "out" / "train" / "video").iterdir()
    source = exported.path(film.stem, "video.mp4")
    before = source.read_bytes()
    assert film.read_bytes() == before
    film.write_bytes(b"changed by a trainer")
    assert source.read_bytes() == before


def test_a_folder_that_holds_something_is_refused(tmp_path):
    check_out(tmp_path / "new")
    check_out(tmp_path)
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="is there already: name another"):
            check_out(place)
    with pytest.raises(InputError, match=r"--out \. has no name: name a new folder, e\.g\. exported"):
        check_out(Path())


def test_texts_come_from_a_list_or_are_all_the_same(tmp_path):
    sources = ["a.mp4", "b/c.mp4"]
    assert read_texts(None, sources, "x") == {"a.mp4": "x", "b/c.mp4": "x"}
    path = tmp_path / "texts.csv"
    path.write_text('path,text\nb/c.mp4,"slow, then fast"\n')
    assert read_texts(path, sources, "x") == {"a.mp4": "x", "b/c.mp4": "slow, then fast"}
    path.write_text("path,text\n ./c.mp4,y\n")
    assert read_texts(path, sources, "x")["b/c.mp4"] == "y"
    for content, message in (
        ("path,text\nc.mp4,y\nb/c.mp4,z\n", "names b/c.mp4 more than once"),
        ("path,text\nz.mp4,y\n", "names z.mp4, which is no film of this config, or several; .*e.g. a.mp4"),
        ("path,text\na.mp4,y\na.mp4,z\n", "names a.mp4 more than once"),
        ("path,words\na.mp4,y\n", "has no column text; it has path, words"),
        ("path,text\na.mp4, \n", "has no text for a.mp4: write one, or leave the row out"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_texts(path, sources, "x")
    path = tmp_path / "texts.jsonl"
    path.write_text('{"path": "a.mp4", "text": null}\n')
    with pytest.raises(InputError, match=r"has no text for a\.mp4"):
        read_texts(path, sources, "x")

"""Each trainer's metadata, read by a reader written from its documentation."""

import csv
import io
import json
import tarfile
from pathlib import PurePath

import pyarrow.parquet as pq
import pytest

from mimicmotion.clips import trainers
from mimicmotion.clips.trainers import FORMS, ExportedClip, write_shards

PARTS = ("video", "pose", "face", "hands", "ignore", "person", "background")


def clip(number):
    name = f"film-00000{number}-000"
    files = {part: f"{part}/{name}.mp4" for part in PARTS} | {"reference": f"reference/{name}.png"}
    return ExportedClip(name, f'she "dances", {number}', 576, 1024, 81, 30.0, files)


CLIPS = [clip(0), clip(1)]


def read_diffsynth(content, extra_inputs):
    """UnifiedDataset: a row is a dict of the CSV's columns; data file keys and extra inputs name files."""
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    return [{"prompt": row["prompt"], **{key: row[key] for key in ("video", *extra_inputs)}} for row in rows]


def test_diffsynth_finds_the_inputs_of_wan_animate_control_and_vace():
    inputs = "input_image,animate_pose_video,animate_face_video,animate_inpaint_video,animate_mask_video"
    inputs += ",control_video,reference_image,vace_video,vace_reference_image"
    rows = read_diffsynth(FORMS["diffsynth"].write(CLIPS), inputs.split(","))
    assert [row["prompt"] for row in rows] == ['she "dances", 0', 'she "dances", 1']
    parts = {key: PurePath(path).parent.name for key, path in rows[1].items() if key != "prompt"}
    assert parts == {
        "video": "video",
        "input_image": "reference",
        "animate_pose_video": "pose",
        "animate_face_video": "face",
        "animate_inpaint_video": "background",
        "animate_mask_video": "person",
        "control_video": "pose",
        "reference_image": "reference",
        "vace_video": "pose",
        "vace_reference_image": "reference",
    }
    assert rows[1]["video"] == "video/film-000001-000.mp4"


def test_videox_fun_finds_a_list_with_every_path_and_the_size():
    rows = json.loads(FORMS["videox-fun"].write(CLIPS))
    assert rows[0] == {
        "file_path": "video/film-000000-000.mp4",
        "control_file_path": "pose/film-000000-000.mp4",
        "face_file_path": "face/film-000000-000.mp4",
        "ref_file_path": "reference/film-000000-000.png",
        "background_file_path": "background/film-000000-000.mp4",
        "mask_file_path": "person/film-000000-000.mp4",
        "text": 'she "dances", 0',
        "type": "video",
        "width": 576,
        "height": 1024,
    }
    assert len(rows) == 2


def test_ltx_finds_caption_video_and_reference_video():
    rows = json.loads(FORMS["ltx"].write(CLIPS))
    assert [sorted(row) for row in rows] == [["caption", "reference_video", "video"]] * 2
    assert PurePath(rows[0]["reference_video"]).parent.name == "pose"


def test_hugging_face_finds_one_film_per_column_that_ends_in_file_name(tmp_path):
    (tmp_path / "metadata.parquet").write_bytes(FORMS["huggingface"].write(CLIPS))
    table = pq.read_table(tmp_path / "metadata.parquet")
    films = {name for name in table.column_names if name == "file_name" or name.endswith("_file_name")}
    others = {f"{part}_file_name" for part in PARTS if part != "video"}
    assert films == {"file_name", *others}
    assert all(PurePath(path).suffix == ".mp4" for name in films for path in table[name].to_pylist())
    assert table["text"].to_pylist()[1] == 'she "dances", 1'
    assert table["num_frames"].to_pylist() == [81, 81]


def read_webdataset(path):
    """A sample is a run of members whose names agree up to the first dot; what follows it is the key."""
    samples = []
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            if not samples or samples[-1]["__key__"] != key:
                samples.append({"__key__": key})
            samples[-1][extension] = tar.extractfile(member).read()
    return samples


@pytest.mark.parametrize("shard_bytes", [1, 10**9])
def test_webdataset_finds_samples_in_shards_that_are_the_same_bytes_again(tmp_path, monkeypatch, shard_bytes):
    monkeypatch.setattr(trainers, "_SHARD_BYTES", shard_bytes)

    def path_of(clip, part):
        path = tmp_path / "files" / f"{clip.clip_id}-{part}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"{clip.clip_id} {part}".encode())
        return path

    assert write_shards(tmp_path / "a", CLIPS, path_of) == (2 if shard_bytes == 1 else 1)
    write_shards(tmp_path / "b", CLIPS, path_of)
    shards = sorted((tmp_path / "a").iterdir())
    assert [shard.name for shard in shards] == ["000000.tar", "000001.tar"][: len(shards)]
    assert all(shard.read_bytes() == (tmp_path / "b" / shard.name).read_bytes() for shard in shards)
    samples = [sample for shard in shards for sample in read_webdataset(shard)]
    assert [sample["__key__"] for sample in samples] == [clip.clip_id for clip in CLIPS]
    assert samples[1]["pose.mp4"] == b"film-000001-000 pose"
    assert samples[1]["reference.png"] == b"film-000001-000 reference"
    assert samples[1]["txt"].decode() == 'she "dances", 1'
    assert json.loads(samples[1]["json"])["width_px"] == 576

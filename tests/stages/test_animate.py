"""The animate stage as a plain function: a fake pipeline dances the real files."""

import json
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clip_table import clip_row
from pydantic import ValidationError

from mimicmotion.animation.checkpoint import CheckpointFacts
from mimicmotion.errors import MissingSourceError, RejectedItem
from mimicmotion.metrics.film.looks import FilmTools
from mimicmotion.metrics.settings import FilmJudgeSettings
from mimicmotion.pose.people import Person
from mimicmotion.pose.smoothing import smoothed
from mimicmotion.pose.table import PosesInfo, poses_table, read_track
from mimicmotion.video.files import iter_frames, write_preview
from mimicmotion.video.framing import framing
from mimicmotion.video.picture_files import write_picture
from mimicmotion.video.reader import PyavReader
from mimicmotion.video.size import Size
from stages.animate import ANIMATIONS_SCHEMA, Animate
from stages.clip_rows import framing_columns
from stages.clips import Clips
from stages.engine.keys import key_fields, recipe_key
from stages.parts.animating import animation_inputs
from stages.parts.pairs import is_pair

SIZE = Size(32, 48)
NUM_FRAMES = 12


class FakePipeline:
    """Gives back the reference, one level brighter for each frame; remembers what it was shown."""

    smaller = None

    def sample(self, image, poses, *, settings, generator, progress, retiled):
        self.poses = list(poses)
        self.settings = settings
        self.noise = generator.initial_seed()
        if self.smaller:
            retiled(settings.replaced(**self.smaller))
        return image, len(self.poses)

    def decode(self, latents, chunk_size):
        image, num_slots = latents
        for i in range(1, num_slots):
            yield np.clip(image.astype(int) + i, 0, 255).astype(np.uint8)


class FakePipelines:
    def __init__(self):
        self.pipeline = FakePipeline()
        self.facts = CheckpointFacts(num_frames=8, fps=6.0)
        self.warned = set()
        self.tools = None

    def at(self, checkpoint):
        return self.pipeline, self.facts


class FakeDataset:
    def __init__(self, rows, files=None):
        self.rows, self.files = rows, files or {}
        self.key = "dataset"
        self.ids = tuple(sorted(rows))

    def item_key(self, item_id):
        return f"key of {item_id}"

    def path(self, item_id, name):
        return self.files[item_id, name]

    def item_table(self, item_id):
        return pa.Table.from_pylist(self.rows[item_id])

    def table(self):
        return pa.concat_tables(self.item_table(i) for i in self.ids)


def person(shift):
    keypoints = np.random.default_rng(0).uniform(8, 24, (133, 2)) + np.array([0, shift])
    box = np.array([4, 4, 28, 44], np.float32)
    return Person(box, 0.9, keypoints.astype(np.float32), np.ones(133, np.float32))


@pytest.fixture
def inputs(tmp_path):
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 200, (1, 6, 4, 3)), NUM_FRAMES, axis=0).repeat(8, 1).repeat(8, 2)
    write_preview(tmp_path / "video.mp4", frames.astype(np.uint8), 12)
    info = PosesInfo(video_id="v", width_px=32, height_px=48, fps=12, num_frames=NUM_FRAMES, models={})
    people = [[] if i == 5 else [(0, person(i))] for i in range(NUM_FRAMES)]
    pq.write_table(poses_table(info, people), tmp_path / "table.parquet")
    window = {"first_frame": 1, "num_frames": 5, "step": 2, "fps": 6.0}
    clips = [
        clip_row("test-v", "v", "test", (32, 48), (16, 24), **window),
        clip_row("train-v", "v", "train", (32, 48), (16, 24), **window),
        clip_row("test-bad", "v", "test", (32, 48), (16, 24), **window, kept=False),
    ]
    video = {"video_id": "v", "source": "a/dancer.mp4", "width_px": 32, "height_px": 48, "fps": 12.0}
    video["num_frames"] = NUM_FRAMES
    return {
        "train": FakeDataset({"all": [{}]}, {("all", "checkpoint"): tmp_path / "checkpoint"}),
        "clips": FakeDataset({"all": clips}),
        "decode": FakeDataset({"v": [video]}, {("v", "video.mp4"): tmp_path / "video.mp4"}),
        "pose": FakeDataset({"v": []}, {("v", "table.parquet"): tmp_path / "table.parquet"}),
    }


def only_item(inputs, stage=None):
    items = list((stage or Animate()).items(inputs))
    assert [item.id for item in items] == ["test-v"]
    return items[0]


def test_one_item_per_kept_test_clip_keyed_by_its_own_window(inputs):
    item = only_item(inputs)
    assert item.label == "dancer.mp4 test-v"
    assert item.payload["frames"] == [1, 3, 5, 7, 9]
    assert item.payload["fps"] == 6.0
    inputs["clips"].rows["all"].append({**inputs["clips"].rows["all"][0], "clip_id": "test-w", "kept": False})
    assert only_item(inputs).inputs == item.inputs
    inputs["clips"].rows["all"][0]["first_frame"] = 0
    assert only_item(inputs).inputs != item.inputs


def test_a_clip_is_generated_at_the_size_of_the_checkpoint(inputs, tmp_path):
    loaded, folder = FakePipelines(), tmp_path / "out"
    folder.mkdir()
    table = Animate(seed=3, num_steps=2).process(loaded, only_item(inputs), folder)
    assert table.schema.equals(ANIMATIONS_SCHEMA)
    row = table.to_pylist()[0]
    assert (row["width_px"], row["height_px"], row["num_frames"], row["fps"]) == (16, 24, 5, 6.0)
    assert row["frames"] == [1, 3, 5, 7, 9]
    generated = np.stack(list(iter_frames(folder / "generated.mkv")))
    assert generated.shape == (5, 24, 16, 3)
    assert (np.diff(generated.astype(int), axis=0) == 1).all()  # stored without loss
    settings = loaded.pipeline.settings
    assert (settings.num_steps, settings.tile, settings.fps) == (2, 8, 6.0)
    assert loaded.pipeline.noise == 3


def test_slot_0_holds_the_pose_of_the_reference_and_absent_people_are_black(inputs, tmp_path):
    loaded = FakePipelines()
    Animate().process(loaded, only_item(inputs), tmp_path)
    poses = loaded.pipeline.poses
    assert len(poses) == 6
    assert poses[0].shape == (3, 24, 16)
    assert poses[0].max() > 0
    assert poses[3].max() == 0  # frame 5 has nobody
    heights = [np.argwhere(pose.max(0))[:, 0].mean() for pose in (poses[0], poses[1], poses[5])]
    assert heights[0] < heights[1] < heights[2]


def test_driving_poses_are_averaged_at_the_rate_of_the_video_and_the_reference_is_not(inputs):
    inputs["clips"].rows["all"][0] |= framing_columns(framing(SIZE, [SIZE]))
    item, facts = only_item(inputs), FakePipelines().facts
    found = read_track(item.payload["poses"], NUM_FRAMES, 0, SIZE)
    raw, _, _ = animation_inputs(item, facts)
    averaged, _, _ = animation_inputs(item, facts, smoothing_s=0.2)
    np.testing.assert_array_equal(averaged.reference_pose.keypoints, found.keypoints[:1])
    np.testing.assert_array_equal(raw.driving.keypoints, found.keypoints[item.payload["frames"]])
    expected = smoothed(found, 0.2, 12.0).keypoints[item.payload["frames"]]
    np.testing.assert_array_equal(averaged.driving.keypoints, expected)
    assert np.abs(expected - raw.driving.keypoints)[0].max() > 0.1


def test_no_more_than_a_few_true_frames_are_in_memory(inputs, monkeypatch):
    inputs["clips"].rows["all"][0] |= {"first_frame": 0, "num_frames": NUM_FRAMES, "step": 1}
    item, read = only_item(inputs), []
    monkeypatch.setattr("stages.parts.animating.READ_AT_A_TIME", 5)
    plain = PyavReader.read
    monkeypatch.setattr("mimicmotion.video.stillness.moving_camera", lambda *_: None)
    monkeypatch.setattr(
        PyavReader, "read", lambda self, chosen: read.append([*chosen]) or plain(self, chosen)
    )
    animation, true, _ = animation_inputs(item, FakePipelines().facts)
    assert read == [[item.payload["reference_frame"]]]
    shown = np.stack(list(true))
    assert read[1:] == [[*range(5)], [*range(5, 10)], [10, 11]]
    assert shown.shape == (NUM_FRAMES, *animation.size.shape, 3)


def test_an_overlap_that_does_not_fit_the_tile_is_told_before_training():
    six = {"clips": Clips(num_frames=6)}
    assert Animate().conflicts(six) == []
    assert Animate(overlap=5).conflicts(six) == []
    assert Animate(overlap=6, fusion="none").conflicts(six) == []
    for stage, overlap, tile in ((Animate(overlap=8), 8, 6), (Animate(tile=4, overlap=4), 4, 4)):
        (problem,) = stage.replaced(num_steps=2).conflicts(six)
        said = f"overlap is {overlap}, a tile has {tile} slots; allowed are 0 to {tile - 1}"
        assert problem.startswith(said)
    assert Animate(num_steps=3).replaced(num_steps=2).sampler(6).overlap == 4


@pytest.mark.parametrize("tile", [5, 6, 7, 8])
def test_what_is_sampled_follows_from_values_alone(tile):
    """A key holds values: the default, written or not, and a config that was written out, sample alike."""
    plain, written = Animate(tile=tile), Animate(tile=tile, overlap=6)
    again = Animate(**plain.model_dump())
    assert plain.sampler(16) == written.sampler(16) == again.sampler(16)
    assert plain.sampler(16).overlap == (6 if tile > 6 else tile - 2)


def test_smoothing_is_part_of_the_recipe_where_there_is_any():
    assert "smoothing_s" not in key_fields(Animate())
    assert recipe_key(Animate(smoothing_s=0.0)) == recipe_key(Animate())
    assert recipe_key(Animate(smoothing_s=0.1)) not in (
        recipe_key(Animate()),
        recipe_key(Animate(smoothing_s=0.2)),
    )
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValidationError, match="smoothing_s"):
            Animate(smoothing_s=wrong)


def test_the_preview_shows_four_panels_and_plays(inputs, tmp_path):
    Animate().process(FakePipelines(), only_item(inputs), tmp_path)
    import av

    with av.open(str(tmp_path / "preview.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == (
            "h264",
            "yuv420p",
            Fraction(6),
        )
        assert stream.frames == 5
        assert stream.width >= 4 * 16 * 16


def test_the_same_item_gives_the_same_bytes(inputs, tmp_path):
    content = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        Animate().process(FakePipelines(), only_item(inputs), folder)
        content.append({file.name: file.read_bytes() for file in sorted(folder.iterdir())})
    assert content[0] == content[1]


def test_a_reference_with_nobody_has_a_black_pose_and_cannot_be_aligned_with(inputs, tmp_path):
    inputs["clips"].rows["all"][0]["reference_frames"] = [5]
    loaded = FakePipelines()
    Animate().process(loaded, only_item(inputs), tmp_path)
    assert not loaded.pipeline.poses[0].any()
    with pytest.raises(RejectedItem, match=r"nobody is in frame 5.*animate\.alignment is robust") as caught:
        Animate(alignment="robust").process(loaded, only_item(inputs), tmp_path)
    assert caught.value.code == "no_reference_pose"


def test_driving_frames_with_nobody_are_rejected(inputs, tmp_path):
    inputs["clips"].rows["all"][0].update(first_frame=5, num_frames=1)
    with pytest.raises(RejectedItem, match="nobody is in any of the driving frames") as caught:
        Animate().process(FakePipelines(), only_item(inputs), tmp_path)
    assert caught.value.code == "no_driving_pose"


class FakeReport:
    def __init__(self):
        self.files, self.images = [], {}

    def metrics(self, values, step=0):
        self.logged = values

    def file(self, path, folder=""):
        self.files.append(f"{folder}/{Path(path).name}")

    def image(self, name, image, step=None):
        self.images[name] = image


def test_previews_and_a_grid_are_shown(inputs, tmp_path):
    Animate().process(FakePipelines(), only_item(inputs), tmp_path)
    report = FakeReport()
    dataset = FakeDataset(
        {"test-v": [{"clip_id": "test-v"}]}, {("test-v", "preview.mp4"): tmp_path / "preview.mp4"}
    )
    Animate().show(dataset, inputs, report)
    assert report.files == ["previews/test-v/preview.mp4"]
    assert report.images["reference_pose_generated_true"].ndim == 3
    assert report.logged == {}


class OneByOne:
    """Finds nobody in the films of one seed, and the driving pose in those of another."""

    files: ClassVar = {}

    def __init__(self, driving):
        self.driving, self.seen = driving, 0

    def people(self, chunks):
        for frames in chunks:
            for _ in frames:
                first, place = divmod(self.seen, len(self.driving))
                self.seen += 1
                yield [] if not first else [Person(np.zeros(4), 1.0, self.driving[place], np.ones(133))]


def test_the_best_of_several_tries_is_kept_and_all_scores_are_written(inputs, tmp_path):
    item, loaded = only_item(inputs), FakePipelines()
    driving = animation_inputs(item, loaded.facts)[0].driving
    loaded.tools = FilmTools(OneByOne(driving.keypoints))
    stage = Animate(tries=2, seed=5, judge=FilmJudgeSettings())
    row = stage.process(loaded, item, tmp_path).to_pylist()[0]
    assert row["seed"] == 6
    said = json.loads(row["judge"])
    assert (said["kept"]["seed"], [other["seed"] for other in said["others"]]) == (6, [5])
    assert said["kept"]["scores"]["judge_nobody"]["value"] == 0
    assert said["others"][0]["scores"]["judge_nobody"]["value"] == 1
    assert [path.name for path in tmp_path.glob("*.mkv")] == ["generated.mkv"]
    assert json.loads((tmp_path / "judge.json").read_text()) == said
    report = FakeReport()
    files = {("test-v", name): tmp_path / name for name in ("preview.mp4", "judge.png")}
    stage.show(FakeDataset({"test-v": [row]}, files), inputs, report)
    assert report.logged["judge_nobody"] == 0
    assert report.images["judge_test-v"].ndim == 3


def test_joins_are_judged_with_the_tile_that_memory_sufficed_for(inputs, tmp_path):
    item, loaded = only_item(inputs), FakePipelines()
    loaded.tools = FilmTools()
    stage = Animate(judge=FilmJudgeSettings())

    def joins():
        said = json.loads(stage.process(loaded, item, tmp_path).to_pylist()[0]["judge"])
        return said["kept"]["scores"]["judge_joins"]

    assert joins()["absent"] == "the film is one tile"
    loaded.pipeline.smaller = {"tile": 3, "overlap": 1}
    assert joins()["count"] == 3  # frames 2, 3 and 4


def test_tries_and_judge_at_their_defaults_are_no_part_of_the_recipe(tmp_path):
    weights = tmp_path / "dino.onnx"
    weights.write_bytes(b"graph")
    assert not {"tries", "judge"} & key_fields(Animate()).keys()
    judged = Animate(tries=3, judge=FilmJudgeSettings(appearance=weights))
    assert len(key_fields(judged)["judge"]["appearance"]["sha256"]) == 64
    assert judged.check() == []
    assert Animate(tries=3).check() == ["tries needs judge, which chooses among them"]


class Everywhere:
    """Finds one person in each frame."""

    files: ClassVar = {}

    def people(self, chunks):
        yield from ([person(0)] for frames in chunks for _ in frames)


def test_pairs_without_a_true_film_are_animated_and_judged_beside_the_clips(inputs, tmp_path):
    write_picture(tmp_path / "me.png", np.full((48, 32, 3), 90, np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    rows = ["image,video,name,seed", "me.png,video.mp4,a b,7", "text.png,video.mp4,bad,"]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("\n".join(rows))
    stage = Animate(pairs=pairs, tries=2, judge=FilmJudgeSettings())
    assert stage.check() == []
    assert Animate(pairs=pairs).check() == ["pairs needs judge, since nothing else can score them"]
    assert recipe_key(stage) == recipe_key(stage.replaced(pairs=None))
    (clip, *items) = stage.items(inputs)
    assert clip.id == "test-v"
    one, bad = items
    assert (one.label, bad.label) == ("a b", "bad")
    assert is_pair(one.id)
    # What a long film may take grows with its frames, and with the tries.
    assert (clip.num_frames, one.num_frames) == (2 * len(clip.payload["frames"]), 2 * 15)  # a second
    loaded = FakePipelines()
    loaded.tools = FilmTools(Everywhere())
    row = stage.process(loaded, one, tmp_path).to_pylist()[0]
    assert (row["video_id"], row["frames"], row["seed"], row["num_frames"]) == (None, None, 7, NUM_FRAMES)
    said = json.loads(row["judge"])
    assert (said["film"], len(said["others"])) == ("a b", 1)
    assert said["kept"]["scores"]["judge_nobody"]["value"] == 0
    assert len([*iter_frames(tmp_path / "generated.mkv")]) == NUM_FRAMES
    with pytest.raises(RejectedItem, match=r"bad: .*text\.png") as rejected:
        stage.process(loaded, bad, tmp_path)
    assert rejected.value.code == "unusable_pair"
    (tmp_path / "text.png").rename(tmp_path / "away.png")
    with pytest.raises(MissingSourceError, match=r"bad: .*text\.png cannot be reached"):
        stage.process(loaded, bad, tmp_path)
    (tmp_path / "away.png").rename(tmp_path / "text.png")
    write_picture(tmp_path / "me.png", np.full((48, 32, 3), 91, np.uint8))
    assert [*stage.items(inputs)][1].inputs != one.inputs
    pairs.write_text("image,video\nnobody.png,video.mp4\n")
    assert "nobody.png is not there" in stage.check()[0]

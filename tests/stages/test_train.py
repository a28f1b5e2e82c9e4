"""The train and latents stages as plain functions, on the small training world."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from busy_device import BusyDevice
from clip_table import clip_row
from pydantic import ValidationError
from safetensors.torch import load_file
from training_world import (
    NUM_FRAMES,
    FileReport,
    RecordedReport,
    make_clip,
    make_pipeline,
    train_and_be_killed,
)

from mimicmotion.animation.checkpoint import read_checkpoint_facts
from mimicmotion.errors import ConfigError, StageError
from mimicmotion.model.weights import load_encoders, load_pipeline
from mimicmotion.training.building import encoders_of
from mimicmotion.training.curves import publish_curves
from mimicmotion.training.data.batch import collate, loss_inputs
from mimicmotion.training.data.order import SampleIndex
from mimicmotion.training.data.samples import draw, make_sample
from mimicmotion.training.job import read_clips
from mimicmotion.training.settings import TrainingRuntime
from mimicmotion.video.framing import framing
from mimicmotion.video.reader import VideoReader
from mimicmotion.video.size import Size
from stages.adapters.ray import training as ray_training
from stages.engine.config import RaySettings, load_config
from stages.engine.contract import Context
from stages.latents import LATENTS_SCHEMA, Latents, Loaded, View
from stages.parts.exporting import export_checkpoint, wrote
from stages.train import TRAINED_SCHEMA, Distill, Train


class FakeDataset:
    def __init__(self, rows, files=None):
        self.rows, self.files = rows, files or {}
        self.key = "key"
        self.ids = tuple(sorted(rows))

    def item_key(self, item_id):
        return f"key of {item_id}"

    def path(self, item_id, name):
        return self.files[item_id, name]

    def item_table(self, item_id):
        return pa.Table.from_pylist(self.rows[item_id])

    def table(self):
        return pa.concat_tables(self.item_table(i) for i in self.ids)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    make_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Three videos; two with a window to train on, one of them rejected besides, and one to test on."""
    folder = tmp_path_factory.mktemp("videos")
    made = {name: make_clip(folder, name, (80, 80), n) for n, name in enumerate(("a", "b", "t"))}
    size = {"width_px": 80, "height_px": 80, "num_frames": NUM_FRAMES, "fps": 12.0}
    videos = {name: [{"video_id": name, "source": f"x/{name}.mp4", **size}] for name in made}

    def row(name, split, **changed):
        plain = {"first_frame": 2, "num_frames": 3, "step": 2, "reference_frames": [0, 9], "fps": 6.0}
        return clip_row(f"{name}-{split}", name, split, (80, 80), (64, 64), **{**plain, **changed})

    rows = [
        row("a", "train"),
        row("b", "train"),
        {**row("b", "train", kept=False, first_frame=0), "clip_id": "b-rejected"},
        row("t", "val", form="window"),
        row("t", "val", first_frame=4, form="window"),
        row("t", "val", first_frame=1, num_frames=12, step=1, reference_frames=[0]),
    ]
    return {
        "clips": FakeDataset({"all": rows}),
        "decode": FakeDataset(videos, {(name, "video.mp4"): clip.video for name, clip in made.items()}),
        "pose": FakeDataset(
            {name: [] for name in made}, {(name, "table.parquet"): clip.poses for name, clip in made.items()}
        ),
    }


@pytest.fixture
def stage(base):
    return Train(
        base=base,
        steps=2,
        batch=2,
        learning_rate=1e-3,
        warmup_steps=0,
        drawing={"canvas_short_side_px": 480},
        fps=6,
        precision="float32",
        validation_clips=0,
        runtime={"log_every": 1, "sample_steps": 2, "sample_guidance_scale": 1.0},
    )


@pytest.fixture
def context(tmp_path):
    def launch(loop, arguments, runtime):
        loop(arguments)

    return Context(RecordedReport(), launch, tmp_path / "state")


def test_training_leaves_a_checkpoint_that_animates(stage, inputs, context, tmp_path):
    table = stage.model_copy(update={"validation_clips": 1}).run(inputs, tmp_path, context)
    assert table.schema.equals(TRAINED_SCHEMA)
    row = table.to_pylist()[0]
    assert (row["checkpoint"], row["steps"], row["num_clips"], row["num_videos"]) == ("checkpoint", 2, 2, 2)
    assert row["validation_loss"] == context.report.values["loss/validation"][-1][1]

    checkpoint = tmp_path / "checkpoint"
    pipeline = load_pipeline(checkpoint)
    trained = load_file(context.state / "result" / "network.safetensors")
    assert torch.equal(pipeline.unet.conv_in.weight, trained["unet.conv_in.weight"])
    assert pipeline.guidance["canvas_short_side_px"] == 480
    assert row["released"] == "released.safetensors"
    released = load_file(tmp_path / "released.safetensors")
    assert all(torch.equal(released[name], value) for name, value in trained.items())
    facts = read_checkpoint_facts(checkpoint)
    assert (facts.sizes_px, facts.num_frames, facts.fps, facts.motion_bucket) == (((64, 64),), 4, 6.0, 127.0)
    assert json.loads((checkpoint / "training.json").read_text())["config"]["learning_rate"] == 1e-3


def test_a_student_learns_from_the_trained_model_and_says_how_it_is_to_be_sampled(
    stage, inputs, context, tmp_path
):
    make_pipeline(32).save_pretrained(tmp_path / "teacher")
    trained = FakeDataset({"all": []}, {("all", "checkpoint"): tmp_path / "teacher"})
    distill = Distill(**{**dict(stage), "noise": "align_your_steps", "steps": 1, "num_steps": 3})
    table = distill.run({**inputs, "train": trained}, tmp_path / "out", context)
    assert table.schema.equals(TRAINED_SCHEMA)
    facts = read_checkpoint_facts(tmp_path / "out" / "checkpoint")
    assert facts.sampling == {"num_steps": 3, "schedule": "align_your_steps", "guidance_scale": 1.0}
    training = json.loads((tmp_path / "out" / "checkpoint" / "training.json").read_text())
    assert training["inputs"]["train"] == "key"
    middle = context.state / "checkpoints" / "step-00000001"
    assert (wrote(distill, middle), wrote(stage, middle)) == (True, False)
    assert not wrote(distill.model_copy(update={"num_steps": 4}), middle)
    export_checkpoint(distill, middle, tmp_path / "exported")
    assert read_checkpoint_facts(tmp_path / "exported" / "checkpoint").sampling == facts.sampling
    assert distill.conflicts({"train": stage}) == []
    (problem,) = distill.model_copy(update={"fps": 7.0}).conflicts({"train": stage})
    assert "distill.fps is 7.0, train.fps is 6.0" in problem


def test_a_checkpoint_in_the_middle_is_exported_too(stage, inputs, context, tmp_path):
    stage.model_copy(update={"steps": 1}).run(inputs, tmp_path / "run", context)
    step = export_checkpoint(stage, context.state / "checkpoints" / "step-00000001", tmp_path / "out")
    assert step == 1
    facts = json.loads((tmp_path / "out" / "checkpoint" / "training.json").read_text())
    assert (facts["step"], facts["num_frames"], facts["fps"]) == (1, 4, 6.0)
    trained = load_file(context.state / "result" / "network.safetensors")
    exported = load_pipeline(tmp_path / "out" / "checkpoint")
    assert torch.equal(exported.unet.conv_in.weight, trained["unet.conv_in.weight"])


def test_the_same_run_leaves_the_same_bytes(stage, inputs, context, tmp_path):
    stage = stage.model_copy(update={"steps": 1})

    def files(name):
        folder = tmp_path / name
        stage.run(inputs, folder, Context(RecordedReport(), context.launch, tmp_path / f"state-{name}"))
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    first, second = files("first"), files("second")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_curves_and_pictures_are_published_and_shown_again(stage, inputs, context, tmp_path):
    """What was shown while training, but for speed and memory, which are no results."""
    table = stage.model_copy(update={"validation_clips": 1}).run(inputs, tmp_path / "out", context)
    rows = pq.read_table(tmp_path / "out" / "curves.parquet").to_pylist()
    shown = {
        (step, name): value
        for name, values in context.report.values.items()
        if not name.startswith(("speed/", "memory/"))
        for step, value in values
    }
    assert {(row["step"], row["name"]): row["value"] for row in rows} == shown
    assert {"loss/total", "loss/validation", "optimiser/learning_rate"} <= {name for _, name in shown}
    pictures = tmp_path / "out" / "pictures"
    images = {
        f"{name}.png" if step is None else f"{name}/step-{step:08d}.png"
        for name, _, step in context.report.images
    }
    files = {f"{folder}/{name}" for name, folder, _ in context.report.files}
    assert images
    assert files
    assert {
        str(path.relative_to(pictures)) for path in pictures.rglob("*") if path.is_file()
    } == images | files
    # Later, from what is published alone.
    names = ("curves.parquet", "pictures", "checkpoint/training.json")
    published = {("all", name): tmp_path / "out" / name for name in names}
    again = RecordedReport()
    stage.show(FakeDataset({"all": table.to_pylist()}, published), inputs, again)
    assert {(step, name): value for name, values in again.values.items() for step, value in values} == shown
    assert sorted(again.images, key=str) == sorted(context.report.images, key=str)
    assert sorted(again.files) == sorted(context.report.files)


def test_one_window_of_each_val_video_is_validated_on_and_read_as_pictures(stage, inputs, context):
    job = stage._job(inputs, context.state)
    (val,) = read_clips(job.test_clips)
    assert (val.frames, val.references, val.latents) == ((2, 4, 6), (0, 9), None)
    assert [clip.frames for clip in read_clips(job.clips)] == [(2, 4, 6)] * 2


def test_without_a_test_video_training_says_what_will_have_nothing_to_do(stage, inputs, context, caplog):
    stage._job(inputs, context.state)
    assert "no test video" in caplog.text
    caplog.clear()
    rows = inputs["clips"].rows["all"]
    tested = [*rows, {**rows[-1], "split": "test", "clip_id": "t-test"}]
    stage._job({**inputs, "clips": FakeDataset({"all": tested})}, context.state)
    assert "no test video" not in caplog.text


def test_epochs_become_steps(stage, inputs, context):
    by_epochs = Train.model_validate({**stage.model_dump(), "steps": None, "epochs": 7.0, "batch": 1})
    assert by_epochs._job(inputs, context.state).steps == 14


def test_a_run_that_stopped_early_says_how_to_go_on(stage, inputs, context, tmp_path):
    stopped = replace(context, launch=lambda loop, arguments, runtime: None)
    with pytest.raises(StageError, match=r"before its 2 steps were done.*Run the stage again"):
        stage.run(inputs, tmp_path, stopped)


def test_nothing_to_train_on_is_an_error(stage, inputs, context, tmp_path):
    rows = [{**row, "kept": False} for row in inputs["clips"].rows["all"]]
    with pytest.raises(StageError, match="no window to train on"):
        stage.run({**inputs, "clips": FakeDataset({"all": rows})}, tmp_path, context)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"steps": None}, "either steps or epochs"),
        ({"epochs": 3.0}, "either steps or epochs"),
        ({"runtime": {"workers": 2, "micro_batch": 3}, "batch": 8}, "micro_batch = 6, got 8"),
    ],
)
def test_fields_that_do_not_fit_are_refused(stage, changed, problem):
    with pytest.raises(ValidationError, match=problem):
        Train.model_validate({**stage.model_dump(), **changed})


def test_a_missing_package_is_named_before_anything_runs(stage, monkeypatch):
    monkeypatch.setattr("stages.train.find_spec", lambda name: None)
    assert stage.check() == []
    (problem,) = stage.model_copy(update={"optimiser": "adamw_8bit"}).check()
    assert problem.startswith("train.optimiser: adamw_8bit needs the package torchao")


@pytest.fixture
def latents(base, inputs, tmp_path):
    """The latents stage's dataset, made item by item."""
    stage = Latents(base=base, runtime={"chunk": 3})
    loaded = stage.load()
    rows, files = {}, {}
    for item in stage.items(inputs):
        folder = tmp_path / "latents" / item.id
        folder.mkdir(parents=True)
        table = stage.process(loaded, item, folder)
        assert table.schema.equals(LATENTS_SCHEMA)
        rows[item.id] = table.to_pylist()
        files[item.id, "latents.safetensors"] = folder / "latents.safetensors"
    return FakeDataset(rows, files)


def test_latents_hold_what_kept_windows_need_and_nothing_else(latents):
    assert latents.ids == ("a", "b")
    row = latents.rows["b"][0]
    assert (row["num_frames"], row["num_embeddings"], row["width_px"]) == (5, 2, 64)
    stored = load_file(latents.files["b", "latents.safetensors"])
    tensors = {name.removeprefix("80x80>64x64>0x0>64x64/"): tensor for name, tensor in stored.items()}
    assert tensors["frames"].tolist() == [0, 2, 4, 6, 9]
    assert tensors["embedded_frames"].tolist() == [0, 9]
    assert tensors["latents"].dtype == torch.float16


class BusyEncoders(BusyDevice):
    """Encoders that take 50 ms a picture."""

    scale = 1.0

    def latents(self, pictures):
        self.work(0.05 * len(pictures))
        return pictures[:, :, ::8, ::8].repeat(1, 2, 1, 1)[:, :4]

    def embeddings(self, pictures):
        return pictures.mean(dim=(2, 3))[:, None]


def test_reading_ahead_keeps_a_device_busy(base, inputs, tmp_path, monkeypatch):
    """Reading takes longer than encoding; with one thread the device waits, with four it does not."""
    read = VideoReader.read
    monkeypatch.setattr(
        VideoReader, "read", lambda self, some: (time.sleep(0.08 * len(some)), read(self, some))[1]
    )
    view = View(framing(Size(80, 80), [Size(64, 64)]), tuple(range(NUM_FRAMES)) * 2, (0,))
    video = next(iter(Latents(base=base).items(inputs))).payload["video"]
    idle, tensors = {}, {}
    for threads in (1, 4):
        stage = Latents(base=base, runtime={"chunk": 2, "decode_threads": threads})
        device = BusyEncoders()
        tensors[threads] = stage._encoded(Loaded(device, torch.device("cpu")), video, view)
        idle[threads] = device.idle
    assert idle[1] > 0.2
    assert idle[4] < 0.1
    assert all((tensors[1][name] == tensors[4][name]).all() for name in tensors[1])


@pytest.mark.parametrize(
    ("gpus", "precision", "half"), [(1, "bfloat16", True), (1, "float32", False), (0, "bfloat16", False)]
)
def test_a_gpu_encodes_in_half_precision_unless_told_otherwise(base, monkeypatch, gpus, precision, half):
    asked = {}
    monkeypatch.setattr(
        "mimicmotion.training.building.encoders_of",
        lambda *networks, half: asked.update(device=networks[-1].type, half=half),
    )
    Latents(base=base, precision=precision, runtime={"gpus_per_worker": gpus}).load()
    assert asked == {"device": "cuda" if gpus else "cpu", "half": half}


def test_an_item_depends_on_its_own_video_and_frames(base, inputs):
    stage = Latents(base=base)
    first = {item.id: item for item in stage.items(inputs)}
    rows = [dict(row) for row in inputs["clips"].rows["all"]]
    rows[0]["reference_frames"] = [0]
    rows[1]["mean_confidence"] = 0.5
    second = {item.id: item for item in stage.items({**inputs, "clips": FakeDataset({"all": rows})})}
    assert first["a"].inputs != second["a"].inputs
    assert first["b"].inputs == second["b"].inputs


def test_training_from_latents_equals_training_from_pictures(stage, base, inputs, latents, context):
    """The same samples at the same places, to the precision of half."""
    both = {"pictures": inputs, "latents": {**inputs, "latents": latents}}
    encoders = encoders_of(*load_encoders(base), torch.device("cpu"))
    batches = {}
    for name, some in both.items():
        job = stage._job(some, context.state / name)
        clips = read_clips(job.clips)
        drawn = [draw(clip, SampleIndex(n, 0, n), job.settings) for n, clip in enumerate(clips)]
        samples = [make_sample(clip, one, job.settings) for clip, one in zip(clips, drawn, strict=True)]
        batches[name] = loss_inputs(
            collate(samples, encoders.channels), encoders, torch.device("cpu"), 6, 127
        )
        assert (samples[0].frames is None) == (name == "latents")
    for name, value in batches["pictures"].items():
        torch.testing.assert_close(batches["latents"][name], value, atol=2e-3, rtol=2e-3, msg=name)


def test_training_runs_from_latents(stage, inputs, latents, context, tmp_path):
    stage.run({**inputs, "latents": latents}, tmp_path / "from-latents", context)
    other = replace(context, state=tmp_path / "other", report=RecordedReport())
    stage.run(inputs, tmp_path / "from-pictures", other)
    from_latents, from_pictures = (some.report.values["loss/total"] for some in (context, other))
    assert [v for _, v in from_latents] == pytest.approx([v for _, v in from_pictures], rel=2e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.reference_noise=fixed", "train.reference_noise is fixed, but stored latents know only clean"),
        ("train.mirror=0.5", "train.mirror is 0.5, but stored latents cannot be mirrored"),
        ("distill.mirror=0.5", "distill.mirror is 0.5, but stored latents cannot be mirrored"),
        ("latents.base=elsewhere", "latents.base is .*elsewhere, train.base is .*xt-1-1: set them alike"),
    ],
)
def test_what_stored_latents_cannot_give_is_told_at_the_start(change, said):
    with pytest.raises(ConfigError, match=said):
        load_config("paper-distilled", [change])


def test_a_student_hears_of_the_noise_that_its_teacher_knew():
    config = load_config("demo-distilled", ["train.reference_noise=fixed"])
    for name in ("train", "distill"):
        stage = config.stages[name]
        assert stage.learnt["noise_aug_strength"] == 0.02
    assert "noise_aug_strength" not in load_config("demo").stages["train"].learnt
    with pytest.raises(
        ConfigError, match=r"distill.reference_noise is lognormal, train.reference_noise is none"
    ):
        load_config("demo-distilled", ["distill.reference_noise=lognormal"])


def test_a_video_without_latents_is_named_and_left_out(stage, inputs, latents, context, caplog):
    del latents.rows["a"]
    latents.ids = ("b",)
    job = stage._job({**inputs, "latents": latents}, context.state)
    assert [clip.video.stem for clip in read_clips(job.clips)] == ["b"]
    assert "1 videos are left out, e.g. a: the latents stage rejected them" in caplog.text


def test_the_stages_show_their_datasets(stage, base, inputs, latents, tmp_path):
    report = RecordedReport()
    Latents(base=base).show(latents, inputs, report)
    assert [name for name, _, _ in report.images] == ["round_trip"]
    assert report.values["frames"] == [(0, 10.0)]

    (tmp_path / "training.json").write_text('{"fps": 6}')
    publish_curves(tmp_path / "nothing recorded", tmp_path)
    files = {
        ("all", name): tmp_path / Path(name).name for name in ("checkpoint/training.json", "curves.parquet")
    }
    row = {"checkpoint": "checkpoint", "steps": 2, "validation_loss": None}
    stage.show(FakeDataset({"all": [row]}, files), inputs, report)
    assert report.texts == {"training.json": '{"fps": 6}'}
    assert report.values.keys() == {"videos", "frames", "gigabytes"}


@pytest.fixture
def ray_launcher(tmp_path, monkeypatch):
    import ray

    fakes, root = Path(__file__).parents[1] / "fakes", Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{fakes}")  # workers import the fakes by name
    yield ray_training.RayLauncher("train", tmp_path / "ray", RaySettings(num_cpus=2))
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not os.environ.get("MIMICMOTION_FAULTS"), reason="takes minutes: set MIMICMOTION_FAULTS=1"
)
def test_a_run_that_loses_a_worker_to_kill_9_ends_by_itself_at_the_same_loss(
    stage, inputs, context, ray_launcher, tmp_path
):
    fields = {"steps": 8, "validation_clips": 1}
    alone = stage.model_copy(update=fields).run(inputs, tmp_path / "alone", context)

    def launch(loop, arguments, runtime):
        killed = {**arguments, "killed": tmp_path / "killed"}
        ray_launcher(train_and_be_killed, killed, runtime)

    runtime = stage.runtime.model_copy(update={"workers": 2, "checkpoint_every": 2, "retries": 1})
    report = FileReport(tmp_path / "report.jsonl")
    pair = stage.model_copy(update={**fields, "runtime": runtime})
    table = pair.run(inputs, tmp_path / "pair", Context(report, launch, tmp_path / "pair-state"))

    assert (tmp_path / "killed").exists()
    steps = [(line["pid"], line["step"]) for line in report.lines() if "loss/total" in line]
    first, second = (
        [step for pid, step in steps if pid == one] for one in dict.fromkeys(pid for pid, _ in steps)
    )
    assert first[0] == 1
    assert second[0] > 1, "the second group goes on from a checkpoint"
    assert second[-1] == 8
    ours, theirs = (one.to_pylist()[0]["validation_loss"] for one in (table, alone))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_bare_off_of_yaml_is_the_word() -> None:
    assert TrainingRuntime(activation_checkpointing=False).activation_checkpointing == "off"
    with pytest.raises(ValidationError):
        TrainingRuntime(activation_checkpointing=True)

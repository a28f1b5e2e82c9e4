"""The command: defaults from config and checkpoint, clear refusals, and one run with fake networks."""

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from flows.commands import animator
from flows.commands.animate import animate, find_sources, sampler_settings, shown_style
from mimicmotion.animation.checkpoint import CheckpointFacts
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.errors import InputError, MimicMotionError, WeightsError
from mimicmotion.pose.models.detector import Detections
from mimicmotion.pose.models.estimator import TopDownEstimator
from mimicmotion.pose.people import Person
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.video.files import iter_frames
from mimicmotion.video.size import Size

FACTS = CheckpointFacts(sizes_px=(Size(32, 48),), num_frames=8, fps=12.0, motion_bucket=100.0)


def run(*arguments):
    app = typer.Typer()
    app.command()(animate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_what_is_given_wins_over_the_config_and_that_over_the_release():
    config = {
        "num_steps": 10,
        "guidance_scale": 1.2,
        "tile": None,
        "sigma_max": 80.0,
        "runtime": {},
        "seed": 4,
    }
    plain = sampler_settings({}, {}, FACTS, 1.0)
    assert plain == SamplerSettings(tile=8, fps=12.0, motion_bucket_id=100.0)
    ours = sampler_settings({}, config, FACTS, 0.5)
    assert ours == plain.replaced(num_steps=10, guidance_scale=1.2, sigma_max=80.0, pose_strength=0.5)
    asked = sampler_settings({"num_steps": 3, "tile": 6, "fusion": "uniform"}, config, FACTS, 1.0)
    assert (asked.num_steps, asked.tile, asked.fusion, asked.guidance_scale) == (3, 6, "uniform", 1.2)
    # The default follows the tile; another overlap is held against it.
    assert (plain.overlap, asked.overlap) == (6, 4)
    assert sampler_settings({"tile": 6, "overlap": 5}, config, FACTS, 1.0).overlap == 5
    for given, configured in (({"overlap": 8}, {}), ({"tile": 6}, {"overlap": 7})):
        with pytest.raises(InputError, match=r"overlap is \d, a tile has \d slots; allowed are 0 to"):
            sampler_settings(given, configured, FACTS, 1.0)
    for strength in (float("inf"), float("nan")):
        with pytest.raises(InputError, match=r"--pose-strength: got (inf|nan), allowed: a finite number"):
            sampler_settings({}, {}, FACTS, strength)
    assert sampler_settings({}, {"fast": True}, FACTS, 1.0) == plain.fast()


def test_options_come_from_the_fields_with_their_limits():
    assert "--resolution" in run("--help").output
    refused = run("--out", "x.mp4", "--steps", 0)
    assert refused.exit_code == 2
    assert "--steps" in refused.output
    with pytest.raises(InputError, match=r"--sigma-max: got 0.0, allowed: greater than 0.002"):
        sampler_settings({"sigma_max": 0.0}, {}, FACTS, 1.0)
    with pytest.raises(InputError, match="--size 5 is not understood"):
        raise run("--out", "x.mp4", "--size", "5").exception


def test_parts_are_left_out_of_the_drawing():
    style = DrawingStyle(canvas_short_side_px=480)
    assert shown_style(style, [], True) == style
    assert shown_style(style, ["hands", "face"], False) == DrawingStyle(
        canvas_short_side_px=480, draw_hands=False, draw_face=False, use_confidence=False
    )
    with pytest.raises(InputError, match="choose one of body, hands, face"):
        shown_style(style, ["feet"], True)


def test_a_checkpoint_must_come_from_somewhere(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no checkpoint is given"):
        find_sources(None, None, None, None, None, tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match="which MLflow"):
        find_sources(None, "models:/mimicmotion@champion", None, None, None, tmp_path)
    with pytest.raises(MimicMotionError, match="nowhere"):
        find_sources("nowhere", None, None, None, None, tmp_path)
    demo = Path(__file__).parents[3] / "configs" / "demo.yaml"
    untrained = tmp_path / "untrained.yaml"
    untrained.write_text(f"extends: {demo}\nworkspace: {tmp_path / 'space'}\n")
    with pytest.raises(InputError, match=r"untrained has no trained model here(.|\n)*rebuild untrained"):
        find_sources(str(untrained), None, None, None, None, tmp_path)
    ours = find_sources(str(untrained), "a/b.pth", None, None, None, tmp_path).estimator
    assert (ours.detector.name, ours.score_threshold) == ("detector.onnx", 0.5)
    given = find_sources(None, "a/b.pth", Path("svd"), Path("d.onnx"), None, tmp_path)
    assert (given.checkpoint, given.base, given.estimator.detector) == (
        Path("a/b.pth"),
        Path("svd"),
        Path("d.onnx"),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "x.mp4"), "nothing drives"),
        (("--out", "x.mp4", "--video", "typo.mp4"), "no driving video at typo.mp4"),
        (("--out", "x.gif", "--video", "v.mp4"), "must end in .mp4"),
        (("--out", "x.mp4", "--video", "v.mp4", "--size", "576"), "write WIDTHxHEIGHT"),
        (("--out", "x.mp4", "--video", "v.mp4"), "no checkpoint is given"),
        (("--out", "x.mp4", "--video", "v.mp4", "--device", "cuda"), "torch finds no GPU here"),
    ],
)
def test_refusals_before_anything_is_loaded(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("v.mp4").write_bytes(b"a video, as far as can be seen before anything is loaded")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run("--image", "ref.png", *arguments)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


class FakeDetector:
    def prepare(self, frames):
        return np.stack(list(frames))

    def detect(self, prepared, frame_size):
        box = np.array([[4, 4, 28, 44]], np.float32)
        return [Detections(box, np.array([0.9], np.float32)) for _ in prepared]


class FakeWholeBody:
    def prepare(self, frame, boxes):
        return np.zeros((len(boxes), 1), np.float32)

    def estimate(self, crops, boxes):
        keypoints = np.random.default_rng(0).uniform(4, 28, (len(crops), 133, 2)).astype(np.float32)
        return keypoints, np.ones((len(crops), 133), np.float32)


class FakePipeline:
    def sample(self, image, poses, *, settings, generator, progress, retiled):
        self.image, self.num_slots, self.settings = image, len(list(poses)), settings
        for done in range(1, 4):
            progress(done, 3)
        return torch.zeros(self.num_slots)

    def decode(self, latents, chunk_size):
        yield from [self.image] * (len(latents) - 1)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A reference picture, stored poses, a checkpoint's facts, and fake networks."""
    Image.new("RGB", (64, 96), (90, 20, 20)).save(tmp_path / "ref.png")
    info = PosesInfo(video_id="v", width_px=32, height_px=48, fps=12, num_frames=6, models={})
    keypoints = np.random.default_rng(1).uniform(4, 28, (133, 2)).astype(np.float32)
    person = Person(np.array([4, 4, 28, 44], np.float32), 0.9, keypoints, np.ones(133, np.float32))
    pq.write_table(poses_table(info, [[(0, person)]] * 6), tmp_path / "poses.parquet")
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    training = {"sizes_px": [[32, 48]], "num_frames": 8, "fps": 12, "motion_bucket": 127}
    (checkpoint / "training.json").write_text(json.dumps(training))
    pipeline = FakePipeline()
    monkeypatch.setattr(animator, "_load", lambda sources, work: pipeline)
    models = TopDownEstimator(FakeDetector(), FakeWholeBody())
    monkeypatch.setattr(animator, "_pose_models", lambda sources, cuda: models)
    return tmp_path, pipeline


def test_a_run_writes_the_video_and_the_preview(world, caplog):
    caplog.set_level("INFO", logger="stages")
    tmp_path, pipeline = world
    result = run(
        *("--image", tmp_path / "ref.png", "--poses", tmp_path / "poses.parquet"),
        *("--checkpoint", tmp_path / "checkpoint", "--out", tmp_path / "out.mp4", "--align", "none"),
        *("--steps", 2, "--guidance-scale", 1.5, "--pose-strength", 0.7, "--hide", "face", "--device", "cpu"),
    )
    assert result.exception is None, result.output
    assert len(list(iter_frames(tmp_path / "out.mp4"))) == 6
    assert (tmp_path / "out.poses.png").is_file()
    assert pq.read_table(tmp_path / "out.poses.parquet").equals(pq.read_table(tmp_path / "poses.parquet"))
    said = json.loads((tmp_path / "out.judge.json").read_text())["kept"]["scores"]
    assert said["judge_background"]["absent"].startswith("without the driving film")
    assert said["judge_body"]["absent"] == "absent: no graphs in --detector and --wholebody"
    assert (tmp_path / "out.judge.png").is_file()
    assert "judge: colour drift" in " ".join(result.output.split())
    assert "sampling 3/3" in caplog.text
    assert "left) decoding and writing frames" in caplog.text
    assert "6 frames of 32x48 at 12 per second" in " ".join(result.output.split())
    assert "driving poses: of 6 frames 0 show nobody, 0 show others" in " ".join(result.output.split())
    settings = pipeline.settings
    assert (settings.num_steps, settings.guidance_scale, settings.tile) == (2, 1.5, 8)
    assert settings.pose_strength == 0.7


def test_tries_are_sampled_judged_and_one_is_kept(world):
    tmp_path, _ = world
    given = ("--image", tmp_path / "ref.png", "--poses", tmp_path / "poses.parquet", "--steps", 2)
    where = ("--checkpoint", tmp_path / "checkpoint", "--out", tmp_path / "out.mp4", "--align", "none")
    result = run(*given, *where, "--tries", 3, "--seed", 7, "--device", "cpu")
    assert result.exception is None, result.output
    said = json.loads((tmp_path / "out.judge.json").read_text())
    # All tries are alike here, so the first is kept.
    assert (said["kept"]["seed"], [one["seed"] for one in said["others"]]) == (7, [8, 9])
    assert "judge: seed 7, the best of 3; " in " ".join(result.output.split())
    assert len(list(iter_frames(tmp_path / "out.mp4"))) == 6
    unjudged = run(*given, *where, "--no-judge", "--tries", 2)
    assert "--tries needs the judge" in str(unjudged.exception)
    # What was said of the film before goes with that film.
    assert run(*given, *where, "--no-judge", "--device", "cpu").exception is None
    assert not (tmp_path / "out.judge.json").exists()
    assert not (tmp_path / "out.judge.png").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            WeightsError("the embedding gives no numbers"),
            "could not be judged: the embedding gives no numbers",
        ),
        (RuntimeError("CUDA out of memory"), "could not be judged: RuntimeError: CUDA out of memory"),
        (KeyboardInterrupt(), None),
        (KeyError("a fault of ours"), None),
    ],
)
def test_a_film_outlives_whatever_ends_its_judge(world, monkeypatch, error, said):
    tmp_path, _ = world

    def fail(*_):
        raise error

    monkeypatch.setattr("mimicmotion.animation.judged.judge_tries", fail)
    given = ("--image", tmp_path / "ref.png", "--poses", tmp_path / "poses.parquet", "--steps", 2)
    where = ("--checkpoint", tmp_path / "checkpoint", "--out", tmp_path / "out.mp4", "--align", "none")
    result = run(*given, *where, "--tries", 2, "--device", "cpu")
    assert said is None or f"made with seed 0, but {said}" in str(result.exception)
    assert not isinstance(error, KeyError) or result.exception is error
    assert len(list(iter_frames(tmp_path / "out.mp4"))) == 6
    assert not list(tmp_path.glob(".animate-*"))


def test_sigterm_leaves_nothing_half_made(world, monkeypatch):
    tmp_path, pipeline = world
    monkeypatch.setattr(pipeline, "decode", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    given = ("--image", tmp_path / "ref.png", "--poses", tmp_path / "poses.parquet", "--steps", 2)
    where = ("--checkpoint", tmp_path / "checkpoint", "--out", tmp_path / "out.mp4", "--align", "none")
    assert run(*given, *where, "--device", "cpu").exit_code
    assert not (tmp_path / "out.mp4").exists()
    assert not list(tmp_path.glob(".*"))
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_fast_preset_takes_fewer_steps(world):
    tmp_path, pipeline = world
    result = run(
        *("--image", tmp_path / "ref.png", "--poses", tmp_path / "poses.parquet"),
        *("--checkpoint", tmp_path / "checkpoint", "--out", tmp_path / "out.mp4", "--align", "none"),
        *("--fast", "--device", "cpu"),
    )
    assert result.exception is None, result.output
    assert (pipeline.settings.num_steps, pipeline.settings.schedule) == (8, "align_your_steps")


@pytest.mark.parametrize(("options", "steps"), [((), 3), (("--steps", 2), 2)])
def test_a_distilled_checkpoint_says_its_steps_and_needs_no_guidance(world, options, steps):
    tmp_path, pipeline = world
    facts = tmp_path / "checkpoint" / "training.json"
    asked = {"num_steps": 3, "schedule": "align_your_steps", "guidance_scale": 1.0}
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "sampling": asked}))
    files = (
        *("--image", tmp_path / "ref.png", "--poses", tmp_path / "poses.parquet"),
        *("--checkpoint", tmp_path / "checkpoint", "--out", tmp_path / "out.mp4", "--align", "none"),
    )
    result = run(*files, *options, "--device", "cpu")
    assert result.exception is None, result.output
    settings = pipeline.settings
    assert (settings.num_steps, settings.schedule, settings.guidance_scale) == (
        steps,
        "align_your_steps",
        1.0,
    )
    shown = " ".join(result.output.split())
    assert f"{steps} steps, tiles of 8 (trained: 8)" in shown
    assert "no guidance pass: the checkpoint is distilled to 3 steps" in shown
    for refused in (("--fast",), ("--guidance-scale", 2)):
        assert "but the checkpoint is distilled" in str(run(*files, *refused).exception)


def test_pairs_are_answered_in_one_run(world):
    tmp_path, pipeline = world
    (tmp_path / "other.parquet").write_bytes(b"no table")
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(
        "image,poses,name,seed\nref.png,poses.parquet,007,3\nref.png,other.parquet,,\nref.png,poses.parquet,,\n"
    )
    asked = (
        *("--pairs", pairs, "--checkpoint", tmp_path / "checkpoint", "--out", tmp_path / "results"),
        *("--align", "none", "--device", "cpu"),
    )
    result = run(*asked)
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("1 of 3 pairs could not be animated:\nref_other: ")
    assert {path.name for path in (tmp_path / "results").glob("*.mp4")} == {"007.mp4", "ref_poses.mp4"}
    (tmp_path / "other.parquet").write_bytes((tmp_path / "poses.parquet").read_bytes())
    pipeline.settings = None
    again = run(*asked)
    assert again.exception is None, again.output
    assert " ".join(again.output.split()).count("is there already") == 2
    assert len(list(iter_frames(tmp_path / "results" / "ref_other.mp4"))) == 6
    (tmp_path / "results" / "007.judge.json").unlink()  # as where an earlier run was stopped while judging
    unjudged = run(*asked)
    assert "1 of 3 pairs could not be animated:\n007: " in str(unjudged.exception)
    assert "is there, but was not judged" in str(unjudged.exception)
    assert run(*asked, "--no-judge").exception is None


def test_workers_share_one_video(world, monkeypatch):
    tmp_path, _ = world
    (tmp_path / "pairs.csv").write_text("image,poses\nref.png,poses.parquet\n")
    result = run("--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "results", "--workers", 2)
    assert "--workers 2 is given beside --pairs" in str(result.exception)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    one = ("--image", tmp_path / "ref.png", "--poses", tmp_path / "poses.parquet")
    result = run(*one, "--out", tmp_path / "out.mp4", "--workers", 2)
    assert "there are 1 GPUs here" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,poses\nref.png,poses.parquet\n", "has no column image; it has picture"),
        ("Image;Poses;Dog\nref.png;poses.parquet;1\n", "image is needed, allowed are"),
        ("image,poses\n", "names no pair"),
        ("image,poses\nref.png,gone.parquet\n", "line 2: poses .*gone.parquet is not there"),
        (
            "image,poses\nref.png,poses.parquet\nref.png,poses.parquet\n",
            "line 3: .*the result of another row",
        ),
        ("image,poses,name\nref.png,poses.parquet,../x\n", "not a plain file name"),
        ("image,poses,seed\nref.png,poses.parquet,-1\n", "seed is -1"),
        ("image,poses\nref.png,\n", "line 2: nothing drives"),
    ],
)
def test_a_wrong_list_of_pairs_is_refused_as_a_whole(world, text, message):
    tmp_path, _ = world
    (tmp_path / "pairs.csv").write_text(text)
    result = run("--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "results")
    assert isinstance(result.exception, InputError)
    assert re.search(message, str(result.exception))
    assert not list(tmp_path.glob("results/*"))

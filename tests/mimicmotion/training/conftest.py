"""Runs on the small training world."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from training_world import RecordedReport, make_clip, make_pipeline

from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.training.data.samples import Clip
from mimicmotion.training.job import TrainingJob, write_clips
from mimicmotion.training.settings import SampleSettings, TrainingRuntime, TrainingSettings


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """One thread: small networks gain nothing from more, and lose much where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> list[Clip]:
    """Two clips of two videos of one shape."""
    folder = tmp_path_factory.mktemp("videos")
    return [make_clip(folder, f"video{n}", (80, 80), n) for n in range(2)]


@pytest.fixture(scope="session")
def wide_clip(tmp_path_factory) -> Clip:
    """A clip of a video of another shape."""
    return make_clip(tmp_path_factory.mktemp("wide"), "wide", (128, 64), 7, target=(64, 32))


@pytest.fixture(scope="session")
def recipe() -> SampleSettings:
    return SampleSettings(drawing=DrawingStyle(canvas_short_side_px=480), seed=3)


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """Folder of the smallest pipeline."""
    folder = tmp_path_factory.mktemp("base")
    make_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_job(base: Path, clips: list[Clip], recipe: SampleSettings) -> Callable[[Path], TrainingJob]:
    """Gives a run of a few steps on one worker, in float32, with its files in a folder."""
    return partial(_job, base, clips, recipe)


@pytest.fixture
def job(tmp_path: Path, make_job: Callable[[Path], TrainingJob]) -> TrainingJob:
    """Such a run in a folder of its own."""
    return make_job(tmp_path)


def _job(base: Path, clips: list[Clip], recipe: SampleSettings, folder: Path) -> TrainingJob:
    write_clips(folder / "clips.jsonl", clips)
    write_clips(folder / "test.jsonl", [replace(clips[0], references=(0,))])
    settings = TrainingSettings(
        **dict(recipe),
        base=base,
        steps=4,
        batch=2,
        learning_rate=1e-3,
        warmup_steps=2,
        ema_decay=0.9,
        precision="float32",
        validation_clips=0,
    )
    runtime = TrainingRuntime(
        checkpoint_every=100, sample_every=100, sample_steps=2, sample_guidance_scale=1.0, log_every=1
    )
    return TrainingJob(
        settings=settings,
        runtime=runtime,
        steps=4,
        clips=folder / "clips.jsonl",
        test_clips=folder / "test.jsonl",
        state=folder / "state",
    )


@pytest.fixture
def report() -> RecordedReport:
    return RecordedReport()


@pytest.fixture
def second_report() -> RecordedReport:
    return RecordedReport()

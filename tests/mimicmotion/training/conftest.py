"""Runs on the small training world."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from training_world import RecordedReport, make_clip, make_pipeline

from mimicmotion.pose.drawing import DrawingStyle
from mimicmotion.training.data.samples import Clip, Recipe
from mimicmotion.training.plan import Plan, Preview, write_clips


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
def recipe() -> Recipe:
    return Recipe(
        style=DrawingStyle(canvas_short_side_px=480),
        noise="svd",
        reference_noise="none",
        dropout=0.1,
        hand_weight=10.0,
        hand_threshold=0.3,
        face_weight=1.0,
        seed=3,
    )


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """Folder of the smallest pipeline."""
    folder = tmp_path_factory.mktemp("base")
    make_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_plan(base: Path, clips: list[Clip], recipe: Recipe) -> Callable[[Path], Plan]:
    """Gives a run of a few steps on one worker, in float32, with its files in a folder."""
    return partial(_plan, base, clips, recipe)


@pytest.fixture
def plan(tmp_path: Path, make_plan: Callable[[Path], Plan]) -> Plan:
    """Such a run in a folder of its own."""
    return make_plan(tmp_path)


def _plan(base: Path, clips: list[Clip], recipe: Recipe, folder: Path) -> Plan:
    write_clips(folder / "clips.jsonl", clips)
    write_clips(folder / "test.jsonl", [replace(clips[0], references=(0,))])
    return Plan(
        base=base,
        init_from=None,
        clips=folder / "clips.jsonl",
        test_clips=folder / "test.jsonl",
        state=folder / "state",
        recipe=recipe,
        fps=7,
        motion_bucket=127,
        steps=4,
        batch=2,
        learning_rate=1e-3,
        warmup_steps=2,
        weight_decay=1e-2,
        clip_norm=1.0,
        ema_decay=0.9,
        trained="all",
        precision="float32",
        preview=Preview(every=100, clips=0, num_steps=2, guidance=1.0),
        checkpoint_every=100,
        keep=2,
        optimiser="adamw",
        micro_batch=None,
        sharing="replicate",
        recompute="off",
        compile=False,
        loader_threads=2,
        log_every=1,
    )


@pytest.fixture
def report() -> RecordedReport:
    return RecordedReport()


@pytest.fixture
def second_report() -> RecordedReport:
    return RecordedReport()

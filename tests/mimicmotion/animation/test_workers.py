"""Several processes answer a request, end together, and say why."""

import multiprocessing
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from mimicmotion.animation import workers
from mimicmotion.animation.driving import Driver, Driving
from mimicmotion.animation.generate import AnimationInputs
from mimicmotion.animation.request import AnimationRequest, PreparedRequest
from mimicmotion.animation.workers import WorkerGroup, perform_together
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.errors import MimicMotionError
from mimicmotion.pose.people import Presence
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PoseTrack
from mimicmotion.video.files import iter_frames

WORKERS = WorkerGroup(2, cuda=False)


class Pipeline:
    """Worker 0 gives white frames; another may fail before it takes part."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def spread(self, share) -> None:
        self.rank = share.rank

    def sample(self, image, poses, *, settings, generator, progress, retiled):
        if self.rank == 1 and self.fault == "raises":
            raise ValueError("the second worker's own trouble")
        if self.rank == 1 and self.fault == "dies":
            os._exit(7)
        if progress is not None:
            progress(1, 2)
        torch.distributed.barrier()
        return torch.zeros(len(poses))

    def decode(self, latents, chunk_size):
        if self.rank == 0:
            yield from [np.full((48, 32, 3), 255, np.uint8)] * (len(latents) - 1)


def track(num: int) -> PoseTrack:
    return PoseTrack(
        keypoints=np.full((num, 133, 2), 10, np.float32),
        confidences=np.ones((num, 133), np.float32),
        present=np.ones(num, bool),
        boxes=np.full((num, 4), np.nan, np.float32),
        hand_boxes=np.full((num, 2, 4), np.nan, np.float32),
        hand_confidences=np.zeros((num, 2), np.float32),
        width_px=32,
        height_px=48,
    )


def together(folder: Path, fault: str, progress) -> int:
    reference = np.zeros((48, 32, 3), np.uint8)
    inputs = AnimationInputs(
        reference=reference, reference_pose=track(1), driving=track(5), style=DrawingStyle()
    )
    driving = Driving(track=track(5), fps=12.0, source_fps=12.0, presence=Presence(5, 0, 0))
    request = AnimationRequest(image=folder / "ref.png", out=folder / "out.mp4", poses=folder / "p.parquet")
    driver = Driver(pa.table({}), 12.0, 12.0, "poses")
    prepared = PreparedRequest(inputs, driving, driver, reference)
    return perform_together(WORKERS, partial(Pipeline, fault), request, prepared, SamplerSettings(), progress)


def test_the_result_is_written_once(tmp_path):
    # Workers meet beside it, by a name that is no address, of which ``#`` would end the path.
    told, folder = [], tmp_path / "results#2"
    (tmp_path / "results").mkdir()
    folder.mkdir()
    assert together(folder, "", lambda *state: told.append(state)) == 5
    assert len(list(iter_frames(folder / "out.mp4"))) == 5
    assert told == [(1, 2)]
    assert {path.name for path in tmp_path.rglob("*")} == {"results", folder.name, "out.mp4"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raises", "worker 1 of 2 failed; .*: ValueError: the second worker's own trouble"),
        ("dies", "worker 1 of 2 ended with exit code 7"),
    ],
)
def test_a_worker_that_fails_ends_all(tmp_path, fault, message):
    with pytest.raises(MimicMotionError, match=message):
        together(tmp_path, fault, lambda *state: None)
    assert not list(tmp_path.iterdir())
    assert not multiprocessing.active_children()


def test_a_worker_asks_first_to_end_with_the_one_that_started_it(tmp_path, monkeypatch):
    said = []

    def join(*_):
        said.append("joins")
        raise MimicMotionError("nobody else is there")

    monkeypatch.setattr(workers, "end_with_parent", lambda: said.append("ends with its parent"))
    monkeypatch.setattr(workers, "_join", join)
    workers._work(0, SimpleNamespace(send=said.append), WORKERS, None, tmp_path, None, None, None)
    assert said == ["ends with its parent", "joins", "nobody else is there"]


def test_ctrl_c_ends_all(tmp_path):
    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        together(tmp_path, "", interrupted)
    # Workers this small may be done before they are told; a result is whole or absent, no folder stays.
    assert {path.name for path in tmp_path.iterdir()} <= {"out.mp4"}
    assert not multiprocessing.active_children()

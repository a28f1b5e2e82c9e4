"""Two workers make the video that one makes, whatever the number of tiles and the fusion."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.diffusion.spread import Share
from mimicmotion.errors import InputError
from mimicmotion.model.pipeline import MimicMotionPipeline

QUICK = SamplerSettings(num_steps=2, tile=4, overlap=2, guidance_scale=2.0)
FUSIONS = ("progressive", "release", "uniform", "first", "none")
SLOTS = {4: "one tile", 8: "three tiles", 10: "four tiles"}
Result = tuple[torch.Tensor, np.ndarray | None, int]


def results(pipeline: MimicMotionPipeline) -> Iterator[Result]:
    """Latents, frames, and how many drawn poses PoseNet saw, for each fusion and length."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    seen = []
    pipeline.pose_net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    for fusion in FUSIONS:
        for slots in SLOTS:
            seen.clear()
            drawn = np.random.default_rng(1).integers(0, 256, (slots, 3, 32, 32), np.uint8)
            settings = QUICK.replaced(fusion=fusion)
            generator = torch.Generator().manual_seed(3)
            latents = pipeline.sample(image, drawn, settings=settings, generator=generator)
            frames = list(pipeline.decode(latents, chunk_size=3))
            yield latents, np.stack(frames) if frames else None, sum(seen)


def work(rank: int, size: int, pipeline: MimicMotionPipeline, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size)
    pipeline.spread(Share(rank, size))
    torch.save(list(results(pipeline)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def run_workers(size: int, pipeline: MimicMotionPipeline, folder: Path) -> list[list[Result]]:
    context = torch.multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=work, args=(rank, size, pipeline, folder), daemon=True) for rank in range(size)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(200)
        assert worker.exitcode == 0
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


def test_two_workers_make_what_one_makes(small_pipeline: MimicMotionPipeline, tmp_path: Path) -> None:
    first, second = run_workers(2, small_pipeline, tmp_path)
    alone = list(results(small_pipeline))
    assert len(alone) == len(FUSIONS) * len(SLOTS)
    for one, ours, theirs in zip(alone, first, second, strict=True):
        torch.testing.assert_close(ours[0], one[0], atol=1e-5, rtol=0)
        assert torch.equal(ours[0], theirs[0])
        assert np.abs(ours[1].astype(int) - one[1].astype(int)).max() <= 1
        assert theirs[1] is None
    # Slots 0 to 5 and 0, 5 to 7 of three tiles (0 1 2 3, 0 3 4 5 and 0 5 6 7); the reference's alone of none.
    counts = [(one[2], ours[2], theirs[2]) for one, ours, theirs in zip(alone, first, second, strict=True)]
    assert counts[:2] == [(4, 4, 1), (8, 6, 4)]


def test_parts_are_neighbours_and_complete() -> None:
    for size in (1, 2, 3, 5):
        for num in range(8):
            parts = [list(range(num))[Share(rank, size).part(num)] for rank in range(size)]
            assert [one for part in parts for one in part] == list(range(num))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_stream_of_poses_is_refused(small_pipeline: MimicMotionPipeline) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    small_pipeline.spread(Share(0, 2))
    with pytest.raises(InputError, match="several workers need them in a sequence"):
        small_pipeline.sample(image, iter(np.zeros((5, 3, 32, 32), np.uint8)), settings=QUICK)

"""Two workers against one: the same steps, shared by DDP or FSDP2, through gloo on one machine."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from mimicmotion.training.loop import train


class SilentReport:
    def metrics(self, values, step=0):
        pass

    def image(self, name, image, step=None):
        pass

    def file(self, path, folder=""):
        pass


def work(rank: int, plan, store: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    train({"plan": plan, "report": SilentReport()})
    dist.destroy_process_group()


def run_two(plan, store: Path):
    context = torch.multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(rank, plan, store), daemon=True) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(250)
        assert worker.exitcode == 0
    return load_file(plan.result / "network.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("sharing", ["replicate", "shard"])
def test_two_workers_equal_one_that_sums_up(plan, tmp_path, sharing):
    plan = replace(plan, steps=5, micro_batch=1, sharing=sharing, checkpoint_every=3)
    train({"plan": replace(plan, state=tmp_path / "one"), "report": SilentReport()})
    alone = load_file(tmp_path / "one" / "result" / "network.safetensors")
    together = run_two(replace(plan, state=tmp_path / "two"), tmp_path / "store")
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, atol=1e-5, rtol=0, msg=name)

    # A run of two workers goes on with one, from the same checkpoint.
    (tmp_path / "two" / "result").rename(tmp_path / "two" / "result-of-two")
    last = tmp_path / "two" / "checkpoints" / "step-00000005"
    last.rename(last.with_name("unused"))
    train({"plan": replace(plan, state=tmp_path / "two"), "report": SilentReport()})
    resumed = load_file(tmp_path / "two" / "result" / "network.safetensors")
    for name, value in alone.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-5, rtol=0, msg=name)

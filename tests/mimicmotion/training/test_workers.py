"""Two workers against one: the same steps, shared by DDP or FSDP2, through gloo on one machine."""

import json
import shutil
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from training_world import changed, make_pipeline

from mimicmotion.errors import StageError
from mimicmotion.training import loop
from mimicmotion.training.data.samples import framing_text
from mimicmotion.training.job import TrainingJob, read_clips, write_clips
from mimicmotion.training.loop import train
from mimicmotion.training.network import PosedDenoiser
from mimicmotion.training.settings import DistillationSettings


class SilentReport:
    def metrics(self, values, step=0):
        pass

    def image(self, name, image, step=None):
        pass

    def file(self, path, folder=""):
        pass

    def watched(self, machine=""):
        return nullcontext()


@contextmanager
def in_double_precision(wanted: bool = True):
    """Let everything that asks for float32 get float64, so that rounding lies far below AdamW's epsilon."""
    if not wanted:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        patch.setattr(torch.nn.Module, "float", torch.nn.Module.double)
        patch.setattr(loop, "training_flops", lambda *_: 1)  # counted under CUDA's autocast: no double there
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def work(rank: int, plans, store: Path, double: bool) -> None:
    """Do these runs one after another, which spares the start of processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    with in_double_precision(double):
        for job in plans:
            train({"job": job, "report": SilentReport()})
    dist.destroy_process_group()


def work_and_tell(rank: int, job, store: Path, told: Path) -> None:
    try:
        work(rank, [job], store, double=False)
    except StageError as error:
        (told / str(rank)).write_text(str(error))


def start_two(target, *arguments) -> None:
    context = torch.multiprocessing.get_context("spawn")
    workers = [context.Process(target=target, args=(rank, *arguments), daemon=True) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(800)
        assert worker.exitcode == 0


def result(job):
    return load_file(job.result / "network.safetensors")


def from_step_3_of(source, job):
    """A run that begins with the checkpoint that another one wrote at its step 3."""
    shutil.copytree(source.checkpoints / "step-00000003", job.checkpoints / "step-00000003")
    return job


# Attention to a single token: its weights are always one, so queries and keys get rounding for a gradient.
WITHOUT_GRADIENT = (".attn2.to_q.", ".attn2.to_k.")


def assert_alike(ours, theirs, start):
    """The same numbers to 1e-5, but for the few whose gradient is rounding, which AdamW scales up."""
    assert ours.keys() == theirs.keys()
    names = [name for name in ours if not any(part in name for part in WITHOUT_GRADIENT)]
    a, b, c = (torch.cat([weights[name].flatten() for name in names]) for weights in (ours, theirs, start))
    assert ((a - b).abs() > 1e-5).float().mean() < 1e-4
    assert (a - b).norm() < 1e-3 * (a - c).norm()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("strategy", "distils"), [("ddp", False), ("fsdp", False), ("fsdp", True)])
def test_two_workers_equal_one_in_every_parameter(job, tmp_path, strategy, distils):
    """Also when a run of one goes on with two, or of two with one, and when a student learns from a teacher.

    In double precision no gradient is mere rounding to AdamW, so every single value must agree.
    """
    job = changed(job, steps=5, batch=4, micro_batch=1, strategy=strategy, checkpoint_every=3)
    if distils:
        job = replace(job, settings=DistillationSettings(**dict(job.settings), teacher_steps=5))
    one, two, joined, left = (changed(job, state=tmp_path / name) for name in ("1", "2", "1-2", "2-1"))
    with in_double_precision():
        train({"job": one, "report": SilentReport()})
    start_two(work, [two, from_step_3_of(one, joined)], tmp_path / "store", True)
    with in_double_precision():
        train({"job": from_step_3_of(two, left), "report": SilentReport()})
    alone = result(one)
    start = load_file(job.settings.base / "unet" / "diffusion_pytorch_model.safetensors")
    assert (alone["unet.conv_out.weight"] - start["conv_out.weight"]).abs().max() > 1e-4, (
        "nothing was learned"
    )
    for other in (two, joined, left):
        network = result(other)
        assert network.keys() == alone.keys()
        for name, value in alone.items():
            assert value.dtype == torch.float64
            torch.testing.assert_close(network[name], value, rtol=0, atol=1e-5, msg=f"{other.state} {name}")


FORMS = {
    "ddp": {"strategy": "ddp"},
    "fsdp": {"strategy": "fsdp"},
    "as-the-paper": {"strategy": "fsdp", "activation_checkpointing": "blocks", "precision": "bfloat16"},
}


@dataclass(frozen=True)
class Runs:
    """What two workers ran in single precision, all in one start of processes, which takes longer than a run.

    Attributes:
        summed: by strategy, the run of two workers to compare with one that sums up.
        whole: by form, ten steps without a stop, with looks on the way that no checkpoint follows.
        halved: by form, ten steps with a stop after five and a look only there.
    """

    summed: dict[str, TrainingJob]
    whole: dict[str, TrainingJob]
    halved: dict[str, TrainingJob]


@pytest.fixture(scope="module")
def wide_base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    pipeline = make_pipeline(width=64)
    pipeline.save_pretrained(folder)
    return folder, PosedDenoiser(pipeline.unet, pipeline.pose_net).state_dict()


@pytest.fixture(scope="module")
def runs(make_job, wide_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    job = make_job(folder)
    summed = {
        name: changed(
            job, base=wide_base[0], steps=5, micro_batch=1, strategy=name, state=folder / f"summed-{name}"
        )
        for name in ("ddp", "fsdp")
    }
    short = changed(job, steps=10, validation_clips=1)
    whole, halved = (
        {name: changed(short, **form, state=folder / f"{kind}-{name}") for name, form in FORMS.items()}
        for kind in ("whole", "halved")
    )
    whole = {name: changed(one, sample_every=3) for name, one in whole.items()}
    first_halves = [changed(one, steps=5) for one in halved.values()]
    every = [*summed.values(), *whole.values(), *first_halves, *halved.values()]
    start_two(work, every, folder / "store", False)
    return Runs(summed, whole, halved)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_workers_equal_one_that_sums_up(runs, wide_base, tmp_path, strategy):
    two = runs.summed[strategy]
    one = changed(two, state=tmp_path / "one")
    train({"job": one, "report": SilentReport()})
    assert_alike(result(two), result(one), wide_base[1])


def validated(job) -> float:
    return json.loads((job.result / "facts.json").read_text())["validation_loss"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("form", FORMS)
def test_two_workers_that_stopped_go_on_as_if_they_had_not(runs, form):
    """Nor does it matter to what is learned how often a run looks at itself."""
    whole, halved = runs.whole[form], runs.halved[form]
    resumed = result(halved)
    for name, value in result(whole).items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=1e-5, msg=name)
    assert validated(halved) == pytest.approx(validated(whole), rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_worker_names_the_clip_that_spoilt_the_loss_of_one(job, tmp_path):
    good, bad = read_clips(job.clips)
    frames = torch.tensor(sorted({*bad.references, *bad.frames}), dtype=torch.int32)
    tensors = {
        "frames": frames,
        "latents": torch.full((len(frames), 8, 8, 8), torch.nan, dtype=torch.float16),
        "embedded_frames": frames.clone(),
        "embeddings": torch.zeros(len(frames), 1, 16, dtype=torch.float16),
    }
    named = {f"{framing_text(bad.fit)}/{name}": tensor for name, tensor in tensors.items()}
    save_file(named, tmp_path / "bad.safetensors")
    write_clips(job.clips, [good, replace(bad, latents=tmp_path / "bad.safetensors")])
    start_two(work_and_tell, job, tmp_path / "store", tmp_path)
    first, second = ((tmp_path / str(rank)).read_text() for rank in range(2))
    assert first == second
    assert "stopped at step 1: the loss is [nan]" in first
    assert bad.clip_id in first
    assert good.clip_id not in first

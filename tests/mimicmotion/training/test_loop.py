import json
import os
import signal
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_world import changed

from mimicmotion.errors import DataError, InputError, StageError
from mimicmotion.training import loop, step
from mimicmotion.training.data.batch import collate
from mimicmotion.training.data.samples import draw
from mimicmotion.training.distributed.group import World, lost_workers_are_connection_errors
from mimicmotion.training.job import read_clips, write_clips
from mimicmotion.training.loop import Training, accumulation_steps, train

ALONE = World(0, 1, torch.device("cpu"))


def result(job):
    return load_file(job.result / "network.safetensors")


def run(job, report):
    train({"job": job, "report": report})
    return result(job)


def test_the_shipped_base_trains(job, report):
    shipped = Path(__file__).parents[3] / "mimicmotion" / "synthetic" / "weights" / "base"
    trained = run(changed(job, base=shipped, steps=1, warmup_steps=0), report)
    before = load_file(shipped / "unet" / "diffusion_pytorch_model.safetensors")
    name = "conv_out.weight"
    assert trained[f"unet.{name}"].shape == before[name].shape
    assert not torch.equal(trained[f"unet.{name}"], before[name].float())


def test_batches_are_joined_by_a_thread_and_in_order(job, report, monkeypatch):
    seen = []

    def spied(samples, channels):
        seen.append((threading.current_thread(), [sample.draw for sample in samples]))
        return collate(samples, channels)

    monkeypatch.setattr(loop, "collate", spied)
    training = Training(changed(job, micro_batch=1), report, ALONE)
    training.run()
    assert threading.main_thread() not in {thread for thread, _ in seen}
    expected = [
        [draw(training.clips[index.clip], index, job.settings)]
        for step in range(job.steps)
        for index in training.order.at(step)
    ]
    assert [draws for _, draws in seen] == expected


class StopAt:
    """A report that asks the run to stop once it has seen a step."""

    def __init__(self, step, ask):
        self.step, self.ask = step, ask

    def metrics(self, values, step=0):
        if step == self.step:
            self.ask()

    def watched(self, machine=""):
        return nullcontext()


def test_clips_survive_their_file(tmp_path, clips):
    write_clips(tmp_path / "list.jsonl", [*clips, replace(clips[0], latents=tmp_path / "a")])
    with pytest.raises(InputError, match="the workspace must be a folder that all see"):
        read_clips(tmp_path / "elsewhere.jsonl")
    assert read_clips(tmp_path / "list.jsonl") == [*clips, replace(clips[0], latents=tmp_path / "a")]


def test_a_run_reports_trains_and_leaves_its_average(job, report):
    network = run(job, report)
    assert {name for name in report.values if name.startswith(("optimiser", "speed", "memory"))} == {
        "optimiser/gradient_norm",
        "optimiser/learning_rate",
        "speed/samples_per_s",
        "speed/data_wait_share",
        "speed/model_tflops_per_worker",
        "memory/peak_gb",
    }
    assert [step for step, _ in report.values["loss/total"]] == [1, 2, 3, 4]
    assert [rate for _, rate in report.values["optimiser/learning_rate"]] == [5e-4, 1e-3, 1e-3, 1e-3]
    start = Training(job, report, ALONE).built.network.state_dict()
    assert start.keys() == network.keys()
    assert not torch.equal(network["unet.conv_in.weight"], start["unet.conv_in.weight"])
    assert json.loads((job.result / "facts.json").read_text())["steps"] == 4
    assert report.machines == [""]


@pytest.mark.parametrize(("local", "node", "watched"), [("0", "2", ["machine-2"]), ("1", "0", [])])
def test_one_worker_of_each_machine_watches_it(job, report, monkeypatch, local, node, watched):
    monkeypatch.setenv("LOCAL_RANK", local)
    monkeypatch.setenv("NODE_RANK", node)
    with pytest.raises(DataError):
        train({"job": changed(job, micro_batch=3), "report": report})
    assert report.machines == watched


@pytest.mark.parametrize(("ask", "steps", "at"), [("signal", 10, 6), ("file", 3, 1)])
def test_a_stopped_run_that_goes_on_equals_one_that_never_stopped(job, report, tmp_path, ask, steps, at):
    job = changed(job, steps=steps)
    whole = run(changed(job, state=tmp_path / "whole"), report)

    def request():
        if ask == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            job.stop_request.touch()

    train({"job": job, "report": StopAt(at, request)})
    assert not job.result.exists()
    assert [path.name for path in job.checkpoints.iterdir()] == [f"step-{at:08d}"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    job.stop_request.unlink(missing_ok=True)
    for name, value in run(job, report).items():
        assert torch.equal(value, whole[name]), name


def test_a_killed_run_goes_on_from_its_newest_checkpoint(job, report, tmp_path):
    whole = run(changed(job, state=tmp_path / "whole", steps=5), report)

    def die():
        raise KeyboardInterrupt

    job = changed(job, checkpoint_every=2, steps=5)
    with pytest.raises(KeyboardInterrupt):
        train({"job": job, "report": StopAt(5, die)})
    assert sorted(path.name for path in job.checkpoints.iterdir()) == ["step-00000002", "step-00000004"]
    report.values.clear()
    resumed = run(job, report)
    assert [step for step, _ in report.values["loss/total"]] == [5]
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())


def test_it_runs_outside_the_main_thread(job, report):
    worker = threading.Thread(target=train, args=({"job": changed(job, steps=1), "report": report},))
    worker.start()
    worker.join()
    assert job.result.exists()


def test_micro_batches_add_up_to_the_batch(job, report, second_report, tmp_path):
    job = changed(job, batch=4)
    run(changed(job, state=tmp_path / "whole"), report)
    run(changed(job, micro_batch=1), second_report)
    for name in ("loss/total", "optimiser/gradient_norm"):
        whole, summed = ([value for _, value in told.values[name]] for told in (report, second_report))
        assert summed == pytest.approx(whole, rel=1e-3), name


def test_validation_is_the_same_at_every_visit_and_shows_pictures(job, report, caplog):
    caplog.set_level("INFO", logger="mimicmotion")
    job = changed(job, steps=2, learning_rate=1e-12, sample_every=1, validation_clips=1)
    run(job, report)
    assert [step for step, _ in report.values["loss/validation"]] == [0, 1, 2]
    losses = [loss for _, loss in report.values["loss/validation"]]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    assert [(name, step) for name, _, step in report.images] == [
        ("generated/samples", 0), ("hand_map/0", None), ("generated/samples", 1), ("generated/samples", 2)
    ]  # fmt: skip
    assert [name for name, folder, size in report.files if folder == "samples" and size] == [
        f"samples-step-{step:08d}.mp4" for step in range(3)
    ]
    assert "step 2 of 2" in caplog.text
    assert "samples/s, 0:00:00 left" in caplog.text


def test_videos_of_two_shapes_train_in_batches_of_one_shape_and_are_shown_together(
    job, report, clips, wide_clip
):
    write_clips(job.clips, [*clips, wide_clip])
    write_clips(job.test_clips, [clips[0], wide_clip])
    run(changed(job, validation_clips=2, steps=2, batch=2), report)
    assert [step for step, _ in report.values["loss/total"]] == [1, 2]
    assert [step for name, _, step in report.images if name == "generated/samples"] == [0, 2]


def test_bfloat16_and_frozen_parts(job, report):
    before = Training(job, report, ALONE).built.network.state_dict()
    network = run(
        changed(job, precision="bfloat16", trained="pose_net", activation_checkpointing="layers"), report
    )
    assert all(torch.equal(network[name], value) for name, value in before.items() if name.startswith("unet"))
    assert not torch.equal(network["pose_net.scale"], before["pose_net.scale"])
    assert network["pose_net.scale"].dtype == torch.float32


def test_a_loss_that_is_not_finite_stops_with_clips_step_and_checkpoint(job, report):
    run(changed(job, steps=2, checkpoint_every=1), report)
    with pytest.raises(StageError) as stopped:
        run(changed(job, steps=30, learning_rate=1e30, warmup_steps=0, clip_norm=1e30), report)
    message = str(stopped.value)
    assert "stopped at step" in message
    assert "video0-clip" in message
    assert str(job.checkpoints / "step-00000002") in message


def test_a_step_that_is_not_finite_changes_no_weight_and_is_told_before_the_next(job, report, monkeypatch):
    training = Training(changed(job, steps=5, log_every=100), report, ALONE)
    network, told = training.built.network, []
    monkeypatch.setattr(loop, "update", lambda *a: told.append(step.update(*a)))

    def poison(built, *_):
        norm = step.clip(built, job)
        if len(told) == 2:
            built.trained[0].grad.fill_(float("nan"))
            norm += float("nan")
            told.append({name: value.clone() for name, value in network.state_dict().items()})
        return norm

    monkeypatch.setattr(loop, "clip", poison)
    with pytest.raises(StageError, match="stopped at step 3"):
        training.run()
    assert len(told) == 4, "the third step was handed out, and no fourth"
    assert all(torch.equal(value, told[2][name]) for name, value in network.state_dict().items())


def test_a_bad_clip_stops_with_its_name(job, report, clips, tmp_path):
    write_clips(job.clips, [clips[0], replace(clips[1], video=tmp_path / "gone.mp4")])
    with pytest.raises(StageError, match="video1-clip"):
        run(job, report)


def test_checkpoints_of_another_batch_or_list_are_refused(job, report):
    run(job, report)
    with pytest.raises(DataError, match="made with batch 2, this run has 4"):
        run(changed(job, batch=4), report)


def test_a_batch_must_divide_over_workers(job):
    two = World(0, 2, torch.device("cpu"))
    assert accumulation_steps(changed(job, batch=8), two) == 1
    assert accumulation_steps(changed(job, batch=8, micro_batch=2), two) == 2
    with pytest.raises(DataError, match="batch of 3 samples does not divide over 2 workers"):
        accumulation_steps(changed(job, batch=3), two)
    with pytest.raises(DataError, match="1 samples does not divide"):
        accumulation_steps(changed(job, batch=1), two)


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (
            RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed"),
            ConnectionError,
        ),
        (torch.distributed.DistBackendError("NCCL communicator was aborted"), ConnectionError),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError),
        (StageError("clip a cannot be read"), StageError),
    ],
)
def test_a_lost_worker_is_told_from_a_fault_of_ones_own(error, becomes):
    two = World(0, 2, torch.device("cpu"))
    with pytest.raises(Exception) as raised, lost_workers_are_connection_errors(two):
        raise error
    assert type(raised.value) is becomes


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of what torch traces
def test_a_compiled_network_trains_as_a_plain_one(job, report, second_report, tmp_path, monkeypatch):
    run(changed(job, state=tmp_path / "plain", steps=2), report)
    compile_with = torch.compile
    # Traced as ever, but run as it stands: writing kernels takes minutes on a processor.
    monkeypatch.setattr(torch, "compile", lambda f, **how: compile_with(f, **{**how, "backend": "eager"}))
    run(changed(job, steps=2, compile=True), second_report)
    plain, compiled = ([value for _, value in told.values["loss/total"]] for told in (report, second_report))
    assert compiled == pytest.approx(plain, rel=1e-5)

"""Consistency distillation on data whose sampling run is known exactly, and in the training loop."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from training_world import RecordedReport, changed

from mimicmotion.diffusion import edm
from mimicmotion.diffusion.sampling import align_your_steps_sigmas, euler
from mimicmotion.training.distillation import Teacher
from mimicmotion.training.loop import train
from mimicmotion.training.loss import denoising_loss
from mimicmotion.training.settings import DistillationSettings

STEPS, SCALE = 6, 1.5
B, F, C, H, W = 5, 2, 4, 3, 2


class Gaussian(torch.nn.Module):
    """The network that knows normal data: of one mean with its conditions, of another without them."""

    def __init__(self, spread, mean, mean_without):
        super().__init__()
        self.spread, self.mean, self.mean_without = spread, mean, mean_without

    def clean(self, noisy, sigma, mean):
        return mean + self.spread**2 / (self.spread**2 + sigma**2) * (noisy - mean)

    def forward(self, sample, timestep, image_embeds, time_ids, pose_images, dropped):
        sigma = torch.exp(4 * timestep)
        noisy = sample[:, :, :C] / edm.c_in(sigma)[:, None, None, None, None]
        means = torch.where(dropped, self.mean_without, self.mean)[:, None, None, None, None]
        return edm.raw_of(self.clean(noisy, sigma[:, None, None, None, None], means), noisy, sigma)

    def guided(self, noisy, sigma, step):
        """A denoiser for ``euler``."""
        with_pose, without = (self.clean(noisy, sigma, mean) for mean in (self.mean, self.mean_without))
        return torch.lerp(without, with_pose, SCALE)


TEACHER = Gaussian(0.7, 0.3, -0.4)


class Ends(Gaussian):
    """The perfect student: gives where the teacher's guided run ends."""

    def forward(self, sample, timestep, image_embeds, time_ids, pose_images, dropped):
        sigma = torch.exp(4 * timestep)
        noisy = sample[:, :, :C] / edm.c_in(sigma)[:, None, None, None, None]
        levels = align_your_steps_sigmas(STEPS)
        ends = []
        for one, level in zip(noisy, sigma, strict=True):
            first = min(range(STEPS), key=lambda i: abs(levels[i] / float(level) - 1))
            ends.append(euler(self.guided, one, levels[first:]))
        return edm.raw_of(torch.stack(ends), noisy, sigma)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "latents": 0.3 + 0.7 * normal(B, F, C, H, W),
        "reference_latents": normal(B, C, H, W),
        "pose_images": normal(B, F, 3, H * 8, W * 8),
        "image_embeds": normal(B, 1, 7),
        "time_ids": torch.zeros(B, 3),
        "sigma": torch.tensor(align_your_steps_sigmas(STEPS)[:B], dtype=torch.float64),
        "noise": normal(B, F, C, H, W),
        "dropped": torch.zeros(B, dtype=torch.bool),
    }


def test_at_zero_the_student_gives_back_what_it_is_given():
    noisy = torch.randn(2, F, C, H, W)
    for raw in (torch.zeros_like(noisy), torch.full_like(noisy, 1e6)):
        assert torch.equal(edm.denoised(raw, noisy, torch.zeros(2)), noisy)


def test_where_the_teacher_ends_costs_nothing_at_any_level_and_the_teacher_itself_does(batch):
    teacher = Teacher(TEACHER, SCALE, STEPS)
    batch["sigma"] = torch.tensor(align_your_steps_sigmas(STEPS)[1:STEPS], dtype=torch.float64)
    assert denoising_loss(Ends(0.7, 0.3, -0.4), teacher=teacher, **batch).total < 1e-9
    assert denoising_loss(TEACHER, teacher=teacher, **batch).total > 1e-3
    other = Ends(0.7, 0.35, -0.4)
    assert denoising_loss(other, teacher=teacher, **batch).total > 1e-5


class Linear(torch.nn.Module):
    """A student with a factor and a shift of its own at each level of the teacher's run."""

    def __init__(self):
        super().__init__()
        self.values = torch.nn.Parameter(torch.zeros(STEPS, 2, dtype=torch.float64))
        self.levels = torch.tensor(align_your_steps_sigmas(STEPS)[:-1], dtype=torch.float64)

    def forward(self, sample, timestep, image_embeds, time_ids, pose_images, dropped):
        nearest = (self.levels.log() - 4 * timestep[:, None]).abs().argmin(1)
        factor, shift = self.values[nearest][:, :, None, None, None, None].unbind(1)
        return factor * sample[:, :, :C] + shift


def test_a_linear_student_learns_where_the_guided_run_of_its_teacher_ends(batch):
    student, teacher = Linear(), Teacher(TEACHER, SCALE, STEPS)
    optimiser = torch.optim.Adam(student.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(1)
    for step in range(900):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 - step / 900)
        sigma = student.levels[torch.randint(STEPS, (B,), generator=generator)]
        noise = torch.randn(batch["noise"].shape, generator=generator, dtype=torch.float64)
        denoising_loss(student, teacher=teacher, **{**batch, "sigma": sigma, "noise": noise}).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    levels = align_your_steps_sigmas(STEPS)
    noisy = levels[0] * batch["noise"][:1]
    exact = euler(TEACHER.guided, noisy, levels)
    sigma = torch.tensor(levels[:1], dtype=torch.float64)
    raw = student(noisy * edm.c_in(sigma), edm.c_noise(sigma), None, None, None, None)
    one_step = edm.denoised(raw, noisy, sigma)
    assert (one_step - exact).abs().max() < 0.03
    assert (TEACHER.guided(noisy, levels[0], 0) - exact).abs().max() > 0.3  # what one step gave before


def test_a_dropped_sample_learns_the_run_without_guidance(batch):
    batch["dropped"][:] = True
    unguided = Teacher(Gaussian(0.7, -0.4, -0.4), 1.0, STEPS)
    parts = [
        denoising_loss(TEACHER, teacher=teacher, **batch).total
        for teacher in (Teacher(TEACHER, SCALE, STEPS), unguided)
    ]
    torch.testing.assert_close(*parts)


def test_without_guidance_the_teacher_does_a_single_pass(batch):
    seen = []

    class Counted(Gaussian):
        def forward(self, *inputs):
            seen.append(inputs[-1].any())
            return super().forward(*inputs)

    denoising_loss(TEACHER, teacher=Teacher(Counted(0.7, 0.3, -0.4), 1.0, STEPS), **batch)
    assert len(seen) == 1
    denoising_loss(TEACHER, teacher=Teacher(Counted(0.7, 0.3, -0.4), 2.0, STEPS), **batch)
    assert len(seen) == 3


def test_hands_weigh_more_in_distillation_too(batch):
    weights = torch.ones(B, F, H, W)
    weights[:, :, 0] = 10
    teacher = Teacher(TEACHER, SCALE, STEPS)
    plain, weighted = (
        denoising_loss(TEACHER, teacher=teacher, hand_weights=hands, **batch)
        for hands in (torch.ones(B, F, H, W), weights)
    )
    torch.testing.assert_close(plain.per_sample, weighted.per_sample)
    assert weighted.total > 2 * plain.total


class StopAtTwo(RecordedReport):
    """A report that asks the run to stop at its second step."""

    def __init__(self, job):
        super().__init__()
        self.job = job

    def metrics(self, values, step=0):
        if step == 2:
            self.job.stop_request.touch()


def test_a_student_starts_as_its_teacher_and_a_stopped_run_goes_on_with_the_same_teacher(
    job, report, tmp_path
):
    fields = {**dict(job.settings), "noise": "align_your_steps", "validation_clips": 1}
    job = replace(job, settings=DistillationSettings(**fields, teacher_steps=5, num_steps=2))
    whole = changed(job, state=tmp_path / "whole")
    train({"job": whole, "report": report})
    losses = report.values["loss/validation"]
    assert [step for step, _ in losses] == [0, 4]
    assert losses[0][1] != losses[1][1]
    train({"job": job, "report": StopAtTwo(job)})
    assert not job.result.exists()
    job.stop_request.unlink()
    train({"job": job, "report": report})
    ours, theirs = (load_file(one.result / "network.safetensors") for one in (job, whole))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())

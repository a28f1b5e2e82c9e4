"""Validation among many workers: all make the same calls of a sharded network, or one ends with an error."""

import math
from dataclasses import replace

import pytest
import torch
from training_world import changed, make_clip

from mimicmotion.training.data.samples import SampleIndex, draw
from mimicmotion.training.distributed.group import World
from mimicmotion.training.job import write_clips
from mimicmotion.training.loop import Training

ALONE = World(0, 1, torch.device("cpu"))


@pytest.mark.parametrize(("strategy", "calls"), [("ddp", 2), ("fsdp", 1)])
def test_a_worker_short_of_memory_calls_a_sharded_network_no_more_than_the_others(
    job, report, monkeypatch, strategy, calls
):
    """It tries again in parts where each worker has a whole network; else it and the others would wait."""
    training = Training(
        changed(job, sample_guidance_scale=2.0, strategy=strategy, validation_clips=1), report, ALONE
    )
    network, called = training.built.network, []

    def short_of_memory(*given, **named):
        called.append(1)
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(network.unet, "forward", short_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        training.validation.generate(network)
    assert len(called) == calls


def test_the_reference_is_as_far_from_the_window_as_in_training(job, report, tmp_path):
    """Of a scene with random windows every frame may be one, those of the window too."""
    clip = make_clip(tmp_path, "scene", (80, 80), 0, references=tuple(range(14)))
    clip = replace(clip, reference_distance=4, num_windows=3)
    write_clips(job.test_clips, [clip])
    training = Training(changed(job, validation_clips=1), report, ALONE)
    (sample,) = training.validation.samples
    assert sample.draw.frames == (2, 4, 6)
    drawn = [draw(clip, SampleIndex(0, 0, slot), job.settings) for slot in range(99)]
    assert sample.draw.reference in {one.reference for one in drawn if one.frames == (2, 4, 6)}


@pytest.mark.parametrize(("kind", "noise"), [("none", 0.0), ("fixed", 0.02), ("lognormal", math.exp(-3))])
def test_the_reference_has_the_noise_that_the_network_knows(job, report, kind, noise):
    training = Training(changed(job, reference_noise=kind, validation_clips=1), report, ALONE)
    (inputs,) = training.validation._inputs
    assert inputs["time_ids"][0, 2].item() == pytest.approx(noise)
    scaled = inputs["reference_latents"] * training.built.encoders.scale
    clean = torch.allclose(scaled, inputs["latents"][:, 0], atol=1e-6)
    assert clean == (noise == 0)
    told = []

    def forward(sample, timestep, embeds, ids, **named):
        told.append(ids[0, 2].item())
        raise InterruptedError

    training.built.network.unet.forward = forward
    with pytest.raises(InterruptedError):
        training.validation.generate(training.built.network)
    assert told == [pytest.approx(noise)]

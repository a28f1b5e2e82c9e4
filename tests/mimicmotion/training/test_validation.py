"""Validation among many workers: all make the same calls of a sharded network, or one ends with an error."""

import pytest
import torch
from training_world import changed

from mimicmotion.training.distributed.group import World
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

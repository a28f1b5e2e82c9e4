import json
from dataclasses import replace
from math import prod

import pytest
import torch

from mimicmotion.training.estimate.needs import (
    MEMORY_GB,
    PEAK_TFLOPS,
    Shape,
    describe,
    estimate,
    estimates,
    fitting_levels,
    peak_tflops,
    training_flops,
    vae_flops,
    weight_bytes,
)
from mimicmotion.video.size import Size

TINY = Shape(
    unet={},
    size_px=(64, 64),
    num_frames=4,
    micro_batch=2,
    accumulation_steps=1,
    workers=4,
    strategy="ddp",
    activation_checkpointing="off",
    trained="all",
    optimiser="adamw",
)


@pytest.fixture
def tiny(base):
    return replace(TINY, unet=json.loads((base / "unet" / "config.json").read_text()))


def test_the_full_network_has_the_parameters_of_released_checkpoints(golden):
    keys = json.loads((golden / "checkpoint_keys.json").read_text())
    shapes = keys.values() if isinstance(keys, dict) else [shape for _, shape in keys]
    needs = estimate(replace(TINY, num_frames=2, micro_batch=1))
    assert needs.parameters == sum(prod(shape) for shape in shapes)


def test_each_way_to_save_memory_saves_it(tiny):
    plain, selective, layers, blocks = (
        estimate(replace(tiny, activation_checkpointing=level))
        for level in ("off", "selective", "layers", "blocks")
    )
    assert layers.passes < selective.passes < plain.passes
    assert plain.flops_per_sample < selective.flops_per_sample < layers.flops_per_sample
    assert max(layers.passes, blocks.passes) < plain.passes
    assert layers.flops_per_sample * 3 == plain.flops_per_sample * 4
    again = estimate(replace(tiny, accumulation_steps=2))
    # Gradients are there from the second round on, and the first round's loss still is.
    assert plain.passes < again.passes <= plain.passes + plain.gradients + 4
    shared = estimate(replace(tiny, strategy="fsdp"))
    assert shared.optimiser * 4 == plain.optimiser == 8 * plain.trained_parameters
    assert plain.trained_parameters < plain.parameters  # queries and keys of the attention to one token
    frozen = estimate(replace(tiny, trained="pose_net"))
    assert frozen.trained_parameters < 0.3 * frozen.parameters
    assert frozen.gradients == 4 * frozen.trained_parameters


def test_work_grows_with_frames_and_not_with_the_micro_batch(tiny):
    one, more = estimate(replace(tiny, micro_batch=1)), estimate(tiny)
    assert one.flops_per_sample == pytest.approx(more.flops_per_sample, rel=0.01)
    assert estimate(replace(tiny, num_frames=8)).flops_per_sample > 1.9 * more.flops_per_sample


def test_the_text_names_memory_steps_and_days(tiny):
    needs = replace(estimate(tiny), flops_per_sample=10**15)
    text = describe(needs, tiny, steps=86400, batch=4, gpu="A100", utilisation=0.5)
    assert "86,400 steps of 4 samples, 1000.0 TFLOP a sample" in text
    assert "6.41 days on 4 x A100 at 50% of its peak" in text


def test_the_level_with_the_least_work_that_fits_is_named(tiny):
    levels = estimates(tiny)
    assert [*levels][:2] == ["off", "selective"]
    assert levels["selective"] == estimate(replace(tiny, activation_checkpointing="selective"))
    sizes = {"off": 90, "selective": 60, "blocks": 20, "layers": 30}
    big = {
        level: replace(levels[level], passes=size * 10**9, gradients=0, weights=0, optimiser=0, average=0)
        for level, size in sizes.items()
    }
    text = fitting_levels(big, "A100")
    assert "A100 of 40 GB: blocks" in text  # as many passes as layers, and less memory
    assert "A100 of 80 GB: selective" in text
    assert "RTX 4090 of 24 GB: blocks" in fitting_levels(big, "RTX 4090")
    assert "none of them fits" in fitting_levels({"off": big["off"]}, "A100")
    assert MEMORY_GB.keys() == PEAK_TFLOPS.keys()


def test_training_counts_three_forward_passes_of_one_sample(tiny):
    whole = estimate(replace(tiny, micro_batch=1))
    assert training_flops(tiny.unet, tiny.size_px, tiny.num_frames) == whole.flops_per_sample


def test_a_gpu_is_known_by_its_name(monkeypatch):
    assert peak_tflops(torch.device("cpu")) is None
    for name, known in (("NVIDIA A100-SXM4-40GB", "A100"), ("NVIDIA H200", "H200"), ("Tesla T4", None)):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        assert peak_tflops(torch.device("cuda")) == (PEAK_TFLOPS[known] if known else None)


def test_the_vae_is_counted():
    # A pixel costs a little more in a larger picture: attention in the middle.
    encode, decode = vae_flops({}, Size(576, 1024))
    assert encode == pytest.approx(2.61e12, rel=0.01)
    assert decode == pytest.approx(6.94e12, rel=0.01)
    assert 4 < encode / vae_flops({}, Size(288, 512))[0] < 4.5


def test_weights_and_a_checkpoint_are_reckoned_without_memory():
    for trained, checkpoint in (("all", 23.8e9), ("attention", 14.74e9)):
        shape = replace(TINY, trained=trained)
        weights = 4 * 1524.8e6
        assert weight_bytes(shape) == (pytest.approx(weights, rel=1e-3), pytest.approx(checkpoint, rel=1e-2))

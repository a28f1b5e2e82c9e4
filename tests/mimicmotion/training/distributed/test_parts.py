import pytest
import torch

from mimicmotion.diffusion.edm import added_time_ids, raw_target
from mimicmotion.model.svd import is_idle
from mimicmotion.training.distributed.parts import (
    checkpoint_activations,
    choose_trained,
    learning_rate,
    shard,
)
from mimicmotion.training.ema import MovingAverage
from mimicmotion.training.loss import denoising_loss
from mimicmotion.training.network import PosedDenoiser


@pytest.fixture
def network(base):
    from mimicmotion.model.pose_net import PoseNet
    from mimicmotion.model.unet import PoseUNet

    unet = PoseUNet.from_pretrained(base / "unet", low_cpu_mem_usage=False)
    pose_net = PoseNet.from_pretrained(base / "pose_net", low_cpu_mem_usage=False)
    return PosedDenoiser(unet, pose_net).train()


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return {
        "latents": normal(2, 3, 8, 8, 8),
        "reference_latents": normal(2, 8, 8, 8),
        "pose_images": normal(2, 3, 3, 64, 64),
        "image_embeds": normal(2, 1, 16),
        "time_ids": added_time_ids(7, 127, torch.zeros(2)),
        "sigma": torch.tensor([0.5, 3.0]),
        "noise": normal(2, 3, 8, 8, 8),
        "dropped": torch.tensor([False, True]),
    }


def names(network):
    return {name for name, value in network.named_parameters() if value.requires_grad}


def test_a_part_is_chosen_and_the_pose_net_always_trains(network):
    every = {name for name, _ in network.named_parameters() if not is_idle(name)}
    assert "unet.down_blocks.0.resnets.0.spatial_res_block.norm2.weight" in every
    pose = {name for name in every if name.startswith("pose_net.")}
    choose_trained(network, "all")
    assert names(network) == every
    choose_trained(network, "pose_net")
    assert names(network) == pose
    choose_trained(network, "attention")
    assert names(network) - pose == {name for name in every if ".attentions." in name}
    choose_trained(network, "temporal")
    temporal = names(network) - pose
    assert any("temporal_transformer_blocks" in name for name in temporal)
    assert any("temporal_res_block" in name for name in temporal)
    assert not any(".spatial_res_block." in name or ".transformer_blocks." in name for name in temporal)


def test_each_part_gets_gradients_and_the_rest_does_not(network, inputs):
    choose_trained(network, "temporal")
    denoising_loss(network, **inputs).total.backward()
    for name, value in network.named_parameters():
        assert (value.grad is not None) == value.requires_grad, name


@pytest.mark.parametrize(("level", "share"), [("layers", 0.5), ("blocks", 0.5), ("selective", 1.0)])
def test_recomputing_changes_memory_and_nothing_else(network, inputs, level, share):
    def held(module):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            loss = denoising_loss(module, **inputs).total
        loss.backward()
        grads = {name: value.grad.clone() for name, value in module.named_parameters()}
        module.zero_grad()
        return sum(kept), loss, grads

    plain_size, plain_loss, plain = held(network)
    before = set(network.state_dict())
    checkpoint_activations(network, level)
    size, loss, grads = held(network)
    assert set(network.state_dict()) == before
    assert size < share * plain_size
    torch.testing.assert_close(loss, plain_loss)
    for name, value in plain.items():
        torch.testing.assert_close(grads[name], value, msg=name)


def test_the_unconditional_sample_sees_no_embedding_no_reference_and_no_pose(network, inputs):
    """Changing the conditions of a dropped sample changes nothing; of the other sample, it does."""
    target = raw_target(inputs["latents"], inputs["noise"], inputs["sigma"])
    with torch.no_grad():
        losses = denoising_loss(network, **inputs).per_sample
        for name in ("image_embeds", "reference_latents", "pose_images"):
            changed = denoising_loss(network, **{**inputs, name: inputs[name] + 1}).per_sample
            assert changed[1] == losses[1], name
            assert changed[0] != losses[0], name

        no_pose = network.unet(
            torch.cat(
                [(inputs["latents"] + 3 * inputs["noise"])[1:] / 10**0.5, torch.zeros(1, 3, 8, 8, 8)], 2
            ),
            inputs["sigma"][1:].log() / 4,
            torch.zeros(1, 1, 16),
            inputs["time_ids"][1:],
            return_dict=False,
        )[0]
    unconditional = ((no_pose - target[1:]) ** 2).mean()
    torch.testing.assert_close(losses[1], unconditional)


@pytest.fixture
def lone_group(tmp_path):
    """A process group of this process alone."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_shards_in_half_precision_compute_as_autocast_does_and_keep_the_noise_level(
    network, inputs, lone_group
):
    def loss_and_gradient():
        with torch.autocast("cpu", torch.bfloat16):
            loss = denoising_loss(network, **inputs).total
        loss.backward()
        gradient = network.unet.conv_in.weight.grad
        network.zero_grad()
        return loss.detach(), gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient

    plain, plain_gradient = loss_and_gradient()
    seen = []
    for layer in (network.unet.time_proj, network.unet.add_time_proj):
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    shard(network, half=True)
    loss, gradient = loss_and_gradient()
    assert torch.equal(seen[0], inputs["sigma"].log() / 4)
    assert torch.equal(seen[1], inputs["time_ids"].flatten())
    torch.testing.assert_close(loss, plain, rtol=1e-3, atol=0)
    assert (gradient - plain_gradient).norm() < 0.02 * plain_gradient.norm()


def test_the_average_leaves_nothing_of_itself_in_gathered_shards(network, inputs, lone_group):
    """A forward pass without a backward one leaves parameters gathered: they must be gathered anew."""

    @torch.no_grad()
    def validated():
        return denoising_loss(network, **inputs).total

    average = MovingAverage(network, decay=0.9)
    for value in average.state_dict().values():
        value.mul_(1.1)
    own = validated()
    with average.applied(network):
        averaged = validated()
    assert averaged != own
    shard(network, half=False)
    average = MovingAverage(network, decay=0.9)
    for value in average.state_dict().values():
        value.mul_(1.1)
    for _ in range(2):
        torch.testing.assert_close(validated(), own)
        with average.applied(network):
            torch.testing.assert_close(validated(), averaged)
    loss = denoising_loss(network, **inputs).total
    loss.backward()
    torch.testing.assert_close(loss.detach(), own)


def test_the_learning_rate_warms_up_then_stays():
    rates = [learning_rate(step, 1e-5, 4) for step in range(6)]
    assert rates == pytest.approx([0.25e-5, 0.5e-5, 0.75e-5, 1e-5, 1e-5, 1e-5])
    assert learning_rate(0, 1.0, 0) == 1.0

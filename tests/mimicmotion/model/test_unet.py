"""The network against the released code's numbers and against upstream."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import nn

from mimicmotion.model import attention
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.svd import is_idle
from mimicmotion.model.unet import PoseUNet


def tiny_inputs(frames: int = 3, batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "sample": normal(batch, frames, 8, 8, 8),
        "timestep": torch.tensor([0.1, -0.4])[:batch],
        "encoder_hidden_states": normal(batch, 1, 16),
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.0]]).repeat(batch, 1),
    }


@torch.no_grad()
def test_golden_network(golden: Path, fill: Callable[[nn.Module, str], None]) -> None:
    config = json.loads((golden / "network.json").read_text())
    vectors = {name: torch.from_numpy(value) for name, value in np.load(golden / "network.npz").items()}
    unet = PoseUNet(**config["unet"]).eval()
    pose_net = PoseNet(out_channels=config["pose_net"]["noise_latent_channels"]).eval()
    fill(unet, "unet.")
    fill(pose_net, "pose_net.")

    features = pose_net(vectors["pose"])
    conditions = (vectors["timestep"], vectors["clip"], vectors["added_time_ids"])
    with_pose = unet(vectors["sample"], *conditions, pose_latents=features).sample
    without = unet(vectors["sample"], *conditions, return_dict=False)[0]

    torch.testing.assert_close(features, vectors["pose_latents"], atol=1e-4, rtol=0)
    torch.testing.assert_close(with_pose, vectors["unet_out"], atol=1e-4, rtol=0)
    torch.testing.assert_close(without, vectors["unet_out_without_pose"], atol=1e-4, rtol=0)


def test_equals_upstream_without_pose(tiny: PoseUNet, tiny_config: dict) -> None:
    upstream = UNetSpatioTemporalConditionModel(**tiny_config).eval()
    upstream.load_state_dict(tiny.state_dict())
    inputs = tiny_inputs()
    expected = upstream(**inputs).sample
    assert torch.equal(tiny(**inputs).sample, expected)
    no_pose = torch.zeros(6, 32, 8, 8)
    assert torch.equal(tiny(**inputs, pose_latents=no_pose).sample, expected)


def test_attention_to_one_token_is_left_out_without_gradients(tiny: PoseUNet) -> None:
    inputs = tiny_inputs()
    full = tiny(**inputs).sample.detach()
    queries = [layer for name, layer in tiny.named_modules() if name.endswith("attn2.to_q")]
    asked: list[int] = []
    hooks = [layer.register_forward_hook(lambda *_: asked.append(1)) for layer in queries]
    with torch.no_grad():
        torch.testing.assert_close(tiny(**inputs).sample, full)
        assert not asked
        two_tokens = inputs | {"encoder_hidden_states": torch.zeros(2, 2, 16)}
        tiny(**two_tokens)
        assert len(asked) == len(queries) > 0
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def test_rows_beyond_the_grid_of_a_gpu_attend_in_parts(tiny: PoseUNet, monkeypatch) -> None:
    whole, asked = tiny(**tiny_inputs()).sample, []
    monkeypatch.setattr(attention, "_MOST_ROWS", 50)
    attend = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda query, *rest, **how: asked.append(len(query)) or attend(query, *rest, **how),
    )
    torch.testing.assert_close(tiny(**tiny_inputs()).sample, whole, rtol=0, atol=1e-6)
    assert {50, 28} <= {*asked}, "2 samples of 64 latent pixels are 128 rows"
    assert max(asked) == 50


def test_attention_to_one_token_is_upstreams_in_training_too(tiny: PoseUNet, tiny_config: dict) -> None:
    """Output and every gradient, in double precision; idle parameters are those without one."""
    upstream = UNetSpatioTemporalConditionModel(**tiny_config).double()
    ours = PoseUNet(**tiny_config).double()
    for network in (upstream, ours):
        network.load_state_dict(tiny.state_dict())
    for name, value in ours.named_parameters():
        value.requires_grad_(not is_idle(name))
    inputs = {name: value.double().requires_grad_() for name, value in tiny_inputs().items()}
    outputs = [network(**inputs).sample for network in (ours, upstream)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-12)
    tokens = [
        torch.autograd.grad(out.square().sum(), inputs["encoder_hidden_states"], retain_graph=True)
        for out in outputs
    ]
    torch.testing.assert_close(tokens[0], tokens[1])
    for out in outputs:
        out.square().sum().backward()
    found, num_idle = dict(ours.named_parameters()), 0
    for name, value in upstream.named_parameters():
        assert value.grad is not None
        if is_idle(name):
            num_idle += 1
            assert found[name].grad is None
            assert value.grad.abs().max() < 1e-12
        else:
            torch.testing.assert_close(found[name].grad, value.grad, msg=name)
    assert num_idle == 4 * 2 * 4  # transformers, blocks in each, and norm (2), queries and keys in each block


@torch.no_grad()
def test_pose_is_added_once_after_conv_in(tiny: PoseUNet, tiny_config: dict) -> None:
    """A constant feature equals the same constant on conv_in's bias."""
    inputs = tiny_inputs()
    shift = torch.linspace(-1, 1, 32)
    moved = PoseUNet(**tiny_config).eval()
    moved.load_state_dict(tiny.state_dict())
    moved.conv_in.bias += shift
    features = shift[None, :, None, None].expand(6, -1, 8, 8)
    actual = tiny(**inputs, pose_latents=features).sample
    torch.testing.assert_close(actual, moved(**inputs).sample)
    assert not torch.allclose(actual, tiny(**inputs).sample, atol=1e-3)


def test_gradients_reach_the_pose_with_checkpointing_and_autocast(tiny_config: dict) -> None:
    torch.manual_seed(0)
    unet = PoseUNet(**tiny_config).train()
    inputs = tiny_inputs()
    gradients = []
    for checkpointing in (False, True):
        unet.zero_grad()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        features = torch.full((6, 32, 8, 8), 0.5, requires_grad=True)
        unet(**inputs, pose_latents=features).sample.square().mean().backward()
        assert features.grad is not None
        gradients.append(features.grad)
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[0], gradients[1])

    with torch.autocast("cpu", torch.bfloat16):
        output = unet(**inputs, pose_latents=torch.zeros(6, 32, 8, 8, dtype=torch.bfloat16)).sample
    assert output.dtype == torch.bfloat16


def test_config_round_trip(tiny: PoseUNet, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path)
    again = PoseUNet.from_pretrained(tmp_path, low_cpu_mem_usage=False).eval()
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "PoseUNet"
    assert list(again.config.block_out_channels) == [32, 32]
    inputs = tiny_inputs()
    with torch.no_grad():
        assert torch.equal(again(**inputs).sample, tiny(**inputs).sample)


def test_fresh_pose_net_gives_zeros_and_takes_any_width(tmp_path: Path) -> None:
    net = PoseNet(block_out_channels=(8, 12, 16, 24), out_channels=40)
    features = net(torch.rand(2, 3, 32, 24))
    assert features.shape == (2, 40, 4, 3)
    assert not features.any()
    net.save_pretrained(tmp_path)
    assert PoseNet.from_pretrained(tmp_path, low_cpu_mem_usage=False).final_proj.out_channels == 40


def test_full_size_has_exactly_the_released_tensors(golden: Path) -> None:
    with torch.device("meta"):
        modules = {"unet": PoseUNet(sample_size=96, num_frames=25), "pose_net": PoseNet()}
    ours = {
        f"{part}.{name}": list(value.shape)
        for part, module in modules.items()
        for name, value in module.state_dict().items()
    }
    assert ours == json.loads((golden / "checkpoint_keys.json").read_text())


def test_what_is_ours_compiles_as_one_graph(tiny: PoseUNet) -> None:
    """The tracer alone, without code generation, on the two parts that differ from upstream."""
    attention = next(part for name, part in tiny.named_modules() if name.endswith("attn2"))

    def ours(joined: torch.Tensor, states: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return tiny.conv_in(joined).sum() + attention(states, encoder_hidden_states=token).sum()

    inputs = torch.ones(1, 40, 8, 8), torch.ones(1, 64, 32), torch.ones(1, 1, 16)
    with torch.no_grad():
        compiled = torch.compile(ours, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(*inputs), ours(*inputs))

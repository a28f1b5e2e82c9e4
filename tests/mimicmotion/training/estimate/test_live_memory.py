"""Bytes counted without memory are those that a real allocator hands out, in the precisions of a GPU."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet
from mimicmotion.training.distributed.parts import CHECKPOINTED, checkpoint_activations
from mimicmotion.training.estimate.live_memory import CudaAutocast, LiveBytes
from mimicmotion.training.network import PosedDenoiser

FLOAT32 = torch.float32


def test_a_chain_of_layers_holds_what_a_count_by_hand_says() -> None:
    network = nn.Sequential(nn.Linear(10, 20, bias=False), nn.ReLU(), nn.Linear(20, 10, bias=False)).to(
        "meta"
    )
    live = LiveBytes(network)
    with live:
        output = network(torch.empty(5, 10, device="meta"))
    # The input, what the second layer makes of the first's (kept by ReLU and the third), and the output.
    assert live.now == 4 * (5 * 10 + 5 * 20 + 5 * 10)
    # What ReLU reads lived until it was done.
    assert live.peak == live.now + 4 * 5 * (20 - 10)
    del output
    assert live.now == 0


def test_a_tensor_may_count_for_less() -> None:
    with LiveBytes(nn.Identity()) as live:
        value = torch.empty(100, device="meta")
        live.weigh(value, 50)
        assert (live.now, live.peak) == (50, 400)
        del value
    assert live.now == 0


Make = Callable[..., Tensor]
"""Returns a float32 tensor of a size, on the device in question."""

OPERATORS: dict[str, Callable[[Tensor, Make], Tensor]] = {
    "conv2d": lambda x, make: functional.conv2d(x, make(8, 8, 1, 1)),
    "conv3d": lambda x, make: functional.conv3d(x.unsqueeze(2), make(8, 8, 1, 1, 1)),
    "linear": lambda x, make: functional.linear(x, make(4, 4)),
    "matmul": lambda x, make: torch.matmul(x, make(4, 4)),
    "group norm": lambda x, make: functional.group_norm(x, 2, make(8), make(8)),
    "layer norm": lambda x, make: functional.layer_norm(x, (4,), make(4), make(4)),
    "softmax": lambda x, make: functional.softmax(x, dim=-1),
    "silu": lambda x, make: functional.silu(x),
    "gelu": lambda x, make: functional.gelu(x),
    "sum": lambda x, make: x + make(4),
    "joined": lambda x, make: torch.cat([x, make(2, 8, 4, 4)]),
    "attention": lambda x, make: functional.scaled_dot_product_attention(x, x, x),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_precisions_are_those_that_torch_chooses_on_a_gpu(name: str, given: torch.dtype) -> None:
    mode = FakeTensorMode()

    def on_meta(*size: int, dtype: torch.dtype = FLOAT32) -> Tensor:
        return torch.empty(*size, dtype=dtype, device="meta")

    def on_gpu(*size: int, dtype: torch.dtype = FLOAT32) -> Tensor:
        return FakeTensor(mode, on_meta(*size, dtype=dtype), torch.device("cuda:0"))

    given_on_gpu = on_gpu(2, 8, 4, 4, dtype=given)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    try:
        with mode:
            chosen = OPERATORS[name](given_on_gpu, on_gpu).dtype
    finally:
        torch.set_autocast_enabled("cuda", False)
    with CudaAutocast():
        ours = OPERATORS[name](on_meta(2, 8, 4, 4, dtype=given), on_meta).dtype
    assert ours == chosen


def _pass(network: PosedDenoiser, device: str) -> Tensor:
    cross = network.unet.config.cross_attention_dim
    output: Tensor = network(
        torch.zeros(1, 8, 16, 24, 24, device=device),
        torch.zeros(1, device=device),
        torch.zeros(1, 1, cross, device=device),
        torch.zeros(1, 3, device=device),
        torch.zeros(1, 8, 3, 192, 192, device=device),
        torch.zeros(1, dtype=torch.bool, device=device),
    )
    return output.square().mean()


def _allocated(work: Callable[[], None]) -> int:
    """Return the most that the CPU's allocator had out at once, above what it had before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as recorded:
        work()
    now = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


@pytest.mark.parametrize("level", ["off", "layers", "blocks"])
def test_the_peak_is_that_of_a_real_allocator(base, level) -> None:
    config = json.loads((base / "unet" / "config.json").read_text())
    config["block_out_channels"] = [32, 64]

    def make(device: str) -> PosedDenoiser:
        with torch.device(device):
            unet = PoseUNet.from_config(config)
            network = PosedDenoiser(unet, PoseNet(out_channels=unet.config.block_out_channels[0]))
        return network.to(device)

    real, other = make("cpu"), make("meta")
    checkpoint_activations(real, level)
    measured = _allocated(lambda: torch.autograd.backward(_pass(real, "cpu")))
    autocast = CudaAutocast(FLOAT32)
    autocast.reach_into(other, CHECKPOINTED[level])
    checkpoint_activations(other, level)
    with LiveBytes(other) as live:
        with autocast:
            loss = _pass(other, "meta")
        torch.autograd.backward(loss)
    assert live.peak == pytest.approx(measured, rel=0.1)

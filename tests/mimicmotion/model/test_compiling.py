"""Blocks compiled one by one: each form of block once, and in training as a plain network."""

from copy import deepcopy

import pytest
import torch
from torch._dynamo.backends.registry import lookup_backend

from mimicmotion.model.compiling import compile_blocks
from mimicmotion.model.unet import PoseUNet
from mimicmotion.training.distributed.parts import CHECKPOINTED, checkpoint_activations

pytestmark = [
    # Of what torch traces, and of a module its compiler imports.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning"),
]


class CountingBackend:
    """Differentiates graphs as the real backend does, but writes no kernels, which takes minutes."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return lookup_backend("aot_eager")(graph, inputs)


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return PoseUNet(
        sample_size=8,
        down_block_types=("DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"),
        up_block_types=("CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=16,
        num_attention_heads=2,
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=48,
    )


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    sample, embeds = (torch.randn(size, generator=generator) for size in ((1, 2, 8, 8, 8), (1, 1, 16)))
    return sample, torch.tensor([0.3]), embeds, torch.tensor([[6.0, 127.0, 0.0]])


def loss(unet, inputs):
    return unet(*inputs, return_dict=False)[0].square().mean()


def forms(unet, inputs, kinds):
    """How many kinds of block there are, told apart by their parameters and inputs."""
    found, hooks = set(), []

    def see(module, given):
        shapes = [value.shape for value in (*module.parameters(), *given) if isinstance(value, torch.Tensor)]
        found.add((type(module), tuple(shapes)))

    blocks = [module for module in unet.modules() if isinstance(module, kinds)]
    for block in blocks:
        hooks.append(block.register_forward_pre_hook(see))
    loss(unet, inputs)
    for hook in hooks:
        hook.remove()
    assert len(found) < len(blocks)
    return len(found)


@pytest.fixture
def low_limit():
    """Torch gives up after two forms, and says so; what it has compiled before is forgotten."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=2, fail_on_recompile_limit_hit=True):
        yield


@pytest.mark.usefixtures("low_limit")
def test_each_form_is_compiled_once_and_trains_as_a_plain_network(unet, inputs):
    """Beyond the number of forms that torch allows by itself, and with activations computed again."""
    backend, plain, kinds = CountingBackend(), deepcopy(unet), CHECKPOINTED["layers"]
    compile_blocks(unet, kinds, backend)
    checkpoint_activations(unet, "layers")
    ours, theirs = loss(unet, inputs), loss(plain, inputs)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)
    for (name, value), other in zip(unet.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(value.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)
    once = forms(plain, inputs, kinds)
    assert once > 2
    assert backend.graphs == once
    loss(unet, inputs).backward()
    assert backend.graphs == once

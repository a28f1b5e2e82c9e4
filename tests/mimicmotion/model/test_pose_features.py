"""Features of all frames, in memory and beyond it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mimicmotion.errors import InputError
from mimicmotion.model.pose_features import PoseFeatures, compute_pose_features
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.video.size import Size


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kept", [0, 2, 5, 100])
@pytest.mark.parametrize("announced", [None, 3, 7])
def test_frames_come_back_from_memory_and_file(dtype: torch.dtype, kept: int, announced: int | None) -> None:
    frames = torch.randn(7, 3, 2, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    frame_bytes = 24 * frames.element_size()
    with PoseFeatures(kept * frame_bytes + 1, announced) as features:
        features.append(frames[:4])
        assert torch.equal(features[torch.tensor([3, 0])], frames[[3, 0]])
        features.append(frames[4:])
        assert len(features) == 7
        order = torch.tensor([6, 0, 3, 4, 0])
        assert torch.equal(features[order], frames[order])
        with pytest.raises(IndexError, match="frame 7 of 7"):
            features[torch.tensor([7])]


def test_a_temporary_folder_without_room_is_told_before_it_is_full(monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    frames = torch.zeros(2, 3, 2, 4)
    with (
        PoseFeatures(96, 12) as features,  # one stays in memory, eleven of 96 bytes do not fit
        pytest.raises(InputError, match=r"need 0\.0 GB in .*: set TMPDIR"),
    ):
        features.append(frames)
    with PoseFeatures(96, 11) as features:
        features.append(frames)


def test_the_network_sees_each_frame_once() -> None:
    torch.manual_seed(0)
    net = PoseNet(block_out_channels=(8, 8, 8, 8), out_channels=8)
    torch.nn.init.normal_(net.final_proj.weight)
    batches: list[int] = []
    net.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
    poses = np.random.default_rng(0).integers(0, 256, (11, 3, 16, 8), np.uint8)
    with compute_pose_features(net, iter(poses), Size(8, 16), batch_size=4, memory_bytes=200) as features:
        assert batches == [4, 4, 3]
        expected = net(torch.from_numpy(poses) / 127.5 - 1).detach()
        torch.testing.assert_close(features[torch.arange(11)], expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_keeps_what_fits_and_takes_no_more_room() -> None:
    net = PoseNet(block_out_channels=(8, 8, 8, 8), out_channels=8).cuda()
    poses = np.random.default_rng(0).integers(0, 256, (11, 3, 64, 64), np.uint8)
    before = torch.cuda.memory_allocated()
    with compute_pose_features(net, iter(poses), Size(64, 64), num_frames=11) as features:
        held = torch.cuda.memory_allocated() - before
        size = features[torch.arange(11)].nbytes
        assert size <= held < 2 * size + 2**20
        with compute_pose_features(net, iter(poses), Size(64, 64), memory_bytes=0) as in_file:
            assert torch.equal(features[torch.arange(11)], in_file[torch.arange(11)])

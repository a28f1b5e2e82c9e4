"""Backbones load from the published file forms and give the features of their metric."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scripted import save_script, save_trusted
from torch import nn
from torch.nn import functional

from mimicmotion.errors import InputError, WeightsError
from mimicmotion.metrics.backbones.features import FORMS, load_backbone
from mimicmotion.metrics.backbones.i3d import I3D
from mimicmotion.metrics.backbones.resnet3d import ResNet3D50
from mimicmotion.metrics.backbones.small_video_net import SmallVideoNet
from mimicmotion.metrics.perceptual import load_perceptual

CPU = torch.device("cpu")


def frames(count, seed=0, size=(48, 32)):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("small") / "fvd_small.safetensors"
    save_file(SmallVideoNet().state_dict(), path)
    return path


def test_windows_slide_by_one_frame_and_do_not_depend_on_batches(small):
    video = frames(12)
    one = load_backbone("fvd_small", small, CPU, batch_size=1).features(video, 8)
    many = load_backbone("fvd_small", small, CPU, batch_size=3).features(video, 8)
    alone = load_backbone("fvd_small", small, CPU).features(video[2:10], 8)
    assert one.shape == (5, 64)
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, many, atol=1e-5)
    np.testing.assert_allclose(one[2:3], alone, atol=1e-5)


def test_a_video_shorter_than_the_window_has_no_features(small):
    assert load_backbone("fvd_small", small, CPU).features(frames(7), 8).shape == (0, 64)


def test_the_file_is_named_by_its_hash(small, tmp_path):
    other = tmp_path / "other.safetensors"
    save_file(SmallVideoNet().state_dict(), other)
    assert load_backbone("fvd_small", small, CPU).sha256 != load_backbone("fvd_small", other, CPU).sha256


def test_i3d_state_dict_gives_400_logits(tmp_path):
    """Names of the published port; old files have no step counters."""
    torch.manual_seed(0)
    state = {k: v for k, v in I3D().state_dict().items() if not k.endswith("num_batches_tracked")}
    assert state["Mixed_4f.b2b.conv3d.weight"].shape == (128, 32, 3, 3, 3)
    assert state["logits.conv3d.bias"].shape == (400,)
    path = tmp_path / "i3d_pretrained_400.pt"
    torch.save(state, path)
    features = load_backbone("fvd", path, CPU).features(frames(9), 9)
    assert features.shape == (1, 400)
    assert features.std() > 0


def test_i3d_needs_nine_frames(tmp_path):
    path = tmp_path / "i3d.safetensors"
    save_file(I3D().state_dict(), path)
    with pytest.raises(InputError, match="at least 9"):
        load_backbone("fvd", path, CPU).features(frames(8), 8)


class PublishedScript(nn.Module):
    """The call of the published TorchScript I3D: it changes pixels itself unless told not to."""

    def forward(self, x, rescale: bool = True, resize: bool = True, return_features: bool = False):
        x = x.mean(dim=(1, 3, 4)).mean(dim=1, keepdim=True).repeat(1, 400)
        if rescale or resize:
            return x + 1000.0
        if return_features:
            return x
        return x.softmax(1)


class Harmful(nn.Module):
    """Its code runs as soon as the file is opened."""

    @torch.jit.export
    def __getstate__(self):
        return (torch.zeros(1), self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.training = state[1]
        torch.save(state[0], "harmed")

    def forward(self, x):
        return x


def test_a_script_that_nobody_vouches_for_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digest = save_script(Harmful(), tmp_path / "i3d.pt")
    with pytest.raises(WeightsError, match=f"MIMICMOTION_TRUSTED_SCRIPTS={digest}"):
        load_backbone("fvd", tmp_path / "i3d.pt", CPU)
    with pytest.raises(WeightsError, match="a program that may do anything here"):
        load_perceptual(tmp_path / "i3d.pt", CPU)
    assert not (tmp_path / "harmed").exists()


def test_torchscript_is_called_for_raw_logits(tmp_path, monkeypatch):
    path = tmp_path / "i3d_torchscript.pt"
    save_trusted(PublishedScript(), path, monkeypatch)
    features = load_backbone("fvd", path, CPU).features(np.zeros((16, 8, 8, 3), np.uint8), 16)
    assert features[0].tolist() == [-1.0] * 400


def test_3d_resnet_checkpoint_of_a_parallel_training_gives_2048_features(tmp_path):
    torch.manual_seed(0)
    state = {f"module.{k}": v for k, v in ResNet3D50().state_dict().items()}
    assert state["module.layer4.0.downsample.0.weight"].shape == (2048, 1024, 1, 1, 1)
    state["module.fc.weight"], state["module.fc.bias"] = torch.zeros(400, 2048), torch.zeros(400)
    path = tmp_path / "resnet-50-kinetics.pth"
    torch.save({"epoch": 1, "arch": "resnet-50", "state_dict": state}, path)
    assert load_backbone("fid_vid", path, CPU).features(frames(4), 4).shape == (1, 2048)


def test_pixels_reach_the_network_in_its_own_range(small):
    backbone = load_backbone("fvd_small", small, CPU)
    seen = {}

    def spy(video):
        seen["video"] = video
        return torch.zeros(len(video), 64)

    replace(backbone, network=spy).features(np.full((8, 20, 10, 3), 255, np.uint8), 8)
    assert seen["video"].shape == (1, 3, 8, 96, 64)
    assert seen["video"].min() == pytest.approx(1.0, abs=1e-5)


def test_a_tall_frame_is_resized_as_if_at_once(small):
    frame = np.random.default_rng(0).integers(0, 256, (1, 150, 70, 3), dtype=np.uint8)
    whole = torch.from_numpy(frame).permute(0, 3, 1, 2).float()
    expected = functional.interpolate(whole, size=(96, 64), mode="bicubic", antialias=True)
    backbone = load_backbone("fvd_small", small, CPU)
    form = replace(backbone.form, mean=(0.0,) * 3, scale=(1.0,) * 3)
    assert torch.equal(replace(backbone, form=form).prepared(frame), expected)


def test_every_frame_goes_to_the_device_once_and_few_are_held_there(small, monkeypatch):
    device, moved, seen = torch.device("meta"), [], []
    to = torch.Tensor.to

    def spied_to(tensor, *args, **kwargs):
        if device in args:
            moved.append(len(tensor))
        return to(tensor, *args, **kwargs)

    def network(video):
        seen.append(video.untyped_storage().nbytes() // (3 * 96 * 64 * 4))
        return torch.zeros(len(video), 64)

    monkeypatch.setattr(torch.Tensor, "to", spied_to)
    backbone = replace(load_backbone("fvd_small", small, CPU, batch_size=2), device=device, network=network)
    assert backbone.features(frames(41), 8).shape == (34, 64)
    assert sum(moved) == 41
    assert max(moved) <= 8
    assert seen == [8, *[16] * 16, 8]


def test_missing_or_foreign_files_are_refused(small, tmp_path):
    with pytest.raises(WeightsError, match="not at"):
        load_backbone("fvd", tmp_path / "absent.pt", CPU)
    with pytest.raises(WeightsError, match="does not hold I3D"):
        load_backbone("fvd", small, CPU)
    with pytest.raises(InputError, match="choose one of"):
        load_backbone("vmaf", small, CPU)
    with pytest.raises(WeightsError, match="no TorchScript file"):
        load_backbone("fid", small, CPU)
    assert set(FORMS) == {"fvd", "fid_vid", "fvd_small", "fid", "videomae", "vjepa"}


class PublishedInception(nn.Module):
    """As the published Inception script: pictures in 0..255 of any size, probabilities unless told not to."""

    def forward(self, img: torch.Tensor, return_features: bool = False):
        colours = img.to(torch.float32).mean((2, 3))
        if return_features:
            return colours.repeat(1, 683)[:, :2048]
        return colours.softmax(1)


def test_fid_sees_single_frames_as_they_are(tmp_path, monkeypatch):
    path = tmp_path / "inception.pt"
    save_trusted(PublishedInception(), path, monkeypatch)
    video = frames(5)
    features = load_backbone("fid", path, CPU, batch_size=2).features(video, 16)
    assert features.shape == (5, 2048)
    np.testing.assert_allclose(features[:, :3], video.mean((1, 2)), atol=1e-3)


def test_a_whole_video_is_the_mean_of_windows_side_by_side_the_last_one_filled_up(small):
    backbone = load_backbone("fvd_small", small, CPU)
    video = frames(19)
    whole = stream_of(backbone, video).video_features()
    filled = np.concatenate([video[16:], np.repeat(video[-1:], 5, axis=0)])
    parts = [backbone.features(part, 8) for part in (video[:8], video[8:16], filled)]
    np.testing.assert_allclose(whole, np.concatenate(parts).mean(0, keepdims=True), atol=1e-6)
    assert stream_of(backbone, video[:3]).video_features().shape == (1, 64)


def stream_of(backbone, video, parts=1):
    stream = backbone.stream(8)
    for part in np.array_split(video, parts):
        stream.add(part)
    return stream


@pytest.mark.parametrize("parts", [2, 5, 19])
def test_frames_that_come_in_parts_give_the_same_features(small, parts):
    backbone = load_backbone("fvd_small", small, CPU)
    whole, split = (stream_of(backbone, frames(19), number) for number in (1, parts))
    np.testing.assert_allclose(split.features(), whole.features(), atol=1e-5)
    np.testing.assert_allclose(split.video_features(), whole.video_features(), atol=1e-5)

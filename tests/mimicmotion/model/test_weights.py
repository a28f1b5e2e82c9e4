"""Every form of weights, from each to each, strictly."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from safetensors.torch import load_file, save_file
from torch import nn

from mimicmotion.errors import WeightsError
from mimicmotion.model.pipeline import MimicMotionPipeline
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet
from mimicmotion.model.weights import convert, load_pipeline, read_released, save_released
from mimicmotion.weights.facts import told_by
from mimicmotion.weights.tensors import fill_strictly, read_tensors


@pytest.fixture
def folder(small_pipeline: MimicMotionPipeline, tmp_path: Path) -> Path:
    small_pipeline.guidance = {"use_confidence": True}
    small_pipeline.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def same(one: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return one.state_dict().keys() == others.keys() and all(
        torch.equal(value, others[name]) for name, value in one.state_dict().items()
    )


def test_folder_loads_with_all_parts(small_pipeline: MimicMotionPipeline, folder: Path) -> None:
    loaded = load_pipeline(folder)
    for part in ("unet", "pose_net", "vae", "image_encoder"):
        assert same(getattr(loaded, part), getattr(small_pipeline, part)), part
        assert not getattr(loaded, part).training
    assert loaded.guidance == {"use_confidence": True}
    assert isinstance(loaded.unet, PoseUNet)
    assert load_pipeline(folder, dtype=torch.bfloat16).vae.dtype == torch.bfloat16


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_released_file_stands_on_a_base(
    small_pipeline: MimicMotionPipeline, folder: Path, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"released{suffix}"
    save_released(small_pipeline, file)
    assert set(read_tensors(file)) == set(read_released(folder))
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    loaded = load_pipeline(file, base=folder)
    assert same(loaded.unet, small_pipeline.unet)
    assert same(loaded.pose_net, small_pipeline.pose_net)
    with pytest.raises(WeightsError, match="Stable Video Diffusion"):
        load_pipeline(file)


def test_a_file_of_torch_before_it_wrote_archives_loads(
    small_pipeline: MimicMotionPipeline, folder: Path, tmp_path: Path
) -> None:
    save_released(small_pipeline, tmp_path / "new.pth")
    tensors = read_tensors(tmp_path / "new.pth")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    loaded = load_pipeline(tmp_path / "old.pth", base=folder)
    assert same(loaded.unet, small_pipeline.unet)
    torch.save({"weights": Path}, tmp_path / "code.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="something else than tensors"):
        read_tensors(tmp_path / "code.pth")


def test_conversion_between_all_forms_changes_no_tensor(folder: Path, tmp_path: Path) -> None:
    expected = read_released(folder)
    convert(folder, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "b.safetensors")
    convert(tmp_path / "b.safetensors", tmp_path / "c", base=folder)
    convert(tmp_path / "c", tmp_path / "d.safetensors")
    final = load_file(tmp_path / "d.safetensors")
    assert final.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in final.items())
    with pytest.raises(WeightsError, match="is there already; delete it"):
        convert(folder, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"'.zip'"):
        save_released(expected, tmp_path / "e.zip")


def test_a_folder_takes_along_what_it_says_of_itself(folder: Path, tmp_path: Path) -> None:
    (folder / "training.json").write_text('{"num_frames": 8}')
    convert(folder, tmp_path / "made" / "copy")
    assert (tmp_path / "made" / "copy" / "training.json").read_text() == '{"num_frames": 8}'
    assert load_pipeline(tmp_path / "made" / "copy").guidance == {"use_confidence": True}
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["copy"]


def test_a_conversion_that_fails_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    save_file({"vae.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    save_file({"unet.weight": torch.zeros(1)}, tmp_path / "wrong.safetensors")
    for source, target in (("other", "a.pth"), ("wrong", "b"), ("nowhere", "c.pth")):
        with pytest.raises(WeightsError):
            convert(tmp_path / f"{source}.safetensors", tmp_path / "made" / target, base=folder)
    assert not list(tmp_path.glob("made/*"))


def test_svd_folder_starts_training_with_a_fresh_pose_net(
    small_pipeline: MimicMotionPipeline, folder: Path
) -> None:
    shutil.rmtree(folder / "pose_net")
    (folder / "guidance.json").unlink()
    upstream = UNetSpatioTemporalConditionModel(**small_pipeline.unet.config)
    upstream.load_state_dict(small_pipeline.unet.state_dict())
    upstream.save_pretrained(folder / "unet")

    fresh = load_pipeline(folder, new_pose_net=True)
    assert same(fresh.unet, small_pipeline.unet)
    assert not fresh.pose_net(torch.rand(1, 3, 16, 16)).any()
    with pytest.raises(WeightsError, match=r"pose_net/config.json is missing.*MimicMotion_1-1.pth"):
        load_pipeline(folder)


def test_one_error_lists_all_that_does_not_fit(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_out.extra"] = tensors.pop("conv_out.bias")
    tensors["conv_in.weight"] = tensors["conv_in.weight"][:, :4].contiguous()
    save_file(tensors, file)
    with pytest.raises(WeightsError) as caught:
        load_pipeline(folder)
    for expected in (
        "1 missing: conv_out.bias",
        "1 unexpected: conv_out.extra",
        "1 of another shape: conv_in.weight is (32, 4, 3, 3) instead of (32, 8, 3, 3)",
    ):
        assert expected in str(caught.value)


def test_long_lists_are_cut_and_counted() -> None:
    with pytest.raises(WeightsError, match=r"30 unexpected: .* and 10 more"):
        fill_strictly(nn.Identity(), {f"t{n}": torch.zeros(1) for n in range(30)}, "file")


def test_weights_in_several_files_and_foreign_files_are_named(folder: Path) -> None:
    (folder / "notes.json").write_bytes('{"a": "gr\xfcn"}'.encode("latin-1"))
    with pytest.raises(WeightsError, match=r"notes\.json is no text in UTF-8"):
        told_by(folder)
    (folder / "notes.json").write_text("{}", encoding="utf-8-sig")
    assert told_by(folder)["notes.json"] == "{}"
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00001.safetensors"))
    weights.with_name(f"{weights.name}.index.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"index\.json says that these weights lie in several files"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("vae/config.json", "Stable Video Diffusion XT 1.1"),
        ("vae/diffusion_pytorch_model.safetensors", "incomplete"),
        ("image_encoder/config.json", "accept its licence"),
        ("image_encoder/model.safetensors", "incomplete"),
        ("feature_extractor/preprocessor_config.json", "mimicmotion weights fetch"),
        ("unet/config.json", "restricts commercial use"),
    ],
)
def test_missing_files_are_named_with_their_source(folder: Path, missing: str, words: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(WeightsError, match=words) as caught:
        load_pipeline(folder)
    assert str(folder / missing) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "image_encoder/config.json",
        "image_encoder/model.safetensors",
        "feature_extractor/preprocessor_config.json",
    ],
)
def test_a_file_that_was_copied_by_half_is_told_in_a_sentence(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=rf"{name.partition('/')[0]}.* cannot be read"):
        load_pipeline(folder)


def test_image_encoder_is_strict_but_ignores_counted_positions(folder: Path) -> None:
    file = folder / "image_encoder" / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"vision_model.embeddings.position_ids": torch.arange(5)}, file, {"format": "pt"})
    load_pipeline(folder)
    del tensors["visual_projection.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"visual_projection\.weight"):
        load_pipeline(folder)


def test_half_precision_downloads_load_too(small_pipeline: MimicMotionPipeline, folder: Path) -> None:
    for part, stem in (("vae", "diffusion_pytorch_model"), ("image_encoder", "model")):
        plain = folder / part / f"{stem}.safetensors"
        halves = {name: value.half() for name, value in load_file(plain).items()}
        save_file(halves, folder / part / f"{stem}.fp16.safetensors", {"format": "pt"})
        plain.unlink()
    loaded = load_pipeline(folder)
    assert loaded.vae.dtype == loaded.image_encoder.dtype == torch.float32
    expected = small_pipeline.image_encoder.visual_projection.weight.half().float()
    assert torch.equal(loaded.image_encoder.visual_projection.weight, expected)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    class Surprise:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return print, ("arbitrary code",)

    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"unet.conv_in.weight": Surprise()}, file)
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    (tmp_path / "notes.txt").write_text("hello")
    save_file({"vae.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name, words in (
        ("evil.pth", "evil.pth"),
        ("list.pth", "tensors by name"),
        ("cut.safetensors", "cannot be read"),
        ("notes.txt", "no weight file"),
        ("other.safetensors", r"neither to unet.\* nor to pose_net.\*.*vae.weight"),
        ("nowhere.pth", "no weights at .*nowhere.pth"),
    ):
        with pytest.raises(WeightsError, match=words):
            load_pipeline(tmp_path / name)


@torch.no_grad()
def test_real_pose_net_gives_features(real_data: Path) -> None:
    file = real_data / "posenet" / "mimic_motion_pose_net.safetensors"
    net = fill_strictly(PoseNet(), read_tensors(file), str(file)).float()
    pose = torch.full((1, 3, 64, 48), -1.0)
    pose[..., 20:40, 10:30] = 0.7
    features = net(pose)
    assert features.shape == (1, 320, 8, 6)
    assert features.isfinite().all()
    assert features.abs().mean() > 1e-3
    assert features.flatten(2).std(dim=2).max() > 1e-3


def test_every_released_tensor_fits(golden: Path) -> None:
    """A file with every released name and the right shapes fits; tensors are views of one number."""
    shapes = json.loads((golden / "checkpoint_keys.json").read_text())
    tensors = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    for part, kind in (("unet", PoseUNet), ("pose_net", PoseNet)):
        with torch.device("meta"):
            network = kind()
        own = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(part)}
        assert not any(value.is_meta for value in fill_strictly(network, own, "released").parameters())

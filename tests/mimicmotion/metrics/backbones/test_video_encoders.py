"""Video transformers from folders of transformers and from ONNX graphs; everything else is refused."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file
from transformers import (
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    VJEPA2Config,
    VJEPA2Model,
)

from mimicmotion.errors import InputError, WeightsError
from mimicmotion.metrics.backbones.features import load_backbone

CPU = torch.device("cpu")
SMALL = {"patch_size": 16, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
MAE = VideoMAEConfig(image_size=32, num_frames=4, intermediate_size=12, **SMALL)


def frames(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 40, 24, 3)).astype(np.uint8)


def normalised(window):
    """(1, t, 3, 32, 32) as both families are shown pictures."""
    pixels = torch.from_numpy(window).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(pixels, (32, 32), mode="bicubic", antialias=True) / 255
    mean, scale = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((small - mean[:, None, None]) / scale[:, None, None])[None]


def test_videomae_gives_the_mean_of_its_tokens(tmp_path):
    torch.manual_seed(0)
    model = VideoMAEModel(MAE).eval()
    model.save_pretrained(tmp_path)
    backbone, film = load_backbone("videomae", tmp_path, CPU), frames(5)
    features = backbone.features(film, 4)
    with torch.no_grad():
        expected = model(normalised(film[1:5])).last_hidden_state.mean(1)
    np.testing.assert_allclose(features[1:], expected, atol=1e-4)
    assert (features.shape, len(backbone.sha256)) == ((2, 12), 64)
    assert backbone.features(frames(3), 4).shape == (0, 12)
    for window, words in ((8, "at most 4 frames"), (2, "at least 4 frames")):
        with pytest.raises(InputError, match=words):
            backbone.features(film, window)


def test_a_head_beside_the_encoder_does_no_harm_and_a_lacking_tensor_is_refused(tmp_path):
    VideoMAEForVideoClassification(MAE).save_pretrained(tmp_path)
    assert load_backbone("videomae", tmp_path, CPU).form.width == 12
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop(next(name for name in tensors if "layer" in name))
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="does not hold the whole encoder: 1 tensors"):
        load_backbone("videomae", tmp_path, CPU)


def test_vjepa_is_its_encoder_without_the_predictor(tmp_path):
    torch.manual_seed(0)
    predictor = {f"pred_{name}": value for name, value in SMALL.items() if name != "patch_size"}
    model = VJEPA2Model(VJEPA2Config(crop_size=32, frames_per_clip=4, **SMALL, **predictor)).eval()
    model.save_pretrained(tmp_path)
    film = frames(4)
    with torch.no_grad():
        expected = model.get_vision_features(normalised(film)).mean(1)
    np.testing.assert_allclose(load_backbone("vjepa", tmp_path, CPU).features(film, 4), expected, atol=1e-4)
    with pytest.raises(InputError, match="vjepa sees 2 frames at a time and would drop the last ones"):
        load_backbone("vjepa", tmp_path, CPU).features(film, 3)
    with pytest.raises(WeightsError, match="holds vjepa2; videomae needs videomae"):
        load_backbone("videomae", tmp_path, CPU)


def graph(path, shape, axes, kept=0):
    """An encoder that gives mean colours, over time too unless ``kept``."""
    pool = helper.make_node("ReduceMean", ["video"], ["features"], axes=axes, keepdims=0)
    made = ["n", 3] if not kept else ["n", kept, 3]
    given = helper.make_tensor_value_info("video", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("features", TensorProto.FLOAT, made)
    model = helper.make_model(
        helper.make_graph([pool], "g", [given], [out]), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("shape", "axes", "kept"),
    [
        (["n", 3, 4, 32, 32], [2, 3, 4], 0),
        (["n", 4, 3, 32, 32], [1, 3, 4], 0),
        (["n", 4, 3, 32, 32], [3, 4], 4),
        (["n", "t", 3, 32, 32], [1, 3, 4], 0),
    ],
)
def test_a_graph_says_its_order_and_size(tmp_path, shape, axes, kept):
    backbone = load_backbone("vjepa", graph(tmp_path / "v.onnx", shape, axes, kept), CPU)
    film = frames(4)
    expected = normalised(film).mean((1, 3, 4))
    np.testing.assert_allclose(backbone.features(film, 4), expected, atol=1e-4)
    assert backbone.form.max_frames == (None if "t" in shape else 4)


def test_other_files_are_refused_in_words(tmp_path):
    with pytest.raises(WeightsError, match="needed are one float32 input"):
        load_backbone("vjepa", graph(tmp_path / "v.onnx", ["n", 3, 4, "h", "w"], [2, 3, 4]), CPU)
    (tmp_path / "v.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match="give a folder in transformers' layout"):
        load_backbone("vjepa", tmp_path / "v.pt", CPU)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vjepa2"}))
    with pytest.raises(WeightsError, match=r"lacks model\.safetensors"):
        load_backbone("vjepa", tmp_path, CPU)
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"config\.json is no network's"):
        load_backbone("vjepa", tmp_path, CPU)

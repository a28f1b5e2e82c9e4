"""Appearance as a vector, from ONNX graphs and folders."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from mimicmotion.errors import WeightsError
from mimicmotion.metrics.film.appearance import IMAGENET_MEAN, IMAGENET_STD, PictureEmbedding
from mimicmotion.synthetic.faults import WEIGHTS

CPU = torch.device("cpu")


def graph(path, *, tokens, side=None, channels=3):
    """Means of the colours: a vector, or the first of two tokens, as vision transformers give."""
    shape = ["n", channels, side or "height", side or "width"]
    nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0)]
    out = ["n", channels]
    if tokens:
        nodes += [
            helper.make_node("Constant", [], ["axes"], value_ints=[1]),
            helper.make_node("Unsqueeze", ["mean", "axes"], ["one"]),
            helper.make_node("Neg", ["one"], ["other"]),
            helper.make_node("Concat", ["one", "other"], ["y"], axis=1),
        ]
        out = ["n", 2, channels]
    else:
        nodes.append(helper.make_node("Identity", ["mean"], ["y"]))
    model = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(model, opset_imports=[opset], ir_version=8), path)
    return path


def opened(path):
    return PictureEmbedding.open(path, CPU, cuda=False, allow_cpu=True)


@pytest.mark.parametrize(("tokens", "side"), [(False, 14), (True, None)])
def test_a_graph_gives_the_normalised_class_token(tmp_path, tokens, side):
    embedding = opened(graph(tmp_path / "dino.onnx", tokens=tokens, side=side))
    colour = np.array([200, 50, 120])
    picture = np.broadcast_to(colour, (30, 20, 3)).astype(np.uint8)
    expected = (colour / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(embedding.vector(picture), expected / np.linalg.norm(expected), atol=1e-3)
    assert len(embedding.sha256) == 64


def test_another_graph_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"no picture embedding.*\['n', 1, 8, 8\]"):
        opened(graph(tmp_path / "grey.onnx", tokens=False, side=8, channels=1))


def test_the_encoder_of_a_checkpoint_serves_too():
    embedding = opened(WEIGHTS / "base")
    picture = np.full((50, 30, 3), 128, np.uint8)
    assert embedding.vector(picture).shape == (64,)
    assert np.linalg.norm(embedding.vector(picture)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "batch", "said"),
    [
        (TensorProto.UINT8, "n", r"does not take \(1, 3, 8, 8\).*tensor\(uint8\)"),
        (TensorProto.FLOAT, 4, r"does not take \(1, 3, 8, 8\).*\[4, 3, 8, 8\]"),
        (TensorProto.FLOAT, 1, "numbers that are not finite"),
    ],
)
def test_a_graph_that_gives_no_vector_of_a_picture_is_refused_when_it_is_opened(tmp_path, kind, batch, said):
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Sub", ["m", "m"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["y"]),
    ]
    model = helper.make_graph(
        nodes,
        "broken",
        [helper.make_tensor_value_info("x", kind, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(model, opset_imports=[opset], ir_version=8), tmp_path / "broken.onnx")
    with pytest.raises(WeightsError, match=said):
        opened(tmp_path / "broken.onnx")


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"holds no image_encoder/config\.json"):
        opened(tmp_path)

"""Metrics whose network is given as a file: LPIPS from TorchScript, identity from ONNX."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from scripted import save_trusted
from torch import nn

from mimicmotion.errors import WeightsError
from mimicmotion.metrics.identity import (
    SIDE_PX,
    TEMPLATE,
    FaceModel,
    aligned_face,
    face_points,
    identity_scores,
)
from mimicmotion.metrics.perceptual import load_perceptual

CPU = torch.device("cpu")


class PublishedVgg(nn.Module):
    """As the published script: it resizes pictures and gives classes unless told not to."""

    def forward(self, img: torch.Tensor, resize_images: bool = True, return_lpips: bool = False):
        if resize_images or not return_lpips:
            return img.mean((1, 2, 3))
        return img.mean((2, 3)) / 255


def video(seed, shape=(5, 16, 12, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_lpips_is_the_squared_distance_of_features_in_any_batches(tmp_path, monkeypatch):
    path = tmp_path / "vgg16.pt"
    save_trusted(PublishedVgg(), path, monkeypatch)
    true, made = video(0), video(1)
    expected = (((true.mean((1, 2)) - made.mean((1, 2))) / 255) ** 2).sum(1)
    for batch_size in (1, 2, 8):
        distances = load_perceptual(path, CPU, batch_size).distances(true, made)
        np.testing.assert_allclose(distances, expected, atol=1e-6)
    assert load_perceptual(path, CPU).distances(true, true).tolist() == [0.0] * 5


def test_files_that_are_no_network(tmp_path):
    with pytest.raises(WeightsError, match="not at"):
        load_perceptual(tmp_path / "absent.pt", CPU)
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(WeightsError, match="no TorchScript"):
        load_perceptual(tmp_path / "text.pt", CPU)


def face_graph(path, side=SIDE_PX):
    """Embeds a face as the colours of its four quarters."""
    half = side // 2
    nodes = [
        helper.make_node("AveragePool", ["x"], ["q"], kernel_shape=[half, half], strides=[half, half]),
        helper.make_node("Flatten", ["q"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 12])
    graph = helper.make_graph(nodes, "face", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def keypoints_at(points):
    """133 keypoints whose eyes, nose and mouth corners lie at five points."""
    keypoints = np.zeros((1, 133, 2))
    for indices, point in zip((range(36, 42), range(42, 48), [30], [48], [54]), points, strict=True):
        keypoints[0, [23 + i for i in indices]] = point
    return keypoints


def test_faces_are_brought_to_the_places_that_the_model_knows():
    turn = np.array([[0.4, -0.1], [0.1, 0.4]])
    points = TEMPLATE @ turn.T + [30, 20]
    assert face_points(keypoints_at(points))[0] == pytest.approx(points)
    canvas = np.zeros((120, 120, 3), np.uint8)
    for x, y in points.round().astype(int):
        canvas[y - 1 : y + 2, x - 1 : x + 2] = 255
    face = aligned_face(canvas, points)
    for x, y in TEMPLATE.round().astype(int):
        assert face[y, x].min() > 150


def test_the_same_face_is_one_another_less_and_an_unsure_one_is_not_counted(tmp_path):
    model = FaceModel.open(face_graph(tmp_path / "face.onnx"), cuda=False, allow_cpu=True)
    assert len(model.sha256) == 64
    keypoints = np.repeat(keypoints_at(TEMPLATE), 3, axis=0)
    confidences = np.ones((3, 133))
    confidences[2, 23 + 36] = 0.1
    true = np.zeros((3, SIDE_PX, SIDE_PX, 3), np.uint8)
    true[:, : SIDE_PX // 2] = 230
    swapped = true[:, ::-1].copy()
    same = identity_scores(true, true, keypoints, confidences, model)
    assert same == pytest.approx([1.0, 1.0])
    outside = identity_scores(true, swapped, keypoints - [0, 60], confidences, model)
    assert len(outside) == 0
    other = identity_scores(true, swapped, keypoints, confidences, model)
    assert len(other) == 2
    assert (other < -0.5).all()


def test_another_network_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"takes \(n, 3, 112, 112\)"):
        FaceModel.open(face_graph(tmp_path / "face.onnx", side=64), cuda=False, allow_cpu=True)

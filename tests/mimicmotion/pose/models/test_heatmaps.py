"""Heatmap models: the numbers are those of transformers, and graphs are told by their outputs."""

import numpy as np
import pytest
import torch
from onnx import helper

from mimicmotion.errors import WeightsError
from mimicmotion.pose.models.estimator import open_wholebody
from mimicmotion.pose.models.heatmaps import HeatmapModel, decode
from mimicmotion.video.size import Size

CPU = {"cuda": False, "allow_cpu": True, "threads": 1}
BOXES = np.array([[20, 10, 90, 200], [50.5, 30.25, 220, 120], [-30, 150, 40, 260]], np.float32)


@pytest.fixture
def model(small_heatmaps):
    return open_wholebody(small_heatmaps(None), 2, **CPU)


@pytest.fixture(scope="module")
def vitpose():
    """The network of transformers with random weights, for 133 keypoints in crops of 64 x 48."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    torch.manual_seed(0)
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    config = VitPoseConfig(
        backbone_config=backbone, scale_factor=4, use_simple_decoder=True, initializer_range=0.5
    )
    network = VitPoseForPoseEstimation(config).eval()
    network.head.conv = torch.nn.Conv2d(24, 133, kernel_size=3, padding=1)
    return network


@pytest.fixture(scope="module")
def processor():
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    return VitPoseImageProcessorPil(size={"height": 64, "width": 48})


def as_coco(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def test_points_are_those_of_transformers(vitpose, processor, model):
    frame = np.random.default_rng(0).integers(0, 255, (240, 230, 3), dtype=np.uint8)
    crops = torch.from_numpy(sized(model).prepare(frame, BOXES))
    with torch.no_grad():
        outputs = vitpose(crops)
    wanted = processor.post_process_pose_estimation(outputs, boxes=[[*as_coco(BOXES)]])[0]
    points, confidences = sized(model)._place([outputs.heatmaps.numpy()], BOXES)
    heights = np.stack([one["scores"] for one in wanted])
    np.testing.assert_allclose(confidences, heights, rtol=1e-6)
    assert (heights > 0).mean() > 0.9
    theirs = np.stack([one["keypoints"] for one in wanted])
    moved = np.abs(points - theirs)[heights > 0]
    # In single precision they and we differ where the second derivative all but vanishes.
    assert np.quantile(moved, 0.99) < 0.01
    assert np.median(moved) < 1e-4


def sized(model):
    """The steps of a model whose crops are 64 x 48."""
    from dataclasses import replace

    return HeatmapModel(replace(model.graph, size=Size(48, 64)))


def test_crops_are_those_of_transformers(processor, model):
    # Smooth, so that how pixels are interpolated does not matter.
    y, x = np.mgrid[:240, :230]
    frame = np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)
    box = BOXES[:1]
    theirs = processor(images=frame, boxes=[[*as_coco(box)]], return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(sized(model).prepare(frame, box)[0], theirs, atol=0.03)


def test_a_peak_between_cells_is_found_where_it_is():
    y, x = np.mgrid[:16, :12]
    maps = np.exp(-((x - 5.3) ** 2 + (y - 9.8) ** 2) / (2 * 1.5**2)).astype(np.float32)
    places, heights = decode(np.repeat(maps[None, None], 133, axis=1))
    np.testing.assert_allclose(places[0, 0], (5.3, 9.8), atol=0.02)
    assert heights[0, 0] == pytest.approx(maps.max())


def test_a_map_without_a_peak_is_no_point():
    places, heights = decode(np.zeros((1, 133, 8, 6), np.float32))
    assert (places == -1).all()
    assert not heights.any()


def test_batches_change_nothing(small_heatmaps):
    frame = np.random.default_rng(1).integers(0, 255, (48, 80, 3), dtype=np.uint8)
    boxes = np.array([[i, i, 30 + 5 * i, 40 + i] for i in range(5)], np.float32)
    results = []
    for batch in (None, 2):
        model = open_wholebody(small_heatmaps(batch), 3, **CPU)
        results.append(model.estimate(model.prepare(frame, boxes), boxes))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-3)
    assert results[0][0].shape == (5, 133, 2)


@pytest.mark.parametrize(
    ("operator", "constant", "white"), [("Sub", 123.0, 255), ("Sub", 0.485, 1), ("Mul", 1 / 255, 255)]
)
def test_a_graph_that_normalises_is_given_plain_pictures(small_heatmaps, operator, constant, white):
    first = (helper.make_node(operator, ["images", "constant"], ["first"]), np.full(1, constant))
    model = open_wholebody(small_heatmaps(None, first=first), 2, **CPU)
    frame = np.full((64, 64, 3), 255, np.uint8)
    assert (
        model.prepare(frame, np.array([[10, 10, 50, 50.0]], np.float32))[0, :, 32, 32].tolist() == [white] * 3
    )


def test_a_graph_of_another_form_is_told_the_forms_that_are_known(small_detector, small_heatmaps):
    for graph in (small_detector(None), small_heatmaps(None, points=17)):
        with pytest.raises(
            WeightsError, match=r"known are SimCC vectors.*DWPose and RTMW.*heatmaps.*ViTPose"
        ):
            open_wholebody(graph, 2, **CPU)

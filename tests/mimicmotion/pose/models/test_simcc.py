"""The whole-body steps agree with the released code; shapes come from the graph."""

from types import SimpleNamespace

import numpy as np
import pytest

from mimicmotion.errors import WeightsError
from mimicmotion.pose.models.simcc import WholeBodyModel, crop, decode, to_frame
from mimicmotion.video.size import Size

SIZE = Size(288, 384)


def test_crops_equal_the_released_ones(golden):
    with np.load(golden / "detector.npz") as vectors:
        crops = np.stack([crop(vectors["image"], box, SIZE) for box in vectors["people"]])
        np.testing.assert_allclose(crops[:, :, 100:132, 100:132], vectors["crop_patch"], atol=1e-4)


def test_keypoints_equal_the_released_ones(golden):
    with np.load(golden / "detector.npz") as vectors:
        places, confidences = decode(vectors["simcc_x"], vectors["simcc_y"], SIZE)
        np.testing.assert_allclose(to_frame(places, vectors["people"], SIZE), vectors["keypoints"], atol=1e-3)
        np.testing.assert_array_equal(confidences, vectors["scores"])


def test_a_point_in_the_crop_comes_back_to_its_pixel():
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[90, 140] = 255
    box = np.array([100, 50, 180, 150], np.float32)
    bright = crop(frame, box, Size(96, 128)).sum(axis=0)
    y, x = np.unravel_index(bright.argmax(), bright.shape)
    place = to_frame(np.full((1, 133, 2), (x, y), np.float32), [box], Size(96, 128))[0, 0]
    np.testing.assert_allclose(place, (140, 90), atol=1.0)


@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("half", [False, True])
def test_every_batch_axis_gives_the_same_points(small_wholebody, batch, half):
    frame = np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)
    boxes = np.array([[i, i, 30 + 5 * i, 40 + i] for i in range(6)], np.float32)
    reference = WholeBodyModel.open(small_wholebody(None), cuda=False, allow_cpu=True)
    model = WholeBodyModel.open(small_wholebody(batch, half=half), cuda=False, allow_cpu=True, max_batch=4)
    wanted = reference.estimate(reference.prepare(frame, boxes), boxes)
    points, confidences = model.estimate(model.prepare(frame, boxes), boxes)
    assert points.shape == (6, 133, 2)
    if half:
        np.testing.assert_allclose(confidences, wanted[1], atol=0.05)
    else:
        np.testing.assert_allclose(confidences, wanted[1], rtol=1e-4)
        np.testing.assert_allclose(points, wanted[0], rtol=1e-4)


def test_outputs_without_known_names_are_told_by_their_bins():
    graph = SimpleNamespace(outputs={"a": (), "b": ()}, size=Size(48, 64))
    along_x, along_y = np.zeros((1, 133, 96), np.float32), np.zeros((1, 133, 128), np.float32)
    along_x[..., 30], along_y[..., 100] = 0.7, 3.0  # scores of RTMW may exceed 1
    box = np.array([[0, 0, 48, 64]]) / 1.25
    for outputs in ([along_x, along_y], [along_y, along_x]):
        points, confidences = WholeBodyModel(graph)._place(outputs, box)
        np.testing.assert_allclose(points[0, 0] - box[0, 2:] / 2, np.array([15, 50]) - (24, 32), atol=1e-4)
        assert confidences[0, 0] == pytest.approx(0.7)


def test_nobody_needs_no_run(small_wholebody):
    model = WholeBodyModel.open(small_wholebody(None), cuda=False, allow_cpu=True)
    none = np.zeros((0, 4), np.float32)
    points, confidences = model.estimate(model.prepare(np.zeros((8, 8, 3), np.uint8), none), none)
    assert points.shape == (0, 133, 2)
    assert confidences.shape == (0, 133)


def test_a_graph_of_another_form_is_named(small_detector):
    with pytest.raises(WeightsError, match="simcc_x and simcc_y"):
        WholeBodyModel.open(small_detector(None), cuda=False, allow_cpu=True)
    with pytest.raises(WeightsError, match="133"):
        decode(np.zeros((1, 17, 64)), np.zeros((1, 17, 64)), Size(32, 32))
    with pytest.raises(WeightsError, match="same number per pixel"):
        decode(np.zeros((1, 133, 64)), np.zeros((1, 133, 32)), Size(32, 32))

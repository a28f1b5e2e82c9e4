"""Detectors that choose boxes by themselves: each form is told by its outputs and given its pictures."""

import numpy as np
import onnx
import pytest

from mimicmotion.errors import WeightsError
from mimicmotion.pose.models.boxes import BoxDetector, _tell_classes
from mimicmotion.pose.models.detector import PersonDetector
from mimicmotion.pose.models.estimator import open_detector, open_estimator
from mimicmotion.video.size import Size

CPU = {"cuda": False, "allow_cpu": True, "threads": 1}
# Corners in a picture of 64 x 64, score, class: a person, a dog, a better person, an unsure one, padding.
ROWS = [
    [8, 8, 24, 40, 0.6, 0],
    [0, 0, 10, 10, 0.99, 16],
    [30, 4, 62, 60, 0.9, 0],
    [1, 1, 9, 9, 0.1, 0],
    [0, 0, 0, 0, 0, -1],
]


def opened(path, threshold=0.3):
    return open_detector(path, threshold, 0.45, 2, **CPU)


@pytest.mark.parametrize(
    ("form", "corners"),
    # A frame of 128 x 32 fitted into 64 x 64 is halved; stretched, it is halved across and doubled down.
    [
        ("mmdeploy", [[60, 8, 124, 120], [16, 16, 48, 80]]),
        ("detr", [[60, 2, 124, 30], [16, 4, 48, 20]]),
        ("yolov10", [[60, 8, 124, 120], [16, 16, 48, 80]]),
    ],
)
def test_people_are_found_best_first_in_pixels_of_the_frame(box_detector, form, corners):
    detector = opened(box_detector(form, ROWS))
    assert isinstance(detector, BoxDetector)
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 128, 3), dtype=np.uint8)
    found = detector.detect(detector.prepare(frames), Size.of(frames[0]))
    assert len(found) == 3
    for one in found:
        np.testing.assert_allclose(one.boxes, corners)
        np.testing.assert_allclose(one.scores, [0.9, 0.6])


@pytest.mark.parametrize(
    ("form", "first", "pixel"),
    [
        ("mmdeploy", (), [(30 - 103.53) / 57.375, (20 - 116.28) / 57.12, (10 - 123.675) / 58.395]),
        ("mmdeploy", ("Slice",), [30, 20, 10]),
        ("mmdeploy", ("Div",), [10, 20, 30]),
        ("detr", (), [10 / 255, 20 / 255, 30 / 255]),
        ("detr", ("Div",), [10, 20, 30]),
        ("yolov10", (), [10 / 255, 20 / 255, 30 / 255]),
    ],
)
def test_pictures_are_as_the_graph_was_trained(box_detector, form, first, pixel):
    detector = opened(box_detector(form, ROWS, first))
    frame = np.full((64, 64, 3), (10, 20, 30), np.uint8)
    np.testing.assert_allclose(detector.prepare([frame])[0, :, 5, 5], pixel, rtol=1e-5)


def test_boxes_in_shares_are_refused_and_other_classes_told(box_detector, caplog):
    frames = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)
    detector = opened(box_detector("detr", [[0.2, 0.1, 0.6, 0.7, 0.9, 0]]))
    with pytest.raises(WeightsError, match=r"boxes in shares of the picture \(the largest number is 0.7\)"):
        detector.detect(detector.prepare(frames), Size(64, 64))
    _tell_classes.cache_clear()
    detector = opened(box_detector("detr", [[10, 10, 40, 60, 0.9, 1]]))
    for _ in range(2):
        (found,) = detector.detect(detector.prepare(frames), Size(64, 64))
        assert not len(found.boxes)
    assert caplog.text.count("sure of classes [1] and of no person, which is class 0") == 1


def test_nobody_is_nobody(box_detector):
    detector = opened(box_detector("mmdeploy", ROWS), threshold=0.95)
    (found,) = detector.detect(detector.prepare(np.zeros((1, 64, 64, 3), np.uint8)), Size(64, 64))
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("form", "first"), [("mmdeploy", ()), ("mmdeploy", ("Slice",)), ("detr", ()), ("yolov10", ())]
)
def test_a_box_that_shows_no_edge_shows_nobody(box_detector, form, first):
    detector = opened(box_detector(form, ROWS, first))
    black, step = np.zeros((2, 32, 128, 3), np.uint8)
    step[:, 32:] = (5, 5, 7)  # crosses the second box alone
    for top, people in ((5, 0), (200, 1)):
        step[:, 32:, 2] = top
        found = detector.detect(detector.prepare([black, step]), Size(128, 32))
        assert [len(one.boxes) for one in found] == [0, people]


@pytest.mark.parametrize("stated", [True, False], ids=["stated", "free"])
def test_yolox_of_one_class_is_no_yolov10(box_detector, stated):
    """Both have six columns; YOLOX has a row for each cell: 64 + 16 + 4 of 64 x 64."""
    rows = np.zeros((84, 6))
    rows[9] = [0.5, 0.5, np.log(2), np.log(3), 0.8, 0.9]
    path = box_detector("yolov10", rows)
    if stated:
        model = onnx.load(path)
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 84
        onnx.save(model, path)
    detector = opened(path)
    assert isinstance(detector, PersonDetector)
    frames = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)
    (found,) = detector.detect(detector.prepare(frames), Size(64, 64))
    np.testing.assert_allclose(found.boxes, [[4, 0, 20, 24]], atol=1e-5)
    np.testing.assert_allclose(found.scores, [0.72], rtol=1e-6)


def test_the_other_forms_stay_what_they_were(small_detector, small_wholebody):
    assert isinstance(opened(small_detector(None)), PersonDetector)
    with pytest.raises(WeightsError, match=r"known are YOLOX's raw rows.*dets.*scores"):
        opened(small_wholebody(None))


def test_a_picture_goes_through_both(box_detector, small_heatmaps):
    estimator = open_estimator(
        box_detector("detr", ROWS), small_heatmaps(None), cuda=False, allow_cpu=True, people_per_batch=3
    )
    frames = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    people = [*estimator.people([frames])]
    assert [len(one) for one in people] == [2, 2]
    assert people[0][0].keypoints.shape == (133, 2)

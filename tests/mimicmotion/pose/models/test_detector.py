"""The detector's steps agree with the released code; shapes come from the graph."""

from itertools import islice

import numpy as np
import pytest

from mimicmotion.errors import WeightsError
from mimicmotion.pose.models.detector import PersonDetector, letterbox_into, letterbox_scale, people, suppress
from mimicmotion.video.files import iter_frames
from mimicmotion.video.size import Size

SIZE = Size(640, 640)


def test_letterbox_equals_the_released_one(golden):
    with np.load(golden / "detector.npz") as vectors:
        picture = np.empty((3, *SIZE.shape), np.float32)
        letterbox_into(picture, vectors["image"])
        np.testing.assert_allclose(picture.mean(axis=(1, 2)), vectors["letterbox_mean"], rtol=1e-6)
        np.testing.assert_array_equal(picture[:, 100:140, 100:140], vectors["letterbox_patch"])


def test_boxes_equal_the_released_ones(golden):
    with np.load(golden / "detector.npz") as vectors:
        rows = np.zeros((8400, 85), np.float32)
        rows[:, 4:] = vectors["yolox_fill"]
        rows[vectors["yolox_rows"]] = vectors["yolox_values"]
        found = people(rows, SIZE, letterbox_scale(Size.of(vectors["image"]), SIZE))
        np.testing.assert_allclose(found.boxes, vectors["boxes"], atol=1e-3)
        assert (found.scores > 0.3).all()
        assert (np.diff(found.scores) <= 0).all()


def test_suppression_keeps_the_best_of_each_heap():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40], [0, 0, 10, 10]], float)
    assert suppress(boxes, np.array([0.5, 0.9, 0.4, 0.6]), 0.45) == [1, 2]


def test_nobody_is_an_empty_answer():
    found = people(np.zeros((84, 6), np.float32), Size(64, 64), 1.0)
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("half", [False, True])
def test_every_batch_axis_gives_the_same_people(small_detector, batch, half):
    frames = np.random.default_rng(0).integers(0, 255, (6, 48, 80, 3), dtype=np.uint8)
    reference = PersonDetector.open(small_detector(None), cuda=False, allow_cpu=True)
    detector = PersonDetector.open(small_detector(batch, half=half), cuda=False, allow_cpu=True, max_batch=4)
    wanted = reference.detect(reference.prepare(frames), Size(80, 48))
    found = detector.detect(detector.prepare(frames), Size(80, 48))
    assert len(found) == 6
    assert sum(len(f.boxes) for f in wanted) > 6
    if not half:
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one.boxes, other.boxes, rtol=1e-4, atol=1e-3)
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4)


def test_a_graph_of_another_form_is_named(small_wholebody, tmp_path):
    detector = PersonDetector.open(small_wholebody(None), cuda=False, allow_cpu=True)
    with pytest.raises(WeightsError, match="YOLOX in raw form"):
        detector.detect(detector.prepare(np.zeros((1, 8, 8, 3), np.uint8)), Size(8, 8))
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(WeightsError, match="broken"):
        PersonDetector.open(tmp_path / "broken.onnx", cuda=False, allow_cpu=True)
    with pytest.raises(WeightsError, match="missing"):
        PersonDetector.open(tmp_path / "missing.onnx", cuda=False, allow_cpu=True)


@pytest.mark.parametrize("clip", ["musepose_dance", "unianimate_source_video", "fast_dwpose_dance"])
def test_a_real_detector_finds_the_dancer(real_data, clip):
    frames = list(islice(iter_frames(real_data / "people" / f"{clip}.mp4"), 0, 30, 10))
    detector = PersonDetector.open(real_data / "onnx" / "yolox_nano.onnx", cuda=False, allow_cpu=True)
    for found, frame in zip(
        detector.detect(detector.prepare(frames), Size.of(frames[0])), frames, strict=True
    ):
        height, width = frame.shape[:2]
        x0, y0, x1, y1 = found.boxes[0]
        assert found.scores[0] > 0.8
        assert y1 - y0 > 0.5 * height
        assert 0.2 * width < (x0 + x1) / 2 < 0.8 * width


def test_decoded_rows_are_not_read_as_raw_ones():
    rows = np.zeros((84, 6), np.float32)
    rows[3] = [30, 30, 20, 40, 0.9, 0.9]
    with pytest.raises(WeightsError, match=r"decoded rows, in pixels, .* without --decode_in_inference"):
        people(rows, Size(64, 64), 1.0)
    rows[3, 2:4] = np.log(8)  # the whole picture
    assert len(people(rows, Size(64, 64), 1.0).boxes) == 1

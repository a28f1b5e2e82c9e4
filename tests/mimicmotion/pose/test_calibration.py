"""Calibrations: rising curves that hold for one model, applied when poses are read."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.pose.calibration import PARTS, Calibration, Curve
from mimicmotion.pose.models.estimator import CalibratedEstimator
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import POSES_SCHEMA, PosesInfo, poses_table, read_track
from mimicmotion.video.size import Size

SHA = "ab" * 32


def calibration(**curves):
    straight = Curve((0.0, 2.0), (0.001, 1.0))
    return Calibration(SHA, {part: curves.get(part, straight) for part in PARTS}, {"truth": "world"})


def test_a_fitted_curve_rises_and_says_how_often_points_are_right():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0, 1.4, 20_000)
    right = rng.random(len(raw)) < (raw / 1.4) ** 2
    curve = Curve.fitted(raw, right.astype(float))
    assert (np.diff(curve.probability) >= 0).all()
    places = np.array([0.2, 0.7, 1.2])
    read = np.interp(places, curve.raw, curve.probability)
    np.testing.assert_allclose(read, (places / 1.4) ** 2, atol=0.03)


def test_confidences_that_say_nothing_become_one_probability():
    rng = np.random.default_rng(0)
    curve = Curve.fitted(rng.uniform(0, 1, 5_000), (rng.random(5_000) < 0.3).astype(float))
    # Chance makes the ends rise; the middle is level.
    assert np.interp(0.5, curve.raw, curve.probability) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(("value", "count"), [(0.7, 30_011), (127 * 0.0083, 99_999)])
def test_confidences_that_are_all_alike_make_a_curve(value, count):
    raw, right = np.full(count, value, np.float32), np.arange(count) % 3 == 0
    curve = Curve.fitted(raw, right.astype(float))
    np.testing.assert_allclose(curve.raw, value, rtol=1e-6)
    assert np.interp(value, curve.raw, curve.probability) == pytest.approx(1 / 3, abs=0.01)


def test_each_part_has_its_curve_and_what_was_not_located_stays_0():
    found = calibration(hands=Curve((0.5,), (0.25,))).probabilities(np.full((2, 133), 1.0))
    assert (found[:, :91] == np.float32(0.5005)).all()
    assert (found[:, 91:] == 0.25).all()
    nothing = calibration(hands=Curve((0.5,), (0.25,))).probabilities(np.zeros(133))
    assert not nothing.any()


def test_what_is_written_is_read_and_what_is_none_is_refused(tmp_path):
    path = tmp_path / "sub" / "curves.json"
    calibration().write(path)
    assert Calibration.read(path) == calibration()
    for broken in ("{}", "[1]", "{", json.dumps({"version": 1, "curves": {}})):
        other = tmp_path / "other.json"
        other.write_text(broken)
        with pytest.raises(InputError, match="is no calibration"):
            Calibration.read(other)
    values = json.loads(path.read_text())
    values["curves"]["body"]["probability"] = [0.9, 0.2]
    other.write_text(json.dumps(values))
    with pytest.raises(InputError, match="both rising"):
        Calibration.read(other)
    with pytest.raises(InputError, match="cannot be read"):
        Calibration.read(tmp_path / "none.json")


def person(raw):
    points = np.random.default_rng(0).uniform(10, 50, (133, 2)).astype(np.float32)
    return Person(np.array([5, 5, 60, 60], np.float32), 0.9, points, np.full(133, raw, np.float32))


def table(models):
    info = PosesInfo(video_id="v", width_px=64, height_px=64, fps=10.0, num_frames=2, models=models)
    return poses_table(info, [[(0, person(0.8))], []])


def test_tables_are_read_with_probabilities_and_keep_raw_values():
    poses = table({"wholebody": SHA, "detector": "1"})
    raw, read = read_track(poses, 2), read_track(poses, 2, calibration=calibration())
    np.testing.assert_allclose(raw.confidences[0], 0.8)
    np.testing.assert_allclose(read.confidences[0], 0.4, atol=1e-3)
    np.testing.assert_allclose(read.hand_confidences[0], 0.4, atol=1e-3)
    assert not read.confidences[1].any()
    np.testing.assert_array_equal(raw.hand_boxes, read.hand_boxes)
    np.testing.assert_array_equal(raw.keypoints, read.keypoints)


@pytest.mark.parametrize("models", [{"wholebody": "cd" * 32}, {"import": SHA}])
def test_poses_of_another_model_are_refused(models):
    with pytest.raises(InputError, match=r"does not fit.*mimicmotion calibrate CONFIG"):
        read_track(table(models), 2, calibration=calibration())


def test_a_video_without_poses_has_none_to_calibrate():
    track = read_track(POSES_SCHEMA.empty_table(), 2, 0, Size(64, 64), calibration())
    assert not track.present.any()


class One:
    def __init__(self, path):
        self.files = {"wholebody": path}

    def people(self, chunks):
        for frames in chunks:
            yield from [[person(0.8)]] * len(frames)


def test_an_estimator_gives_probabilities_if_it_is_the_one(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"model")
    with pytest.raises(InputError, match="found with these models"):
        CalibratedEstimator(One(file), calibration())
    from mimicmotion.weights.fetching import file_digest

    fitting = replace(calibration(), wholebody_sha256=file_digest(file))
    (found,) = CalibratedEstimator(One(file), fitting).people([np.zeros((1, 8, 8, 3), np.uint8)])
    np.testing.assert_allclose(found[0].confidences, 0.4, atol=1e-3)

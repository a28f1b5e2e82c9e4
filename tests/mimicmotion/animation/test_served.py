import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_people import FakeDetector, FakeWholeBody
from training_world import make_pipeline

from mimicmotion.animation import served as served_module
from mimicmotion.animation.served import ServedModel, _load_pyfunc, stored_request
from mimicmotion.errors import InputError
from mimicmotion.pose.calibration import PARTS, Calibration, Curve
from mimicmotion.pose.models.estimator import TopDownEstimator
from mimicmotion.pose.people import Person
from mimicmotion.pose.settings import EstimatorSettings
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.video.picture_files import write_picture
from mimicmotion.weights.fetching import file_digest


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> ServedModel:
    folder = tmp_path_factory.mktemp("checkpoint")
    make_pipeline().save_pretrained(folder)
    facts = {"sizes_px": [[64, 64]], "num_frames": 4, "fps": 6, "motion_bucket": 127}
    (folder / "training.json").write_text(json.dumps(facts))
    return _load_pyfunc(str(folder))


@pytest.fixture
def request_():
    rng = np.random.default_rng(0)
    pose = np.concatenate([rng.uniform(0.12, 0.87, (133, 2)), np.ones((133, 1))], axis=1)
    image = rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)
    moved = [pose + np.array([shift, 0, 0]) for shift in (0, 0.02, 0.04, 0.06, 0.08)]
    return {"image": image, "reference_pose": pose, "poses": moved, "num_steps": 1, "guidance_scale": 1.0}


def test_a_frame_for_each_pose_that_depends_on_picture_pose_and_seed(served, request_):
    frames = served.predict(request_)
    assert (frames.shape, frames.dtype) == ((5, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(served.predict(request_), frames)
    assert not np.array_equal(served.predict({**request_, "seed": 1}), frames)
    assert not np.array_equal(served.predict({**request_, "image": 255 - request_["image"]}), frames)


def test_plain_lists_will_do_and_driving_pictures_may_have_another_size(served, request_):
    lists = {name: np.asarray(request_[name]).tolist() for name in ("image", "reference_pose", "poses")}
    np.testing.assert_array_equal(served.predict({**request_, **lists}), served.predict(request_))
    wide = {"poses_size_px": [160, 80], "alignment": "robust"}
    assert not np.array_equal(served.predict(request_, wide), served.predict(request_))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"poses": np.zeros((2, 17, 3))}, r"poses has the shape \(2, 17, 3\); allowed is \(frames, 133, 3\)"),
        ({"reference_pose": np.zeros((1, 133, 3))}, r"reference_pose has the shape \(1, 133, 3\)"),
        ({"image": np.zeros((4, 4), np.uint8)}, r"image has the shape \(4, 4\)"),
        (
            {"image": np.full((4, 4, 3), 0.5)},
            "image holds float64 from 0.5 to 0.5; allowed are whole numbers",
        ),
        ({"image": np.full((4, 4, 3), 256)}, "image holds int64 from 256 to 256"),
        ({"alignment": "robus"}, "alignment is 'robus'; allowed are none, release, robust, limbs"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, r"image has the shape \(0, 4, 3\)"),
        ({"image": "/gone.png"}, r"image has the shape \(\)"),
        ({"poses": np.full((2, 133, 3), 70.0)}, "poses has coordinates up to 70; allowed are shares"),
        ({"reference_pose": np.full((133, 3), np.nan)}, "reference_pose has coordinates up to nan"),
        ({"poses_size_px": [160]}, r"poses_size_px is \[160\]; allowed is \[width, height\]"),
        ({"steps": 3}, "Unknown: steps"),
        ({"num_steps": 0}, "num_steps is 0: Input should be greater than or equal to 1"),
        ({"seed": 2**65}, f"seed is {2**65}: Input should be less than or equal to {2**62}"),
        ({"overlap": 4}, "overlap is 4, a tile has 4 slots"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(served, request_, changed, problem):
    with pytest.raises(InputError, match=problem):
        served.predict({**request_, **changed})


def test_what_is_missing_is_named(served):
    with pytest.raises(InputError, match="missing: poses, reference_pose"):
        served.predict({"image": "a.png"})


def test_a_request_from_files_is_in_shares_by_time_and_calibrated(served, tmp_path, monkeypatch):
    picture, poses, model = (tmp_path / name for name in ("me.png", "poses.parquet", "model.onnx"))
    write_picture(picture, np.full((80, 40, 3), 200, np.uint8))
    model.write_bytes(b"model")
    spread = np.random.default_rng(0).uniform(0, 1, (133, 2)).astype(np.float32)
    places = [np.float32([100 + 10 * frame, 50]) + 10 * spread for frame in range(4)]
    box, sure = np.array([0, 0, 200, 100], np.float32), np.full(133, 0.8, np.float32)
    info = PosesInfo(
        video_id="v",
        width_px=200,
        height_px=100,
        fps=20,
        num_frames=4,
        models={"wholebody": file_digest(model)},
    )
    pq.write_table(poses_table(info, [[(0, Person(box, 0.9, place, sure))] for place in places]), poses)
    found = TopDownEstimator(FakeDetector(), FakeWholeBody(), {"wholebody": model})
    monkeypatch.setattr(served_module, "configured_estimator", lambda settings, **how: found)
    inputs, params = stored_request(picture, poses, EstimatorSettings(), fps=10)
    assert (inputs["image"].shape, params) == ((80, 40, 3), {"poses_size_px": [200, 100]})
    np.testing.assert_allclose(inputs["reference_pose"][0], [0.5, 0.5, 0.8])
    np.testing.assert_allclose(inputs["poses"][..., :2], np.stack(places)[::2] / [200, 100], atol=1e-5)
    assert served.predict(inputs, {**params, "num_steps": 1, "alignment": "none"}).shape == (2, 64, 64, 3)
    calibration = tmp_path / "calibration.json"
    line = Curve((0.0, 2.0), (0.001, 1.0))
    Calibration(file_digest(model), dict.fromkeys(PARTS, line)).write(calibration)
    halved, _ = stored_request(picture, poses, EstimatorSettings(calibration=calibration), fps=10)
    for name in ("reference_pose", "poses"):
        np.testing.assert_allclose(halved[name][..., 2], 0.4, atol=0.01)
    Calibration("ab" * 32, dict.fromkeys(PARTS, line)).write(calibration)
    with pytest.raises(InputError, match="does not fit poses that are found with these models"):
        stored_request(picture, poses, EstimatorSettings(calibration=calibration), fps=10)
    monkeypatch.undo()
    with pytest.raises(InputError, match="these settings name none: take those of a config"):
        stored_request(picture, poses, EstimatorSettings(), fps=10)

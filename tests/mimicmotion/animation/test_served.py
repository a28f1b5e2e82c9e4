import json

import cv2
import numpy as np
import pytest
from training_world import make_pipeline

from mimicmotion.animation.served import ServedModel, _load_pyfunc
from mimicmotion.errors import InputError


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
    pose = np.concatenate([rng.uniform(10, 70, (133, 2)), np.ones((133, 1))], axis=1)
    image = rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)
    moved = [pose + np.array([shift, 0, 0]) for shift in (0, 2, 4, 6, 8)]
    return {"image": image, "reference_pose": pose, "poses": moved, "num_steps": 1, "guidance_scale": 1.0}


def test_a_frame_for_each_pose_that_depends_on_picture_pose_and_seed(served, request_, tmp_path, monkeypatch):
    frames = served.predict(request_)
    assert (frames.shape, frames.dtype) == ((5, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(served.predict(request_), frames)
    assert not np.array_equal(served.predict({**request_, "seed": 1}), frames)
    assert not np.array_equal(served.predict({**request_, "image": 255 - request_["image"]}), frames)
    cv2.imwrite(str(tmp_path / "picture.png"), request_["image"][..., ::-1])
    monkeypatch.setenv("MIMICMOTION_PICTURES", str(tmp_path))
    from_file = served.predict({**request_, "image": "picture.png"})
    np.testing.assert_array_equal(from_file, frames)


def test_clients_name_no_files_but_those_of_the_folder_that_the_operator_opens(
    served, request_, tmp_path, monkeypatch
):
    cv2.imwrite(str(tmp_path / "own.png"), request_["image"])
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "link.png").symlink_to(tmp_path / "own.png")
    with pytest.raises(InputError, match="this server opens no files for its clients"):
        served.predict({**request_, "image": str(tmp_path / "own.png")})
    monkeypatch.setenv("MIMICMOTION_PICTURES", str(tmp_path / "open"))
    for name in (str(tmp_path / "own.png"), "../own.png", "link.png"):
        with pytest.raises(InputError, match="lies outside of the folder"):
            served.predict({**request_, "image": name})


def test_plain_lists_will_do_and_driving_pictures_may_have_another_size(served, request_):
    lists = {name: np.asarray(request_[name]).tolist() for name in ("image", "reference_pose", "poses")}
    np.testing.assert_array_equal(served.predict({**request_, **lists}), served.predict(request_))
    twice = [np.asarray(pose) * [2, 2, 1] for pose in request_["poses"]]
    changed = served.predict({**request_, "poses": twice, "poses_size_px": (160, 160), "alignment": "none"})
    assert changed.shape == (5, 64, 64, 3)


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
        ({"image": "/gone.png"}, "opens no files for its clients"),
        ({"steps": 3}, "Unknown: steps"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(served, request_, changed, problem):
    with pytest.raises(InputError, match=problem):
        served.predict({**request_, **changed})


def test_what_is_missing_is_named(served):
    with pytest.raises(InputError, match="missing: poses, reference_pose"):
        served.predict({"image": "a.png"})

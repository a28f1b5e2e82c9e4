"""Any two folders of videos or frames are scored in pairs."""

import numpy as np
import pytest

from mimicmotion.animation.preview import write_picture
from mimicmotion.errors import InputError
from mimicmotion.metrics.folders import entries, read_frames, score_folders
from mimicmotion.metrics.image import psnr
from mimicmotion.metrics.protocols import PROTOCOLS
from mimicmotion.metrics.scores import SUMMARY
from mimicmotion.video.files import write_lossless

NATIVE = PROTOCOLS["native"]


def video(seed=0, num_frames=12, size=(32, 24)):
    return np.random.default_rng(seed).integers(0, 200, (num_frames, *size, 3)).astype(np.uint8)


def write_frames(folder, frames, name="frame_{}.png"):
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        write_picture(folder / name.format(i), frame)


@pytest.fixture
def folders(tmp_path):
    for side, change in (("generated", 10), ("truth", 0)):
        (tmp_path / side).mkdir()
        for seed, name in enumerate(("a", "b")):
            write_lossless(tmp_path / side / f"{name}.mkv", video(seed) + np.uint8(change), 12)
    return tmp_path / "generated", tmp_path / "truth"


def test_pairs_are_scored_under_the_protocol(folders):
    every = score_folders(*folders, NATIVE, {"fvd": "no file"})
    scores = {(s.clip_id, s.metric): s for s in every if s.method == "model"}
    assert scores[SUMMARY, "psnr"].value == pytest.approx(psnr(video(), video() + np.uint8(10)).mean())
    assert scores["a", "psnr"].count == 12
    assert scores[SUMMARY, "fvd"].note == "no file"
    floors = {s.method: s.value for s in every if (s.clip_id, s.metric) == (SUMMARY, "psnr")}
    assert set(floors) == {"model", "copy_reference", "truth_one_frame_late"}


def test_frames_in_folders_are_ordered_by_number(tmp_path):
    write_frames(tmp_path / "truth" / "a", video())
    assert (read_frames(tmp_path / "truth" / "a") == video()).all()
    assert list(entries(tmp_path / "truth")) == ["a"]


def test_results_of_another_size_are_resized_to_the_truth(folders):
    generated, truth = folders
    write_lossless(generated / "a.mkv", video(0, size=(64, 48)), 12)
    assert score_folders(generated, truth, NATIVE, {})[-1].value is not None


def test_what_does_not_pair_is_refused(folders):
    generated, truth = folders
    write_lossless(generated / "b.mkv", video(1)[:-1], 12)
    with pytest.raises(InputError, match="has 11 frames"):
        score_folders(generated, truth, NATIVE, {})
    (generated / "b.mkv").rename(generated / "c.mkv")
    with pytest.raises(InputError, match="lacks b and has c besides"):
        score_folders(generated, truth, NATIVE, {})
    with pytest.raises(InputError, match="missing: 00335"):
        score_folders(truth, truth, PROTOCOLS["tiktok-335-340-256"], {})


def test_folders_that_hold_nothing_usable(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        entries(tmp_path / "absent")
    with pytest.raises(InputError, match="holds neither"):
        entries(tmp_path)
    write_frames(tmp_path / "a", video(num_frames=2))
    write_lossless(tmp_path / "a.mkv", video(), 12)
    with pytest.raises(InputError, match="are called a"):
        entries(tmp_path)
    write_picture(tmp_path / "a" / "frame_7.png", np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(InputError, match="2 sizes"):
        read_frames(tmp_path / "a")
    (tmp_path / "a" / "frame_8.png").write_text("no picture")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_frames(tmp_path / "a")


def test_hands_and_pose_of_results_that_others_made(tmp_path):
    from mimicmotion.pose.detector import PersonDetector
    from mimicmotion.pose.simcc import WholeBodyModel
    from mimicmotion.synthetic.faults import WEIGHTS, faulty
    from mimicmotion.synthetic.world import film

    one = film(900_000, 6, occluded=0, blurred=0)
    for side, frames in (("truth", one.frames), ("generated", faulty(one, 900_000)["hands erased"])):
        (tmp_path / side).mkdir()
        write_lossless(tmp_path / side / "dancer.mkv", frames, 12)
        write_lossless(tmp_path / side / "nobody.mkv", np.full((4, 192, 128, 3), 90, np.uint8), 12)
    models = (
        PersonDetector.open(WEIGHTS / "detector.onnx", cuda=False, allow_cpu=True),
        WholeBodyModel.open(WEIGHTS / "wholebody.onnx", cuda=False, allow_cpu=True),
    )
    scores = score_folders(tmp_path / "generated", tmp_path / "truth", NATIVE, {}, models)
    found = {(s.clip_id, s.metric): s for s in scores if s.method == "model"}
    assert found["dancer", "pose_found_hands"].value < 0.95 < found["dancer", "pose_found_body"].value
    assert found["dancer", "hand_ssim"].value < 0.6 < found["dancer", "ssim"].value
    assert "nobody is found" in found["nobody", "pose_error_body"].note

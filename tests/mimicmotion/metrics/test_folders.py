"""Any two folders of videos or frames are scored in pairs."""

import subprocess
import sys
from dataclasses import replace
from unicodedata import normalize

import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.metrics.folders import entries, film_shape, iter_film, score_folders
from mimicmotion.metrics.image import psnr
from mimicmotion.metrics.judging import Judge
from mimicmotion.metrics.protocols import PROTOCOLS
from mimicmotion.metrics.scores import SUMMARY
from mimicmotion.video.files import write_lossless, write_preview
from mimicmotion.video.picture_files import write_picture
from mimicmotion.video.size import Size

NATIVE = PROTOCOLS["native"]


def video(seed=0, num_frames=12, size=(32, 24)):
    return np.random.default_rng(seed).integers(0, 200, (num_frames, *size, 3)).astype(np.uint8)


def read_frames(path):
    return np.stack(list(iter_film(path)))


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
    every = score_folders(*folders, NATIVE, Judge(NATIVE, {"fvd": "no file"}))
    scores = {(s.clip_id, s.metric): s for s in every if s.method == "model"}
    assert scores[SUMMARY, "psnr"].value == pytest.approx(psnr(video(), video() + np.uint8(10)).mean())
    assert scores["a", "psnr"].count == 12
    assert scores[SUMMARY, "fvd"].note == "no file"
    floors = {s.method: s.value for s in every if (s.clip_id, s.metric) == (SUMMARY, "psnr")}
    assert set(floors) == {"model", "copy_reference", "truth_one_frame_late"}
    truth = video()
    late = np.concatenate([truth[:1], truth[:-1]])
    value = next(
        s.value for s in every if (s.clip_id, s.method, s.metric) == ("a", "truth_one_frame_late", "psnr")
    )
    assert value == pytest.approx(np.minimum(psnr(truth, late), 100).mean())


class WatchedJudge(Judge):
    """Notes how many frames it is given at a time."""

    def measure(self, clip_id, chunks, pose=None, with_truth=True):
        self.seen = []
        return super().measure(clip_id, (self.seen.append(len(one[0])) or one for one in chunks), pose)


def test_each_file_is_read_once_and_few_frames_are_held(folders, monkeypatch):
    from mimicmotion.metrics import folders as module

    opened, read = [], module.iter_frames
    monkeypatch.setattr(module, "iter_frames", lambda path: opened.append(path) or read(path))
    judge = WatchedJudge(NATIVE, {})
    score_folders(*folders, NATIVE, judge)
    assert sorted(opened) == sorted(side / name for side in folders for name in ("a.mkv", "b.mkv"))
    assert judge.seen == [8, 4]
    assert module.frames_at_a_time(1920, 1080) == 1


def test_frames_that_come_in_parts_score_as_the_whole_video(folders):
    streamed = score_folders(*folders, NATIVE, Judge(NATIVE, {}))
    whole = Judge(NATIVE, {})
    for seed, name in enumerate(("a", "b")):
        true = video(seed)
        late = np.concatenate([true[:1], true[:-1]])
        made = {"model": true + np.uint8(10), "copy_reference": np.repeat(true[:1], 12, 0)}
        rows = whole.measure(name, [(true, {**made, "truth_one_frame_late": late})])
        whole.board.add(rows)
    assert streamed == whole.scores()


def test_lossy_files_are_scored_with_a_note(folders):
    def note():
        rows = [
            s
            for s in score_folders(*folders, NATIVE, Judge(NATIVE, {}))
            if s.clip_id == SUMMARY and s.metric == "psnr"
        ]
        return next(row.note for row in rows if row.method == "model")

    assert note() is None
    generated, truth = folders
    (generated / "a.mkv").unlink()
    write_preview(generated / "a.mp4", video(0), 12)
    (truth / "b.mkv").unlink()
    write_frames(truth / "b", video(1), "{}.jpg")
    assert note() == (
        "lossy files, whose loss is in every number here: 1 of 2 results (the first is a.mp4, h264) and "
        "1 of 2 true ones (the first is b, .jpg); use PNG or FFV1"
    )


def test_frames_in_folders_are_ordered_by_number(tmp_path):
    write_frames(tmp_path / "truth" / "a", video())
    assert (read_frames(tmp_path / "truth" / "a") == video()).all()
    assert list(entries(tmp_path / "truth")) == ["a"]


def test_results_of_another_size_are_resized_to_the_truth(folders):
    generated, truth = folders
    write_lossless(generated / "a.mkv", video(0, size=(64, 48)), 12)
    assert score_folders(generated, truth, NATIVE, Judge(NATIVE, {}))[-1].value is not None


def test_results_of_the_protocols_own_size_are_scored_as_they_are(folders, tmp_path):
    small = replace(NATIVE, id="small", frame_size=Size(16, 16))
    (tmp_path / "made").mkdir()
    for name in ("a.mkv", "b.mkv"):
        write_lossless(tmp_path / "made" / name, small.resized(read_frames(folders[1] / name)), 12)
    scores = score_folders(tmp_path / "made", folders[1], small, Judge(small, {}))
    values = {s.clip_id: s.value for s in scores if (s.method, s.metric) == ("model", "psnr")}
    assert values == {"a": 100, "b": 100, SUMMARY: 100}


def test_frames_of_neither_size_are_refused():
    small = replace(NATIVE, id="small", frame_size=Size(16, 16))
    with pytest.raises(InputError):
        Judge(small, {}).measure("a", [(video(), {"model": video(size=(30, 20))})])


def test_results_of_another_aspect_are_refused_unless_the_protocol_has_it(folders):
    generated, truth = folders
    write_lossless(generated / "a.mkv", video(0, size=(32, 32)), 12)
    with pytest.raises(InputError, match=r"a.mkv is 32x32, .*a.mkv is 24x32: .* stretch pictures by 1.33"):
        score_folders(generated, truth, NATIVE, Judge(NATIVE, {}))
    square = replace(NATIVE, frame_size=Size(32, 32))
    assert score_folders(generated, truth, square, Judge(square, {}))[-1].value is not None
    # Half a pixel of a side that was rounded is no other aspect.
    write_lossless(generated / "a.mkv", video(0, size=(640, 484)), 12)
    assert score_folders(generated, truth, NATIVE, Judge(NATIVE, {}))[-1].value is not None


def test_a_picture_without_a_number_is_no_frame(tmp_path):
    write_frames(tmp_path / "a", video(num_frames=3), "{:04d}.png")
    write_picture(tmp_path / "a" / "cover.png", video()[0])
    for read in (read_frames, film_shape):
        with pytest.raises(InputError, match=r"holds cover.png, whose name has no number, beside 3 other"):
            read(tmp_path / "a")
    (tmp_path / "one").mkdir()
    write_picture(tmp_path / "one" / "still.png", video()[0])
    assert len(read_frames(tmp_path / "one")) == 1


def test_what_does_not_pair_is_refused(folders):
    generated, truth = folders
    write_lossless(generated / "b.mkv", video(1)[:-1], 12)
    with pytest.raises(InputError, match="has 11 frames"):
        score_folders(generated, truth, NATIVE, Judge(NATIVE, {}))
    (generated / "b.mkv").rename(generated / "c.mkv")
    with pytest.raises(InputError, match="lacks b and also has c"):
        score_folders(generated, truth, NATIVE, Judge(NATIVE, {}))
    with pytest.raises(InputError, match="missing: 00335"):
        score_folders(truth, truth, PROTOCOLS["tiktok-335-340-256"], Judge(NATIVE, {}))


def test_folders_that_hold_nothing_usable(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        entries(tmp_path / "absent")
    with pytest.raises(InputError, match="holds neither"):
        entries(tmp_path)
    write_frames(tmp_path / "a", video(num_frames=2))
    write_lossless(tmp_path / "a.mkv", video(), 12)
    with pytest.raises(InputError, match="are called a"):
        entries(tmp_path)
    write_picture(tmp_path / "a" / "frame_2.png", np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(InputError, match="2 sizes"):
        read_frames(tmp_path / "a")
    (tmp_path / "a" / "frame_2.png").write_text("no picture")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_frames(tmp_path / "a")


def test_hands_and_pose_of_results_that_others_made(tmp_path):
    from mimicmotion.pose.models.estimator import open_estimator
    from mimicmotion.synthetic.faults import WEIGHTS, faulty
    from mimicmotion.synthetic.world import film

    one = film(900_000, 6, occluded=0, blurred=0)
    for side, frames in (("truth", one.frames), ("generated", faulty(one, 900_000)["hands erased"])):
        (tmp_path / side).mkdir()
        write_lossless(tmp_path / side / "dancer.mkv", frames, 12)
        write_lossless(tmp_path / side / "nobody.mkv", np.full((4, 192, 128, 3), 90, np.uint8), 12)
    estimator = open_estimator(
        WEIGHTS / "detector.onnx", WEIGHTS / "wholebody.onnx", cuda=False, allow_cpu=True
    )
    scores = score_folders(tmp_path / "generated", tmp_path / "truth", NATIVE, Judge(NATIVE, {}, estimator))
    found = {(s.clip_id, s.metric): s for s in scores if s.method == "model"}
    assert found["dancer", "pose_found_hands"].value < 0.95 < found["dancer", "pose_found_body"].value
    assert found["dancer", "hand_ssim"].value < 0.6 < found["dancer", "ssim"].value
    assert "nobody is found" in found["nobody", "pose_error_body"].note


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 1, 2, 4, 5), "lacks frames between the numbers 2 and 4"),
        ((0, 2, 4, 5, 6), "lacks frames between the numbers 0 and 2"),
    ],
)
def test_a_missing_frame_is_refused_though_the_counts_agree(tmp_path, numbers, message):
    write_frames(tmp_path / "truth" / "a", video(num_frames=5))
    folder = tmp_path / "generated" / "a"
    folder.mkdir(parents=True)
    for number, frame in zip(numbers, video(num_frames=5), strict=True):
        write_picture(folder / f"{number}.png", frame)
    with pytest.raises(InputError, match=message):
        score_folders(tmp_path / "generated", tmp_path / "truth", NATIVE, Judge(NATIVE, {}))


def test_one_number_twice_is_refused_and_one_step_is_no_gap(tmp_path):
    write_frames(tmp_path / "a", video(num_frames=3), "{}.png")
    write_picture(tmp_path / "a" / "copy_1.png", video()[0])
    with pytest.raises(InputError, match="several frames of number 1"):
        read_frames(tmp_path / "a")
    write_frames(tmp_path / "b", video(num_frames=9), "{:04d}.png")
    for number in set(range(9)) - {0, 4, 8}:
        (tmp_path / "b" / f"{number:04d}.png").unlink()
    assert (read_frames(tmp_path / "b") == video(num_frames=9)[::4]).all()


def test_swapped_frames_score_worse(tmp_path):
    frames = video()
    swapped = frames.copy()
    swapped[[3, 8]] = frames[[8, 3]]
    write_frames(tmp_path / "truth" / "a", frames)
    write_frames(tmp_path / "generated" / "a", swapped)
    scores = score_folders(tmp_path / "generated", tmp_path / "truth", NATIVE, Judge(NATIVE, {}))
    model = {s.metric: s.value for s in scores if (s.clip_id, s.method) == ("a", "model")}
    between = psnr(frames[3:4], frames[8:9])[0]
    assert model["psnr"] == pytest.approx((10 * 100 + 2 * between) / 12)
    assert model["flicker"] > 0


def test_hidden_files_are_no_frames_and_no_videos(folders):
    for side in folders:
        (side / "._a.mkv").write_bytes(b"no video")
    write_frames(folders[1] / "c", video(num_frames=3))
    (folders[1] / "c" / "._frame_0.png").write_bytes(b"no picture")
    assert list(entries(folders[0])) == ["a", "b"]
    assert len(read_frames(folders[1] / "c")) == 3


def test_names_are_equal_in_any_unicode_form_and_what_is_not_read_is_named(folders, caplog):
    for side, form in zip(folders, ("NFC", "NFD"), strict=True):
        (side / "a.mkv").rename(side / f"{normalize(form, 'für')}.mkv")
        (side / "b.mkv").rename(side / "b.M4V")
        (side / "c.gif").write_bytes(b"GIF89a")
    assert set(entries(folders[0])) == set(entries(folders[1])) == {"für", "b"}
    assert "c.gif not scored; read are videos (.3gp" in caplog.text
    caplog.clear()
    (folders[0] / "c.gif").unlink()
    for name in ("b.judge.json", "b.judge.png", "b.poses.parquet"):
        (folders[0] / name).write_bytes(b"of animate")
    assert set(entries(folders[0])) == {"für", "b"}
    assert not caplog.text


@pytest.mark.parametrize("size", [(33, 27), (7, 19)])
def test_odd_sizes_and_single_frames_have_defined_scores(tmp_path, size):
    for side, change in (("truth", 0), ("generated", 10)):
        write_frames(tmp_path / side / "a", video(0, 1, size) + np.uint8(change))
    scores = score_folders(tmp_path / "generated", tmp_path / "truth", NATIVE, Judge(NATIVE, {}))
    model = {s.metric: s for s in scores if (s.clip_id, s.method) == (SUMMARY, "model")}
    assert model["psnr"].value == pytest.approx(20 * np.log10(255 / 10))
    assert model["flicker"].value is None
    assert model["flicker"].note == "one frame only"


def test_scoring_loads_no_library_that_it_does_not_use():
    """Each of these takes tens of megabytes, which scoring large films has not to spare."""
    heavy = "{'diffusers', 'transformers', 'scipy', 'sympy', 'pandas', 'mlflow', 'ray'}"
    code = f"import sys, mimicmotion.metrics.folders; print(sorted({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"

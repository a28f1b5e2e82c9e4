"""A request from files to an MP4, with fake models: length, rate, sound, size, and every way to go wrong."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mimicmotion.animation import driving
from mimicmotion.animation.checkpoint import CheckpointFacts
from mimicmotion.animation.driving import frames_by_time
from mimicmotion.animation.request import AnimationRequest, perform, prepare
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.errors import InputError
from mimicmotion.pictures.panels import LABEL_HEIGHT_PX, enlarged, pose_over
from mimicmotion.pose.calibration import PARTS, Calibration, Curve
from mimicmotion.pose.models.detector import Detections
from mimicmotion.pose.models.estimator import TopDownEstimator
from mimicmotion.pose.people import Person
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.pose.tracks import link
from mimicmotion.video.files import write_preview
from mimicmotion.video.picture_files import read_picture, write_picture
from mimicmotion.video.size import Size
from mimicmotion.weights.fetching import file_digest

FACTS = CheckpointFacts(sizes_px=(Size(32, 48), Size(48, 32)), num_frames=8, fps=12.0)
STYLE = DrawingStyle(canvas_short_side_px=64)


class FakeDetector:
    """Finds the red square as the person."""

    def prepare(self, frames):
        return np.stack(list(frames))

    def detect(self, prepared, frame_size):
        return [self._one(frame.astype(int)) for frame in prepared]

    def _one(self, frame):
        ys, xs = np.nonzero((frame[..., 0] > 180) & (frame[..., 1] < 90))
        if not len(xs):
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
        return Detections(box, np.array([0.9], np.float32))


class FakeWholeBody:
    """Spreads the points over the box, always alike."""

    def __init__(self, num_sure=133):
        self.num_sure = num_sure

    def prepare(self, frame, boxes):
        return np.zeros((len(boxes), 1), np.float32)

    def estimate(self, crops, boxes):
        where = np.random.default_rng(0).uniform(0, 1, (133, 2)).astype(np.float32)
        keypoints = np.stack([box[:2] + where * (box[2:] - box[:2]) for box in boxes]) if len(boxes) else None
        confidences = np.zeros((len(boxes), 133), np.float32)
        confidences[:, : self.num_sure] = 0.9
        return (keypoints, confidences) if len(boxes) else (np.zeros((0, 133, 2)), confidences)


MODELS = TopDownEstimator(FakeDetector(), FakeWholeBody())


class FakePipeline:
    def sample(self, image, poses, *, settings, generator, progress, retiled):
        self.image, self.poses = image, list(poses)
        progress(1, 1)
        return torch.zeros(len(self.poses))

    def decode(self, latents, chunk_size):
        for pose in self.poses[1:]:
            yield np.maximum(self.image // 2, pose.transpose(1, 2, 0))


def dancer(height, width, shift=0):
    frame = np.full((height, width, 3), 60, np.uint8)
    frame[height // 6 + shift : height * 5 // 6 + shift, width // 3 : width * 2 // 3] = (230, 30, 30)
    return frame


@pytest.fixture
def files(tmp_path):
    """A reference picture and a driving video: 2 s at 24 frames per second, with sound."""
    write_picture(tmp_path / "ref.png", dancer(96, 64))
    silent = tmp_path / "silent.mp4"
    write_preview(silent, [dancer(60, 80, shift=i // 8) for i in range(48)], 24)
    with av.open(str(silent)) as source, av.open(str(tmp_path / "drive.mp4"), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        audio = target.add_stream("aac", rate=48000, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        for start in range(0, 96000, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            target.mux(audio.encode(frame))
        target.mux(audio.encode(None))
    return tmp_path


def stored_poses(path, num_frames=24, fps=24.0):
    info = PosesInfo(video_id="v", width_px=80, height_px=60, fps=fps, num_frames=num_frames, models={})
    box = np.array([20, 5, 60, 55], np.float32)
    frames = []
    for i in range(num_frames):
        keypoints = np.random.default_rng(0).uniform(20, 50, (133, 2)).astype(np.float32) + np.float32(i / 10)
        frames.append([(0, Person(box, 0.9, keypoints, np.ones(133, np.float32)))])
    pq.write_table(poses_table(info, frames), path)
    return path


def request(files, **changes):
    base = AnimationRequest(image=files / "ref.png", out=files / "out.mp4", video=files / "drive.mp4")
    return base.replaced(**changes)


def facts_of(path):
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = sum(1 for _ in container.decode(video))
        return frames, video.average_rate, (video.width, video.height), len(container.streams.audio)


def run(req, models=MODELS):
    pipeline = FakePipeline()
    prepared = prepare(req, FACTS, STYLE, models)
    count = perform(req, prepared, pipeline, SamplerSettings(), lambda done, total: None)
    return prepared, pipeline, count


def test_rate_by_time_sound_kept_size_of_the_checkpoint(files):
    prepared, pipeline, count = run(request(files, fps=12))
    assert count == 24
    assert facts_of(files / "out.mp4") == (24, Fraction(12), (32, 48), 1)
    assert prepared.driving.source_fps == pytest.approx(24)
    assert len(pipeline.poses) == 25
    assert pipeline.poses[0].shape == (3, 48, 32)
    assert not [path for path in files.iterdir() if path.name.startswith(".animate")]


def test_the_default_rate_is_the_videos_own_but_at_most_15(files):
    prepared = prepare(request(files), FACTS, STYLE, MODELS)
    assert prepared.driving.fps == 15
    assert len(prepared.driving.track) == 30


@pytest.mark.parametrize("mode", ["robust", "limbs", "release"])
def test_alignment_brings_the_poses_onto_the_reference(files, mode):
    poses = stored_poses(files / "poses.parquet")
    prepared = prepare(request(files, poses=poses, video=None, alignment=mode), FACTS, STYLE, MODELS)
    own, driving = prepared.inputs.reference_pose, prepared.inputs.driving
    assert (driving.width_px, driving.height_px) == (32, 48)
    ours, theirs = own.keypoints[0, :17], driving.keypoints[:, :17].mean(axis=0)
    assert abs(ours[:, 1].mean() - theirs[:, 1].mean()) < 3
    assert 0.7 < theirs[:, 1].std() / ours[:, 1].std() < 1.4


def test_smoothing_is_off_unless_asked_for(files):
    poses = stored_poses(files / "poses.parquet")
    plain = request(files, poses=poses, video=None)
    default, off, on = (
        prepare(asked, FACTS, STYLE, MODELS).inputs.driving.keypoints
        for asked in (plain, plain.replaced(smoothing_s=0.0), plain.replaced(smoothing_s=0.1))
    )
    np.testing.assert_array_equal(default, off)
    # The poses move evenly: their first frame is drawn towards those that follow.
    assert (on[0] - off[0])[:, 1].min() > 0.05


def test_without_sound_or_when_not_wanted_the_result_is_silent(files):
    poses = stored_poses(files / "poses.parquet")
    run(request(files, poses=poses, keep_audio=False))
    assert facts_of(files / "out.mp4")[3] == 0
    run(request(files, poses=poses, video=files / "silent.mp4"))
    assert facts_of(files / "out.mp4")[3] == 0
    run(request(files, poses=poses))
    assert facts_of(files / "out.mp4")[3] == 1


def test_damaged_sound_costs_the_sound_and_not_the_result(files, caplog):
    whole = bytearray((files / "drive.mp4").read_bytes())
    with av.open(str(files / "drive.mp4")) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        middle = packets[len(packets) // 2]
        whole[middle.pos : middle.pos + middle.size] = b"\xff" * middle.size
    (files / "damaged.mp4").write_bytes(whole)
    poses = stored_poses(files / "poses.parquet")
    run(request(files, poses=poses, video=files / "damaged.mp4"))
    frames, _, _, num_sounds = facts_of(files / "out.mp4")
    assert (frames, num_sounds) == (15, 0)
    assert "out.mp4 has no sound: the sound of" in caplog.text


@pytest.mark.parametrize(
    ("changes", "size"), [({"size": (64, 64)}, (64, 64)), ({"short_side_px": 64}, (64, 64)), ({}, (32, 48))]
)
def test_the_asked_size(files, changes, size):
    poses = stored_poses(files / "poses.parquet")
    prepared = prepare(request(files, poses=poses, video=None, **changes), FACTS, STYLE, MODELS)
    assert prepared.inputs.size == size


def test_the_preview_is_a_picture_with_a_panel_for_some_frames(files):
    poses = stored_poses(files / "poses.parquet")
    prepared = prepare(request(files, poses=poses, video=None), FACTS, STYLE, MODELS)
    write_picture(files / "p.png", prepared.preview)
    assert (read_picture(files / "p.png") == prepared.preview).all()
    assert prepared.preview.shape[1] == 6 * 32 * 8 + 5 * 4


def test_the_preview_shows_lines_that_the_released_canvas_would_thin_out(files):
    poses = stored_poses(files / "poses.parquet")
    released = prepare(request(files, poses=poses, video=None), FACTS, DrawingStyle(), MODELS)
    plain = pose_over(enlarged(released.inputs.reference), np.zeros((3, 384, 256), np.uint8))
    marks = np.abs(released.preview[LABEL_HEIGHT_PX:, 260:516].astype(int) - plain).max(axis=2) > 100
    assert marks.mean() > 0.04


def test_stored_poses_need_no_video(files):
    poses = stored_poses(files / "poses.parquet")
    req = request(files, video=None, poses=poses, fps=12, alignment="none")
    prepared, _, count = run(req)
    assert count == 12
    assert facts_of(files / "out.mp4") == (12, Fraction(12), (32, 48), 0)
    step = np.diff(prepared.driving.track.keypoints[:, 0, 0])
    np.testing.assert_allclose(step, 0.2, atol=1e-4)


def test_poses_that_a_run_found_are_taken_back_as_they_were(files):
    prepared, first, _ = run(request(files, person=0))
    pq.write_table(prepared.driver.table, files / "out.poses.parquet")
    again, second, _ = run(request(files, poses=files / "out.poses.parquet", video=None))
    assert again.driving.fps == prepared.driving.fps == 15
    np.testing.assert_array_equal(again.driving.track.keypoints, prepared.driving.track.keypoints)
    assert all((one == other).all() for one, other in zip(first.poses, second.poses, strict=True))


def test_the_poses_of_a_driver_are_found_once_for_all_pictures_and_rates_apart(files, monkeypatch):
    found, drivers = [], {}
    monkeypatch.setattr(
        driving, "link", lambda people, fps, size: found.append(fps) or link(people, fps, size)
    )
    for changes in ({}, {"out": files / "b.mp4"}, {"fps": 12.0}, {"seed": 4}):
        prepared = prepare(request(files, **changes), FACTS, STYLE, MODELS, drivers=drivers)
        assert len(prepared.driving.track) == (24 if "fps" in changes else 30)
    assert found == [15, 12]
    monkeypatch.setattr(driving, "_MOST_DRIVERS", 2)
    prepare(request(files, fps=6.0), FACTS, STYLE, MODELS, drivers=drivers)
    assert [key[2] for key in drivers] == [12.0, 6.0]


def test_one_frame_is_enough(files):
    poses = stored_poses(files / "poses.parquet", num_frames=1)
    assert run(request(files, video=None, poses=poses))[2] == 1


def test_frames_by_time():
    assert frames_by_time(48, 24.0, 12.0).tolist() == list(range(0, 48, 2))
    assert frames_by_time(3, 10.0, 30.0).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert frames_by_time(1, 30.0, 10.0).tolist() == [0]
    assert len(frames_by_time(300, 29.97, 15.0)) == 150


def empty_video(files):
    write_preview(files / "empty.mp4", [np.full((60, 80, 3), 60, np.uint8)] * 8, 24)
    return files / "empty.mp4"


def test_nobody_in_the_video(files):
    with pytest.raises(InputError, match="nobody was found in the driving video"):
        prepare(request(files, video=empty_video(files)), FACTS, STYLE, MODELS)
    with pytest.raises(InputError, match="person 3 was not found"):
        prepare(request(files, person=3), FACTS, STYLE, MODELS)


def test_nobody_in_the_reference(files):
    write_picture(files / "ref.png", np.full((40, 30, 3), 60, np.uint8))
    with pytest.raises(InputError, match="nobody was found in the reference picture"):
        prepare(request(files), FACTS, STYLE, MODELS)


def test_too_little_of_a_body(files):
    few = TopDownEstimator(FakeDetector(), FakeWholeBody(num_sure=3))
    with pytest.raises(InputError, match="at most 3 of 17 body points are visible in the reference"):
        prepare(request(files), FACTS, STYLE, few)


def test_missing_models_are_named(files):
    with pytest.raises(InputError, match="--reference-poses"):
        prepare(request(files), FACTS, STYLE, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": None}, "nothing drives"),
        ({"size": (64, 64), "short_side_px": 64}, "give one of them"),
        ({"size": (65, 97)}, r"65x97 was asked for.*divisible by 8, e.g. 64x96"),
        ({"fps": 0.5}, "allowed are 1 to 120"),
        ({"short_side_px": 100}, "multiple of 64"),
    ],
)
def test_requests_that_contradict_themselves(files, changes, message):
    with pytest.raises(InputError, match=message):
        prepare(request(files, **changes), FACTS, STYLE, MODELS)


def test_results_that_cannot_be_written(files):
    with pytest.raises(InputError, match=r"must end in \.mp4"):
        request(files, out=files / "out.gif").check()
    with pytest.raises(InputError, match="is not there"):
        request(files, out=files / "absent" / "out.mp4").check()
    with pytest.raises(InputError, match="no result can be written in the folder /proc"):
        request(files, out=Path("/proc/out.mp4")).check()
    (files / "folder.mp4").mkdir()
    with pytest.raises(InputError, match="is a folder; name a file"):
        request(files, out=files / "folder.mp4").check()


def test_a_result_never_replaces_what_it_is_made_from(files):
    (files / "link.mp4").symlink_to(files / "drive.mp4")
    for name in ("drive.mp4", "link.mp4"):
        with pytest.raises(InputError, match="would replace the video it is made from"):
            request(files, out=files / name).check()
    request(files).check()
    assert not list(files.glob(".animate*"))


def test_videos_and_poses_that_cannot_be_read(files):
    with pytest.raises(InputError, match="no driving video at"):
        prepare(request(files, video=files / "absent.mp4"), FACTS, STYLE, MODELS)
    (files / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="cannot be used"):
        prepare(request(files, video=files / "broken.mp4"), FACTS, STYLE, MODELS)
    with pytest.raises(InputError, match="no poses at"):
        prepare(request(files, poses=files / "absent.parquet"), FACTS, STYLE, MODELS)


def curves(path, sha):
    """A calibration that halves every confidence."""
    line = Curve((0.0, 2.0), (0.001, 1.0))
    Calibration(sha, dict.fromkeys(PARTS, line)).write(path)
    return Calibration.read(path)


def test_much_that_is_cut_off_the_picture_is_said(files, caplog):
    prepare(request(files), FACTS, STYLE, MODELS)
    assert "cut off" not in caplog.text
    write_picture(files / "square.png", dancer(96, 96))
    prepare(request(files, image=files / "square.png"), FACTS, STYLE, MODELS)
    assert "33 % of the picture" in caplog.text
    assert "square.png are cut off around its middle to make it 48x32" in caplog.text


def test_stored_poses_with_their_video_tell_whether_its_camera_moves(files, monkeypatch):
    poses = stored_poses(files / "poses.parquet")
    assert (
        "not known" in prepare(request(files, poses=poses, video=None), FACTS, STYLE, MODELS).driving.camera
    )
    monkeypatch.setattr(driving, "moving_camera", lambda reader, frames: f"moves in {len(frames)} frames")
    found = prepare(request(files, poses=poses), FACTS, STYLE, MODELS).driving
    assert found.camera == "moves in 30 frames"


def test_what_of_a_driving_video_does_not_decode_is_said(files, caplog):
    prepare(request(files), FACTS, STYLE, MODELS)
    assert "damaged" not in caplog.text
    frames = np.random.default_rng(0).integers(0, 60, (48, 60, 80, 3), dtype=np.uint8)
    frames[:, 10:50, 25:55] = (230, 30, 30)
    write_preview(files / "whole.mp4", frames, 24)
    whole = (files / "whole.mp4").read_bytes()
    (files / "half.mp4").write_bytes(whole[: len(whole) // 2])
    prepared = prepare(request(files, video=files / "half.mp4"), FACTS, STYLE, MODELS)
    kept_s = len(prepared.driving.track) / prepared.driving.fps
    assert 0.5 < kept_s < 1.5
    assert f"half.mp4 is damaged: {kept_s:.1f} s decode, at least" in caplog.text
    caplog.clear()
    hole = len(whole) // 2
    (files / "hole.mp4").write_bytes(
        whole[:hole] + bytes(len(whole) // 10) + whole[hole + len(whole) // 10 :]
    )
    prepare(request(files, video=files / "hole.mp4"), FACTS, STYLE, MODELS)
    assert "of 30 frames do not decode and show the one before" in caplog.text


def test_a_calibration_and_a_checkpoint_go_together(files):
    model = files / "model.onnx"
    model.write_bytes(b"model")
    found = TopDownEstimator(FakeDetector(), FakeWholeBody(), {"wholebody": model})
    fits, other = curves(files / "a.json", file_digest(model)), curves(files / "b.json", "ab" * 32)
    calibrated = replace(FACTS, calibrated=True)
    with pytest.raises(InputError, match=r"trained on calibrated confidences: give the calibration"):
        prepare(request(files), calibrated, STYLE, found)
    with pytest.raises(InputError, match=r"learnt raw confidences as released weights did"):
        prepare(request(files), FACTS, STYLE, found, calibration=fits)
    with pytest.raises(InputError, match=r"does not fit poses that are found with these models"):
        prepare(request(files), calibrated, STYLE, found, calibration=other)
    inputs = prepare(request(files), calibrated, STYLE, found, calibration=fits).inputs
    np.testing.assert_allclose(inputs.driving.confidences, 0.45, atol=0.01)
    np.testing.assert_allclose(inputs.reference_pose.confidences, 0.45, atol=0.01)
    stored = stored_poses(files / "poses.parquet")
    with pytest.raises(InputError, match=r"does not fit the poses .*poses.parquet"):
        prepare(request(files, poses=stored), calibrated, STYLE, found, calibration=fits)

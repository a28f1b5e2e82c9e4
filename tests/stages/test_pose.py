"""The pose stage as a plain function: detect, import, nobody, rejects, and what it shows."""

import hashlib
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from busy_device import BusyDevice
from fake_people import FakeDetector, FakeWholeBody
from pydantic import ValidationError

from mimicmotion.errors import DataError, InputError, RejectedItem
from mimicmotion.pose.calibration import PARTS, Calibration, Curve
from mimicmotion.pose.drawing import draw_pose
from mimicmotion.pose.models import estimator as estimator_module
from mimicmotion.pose.models.estimator import TopDownEstimator
from mimicmotion.pose.models.sessions import missing_for_cuda
from mimicmotion.pose.table import POSES_SCHEMA, PosesInfo, poses_table, read_track
from mimicmotion.video.files import iter_frames, write_preview
from mimicmotion.video.reader import VideoReader
from stages.engine.contract import Item
from stages.engine.keys import key_fields, recipe_key
from stages.pose import Pose, PoseRuntime

NUM_FRAMES, HEIGHT, WIDTH = 10, 96, 64


class Published:
    """A dataset whose items lie in a folder."""

    def __init__(self, folder, rows=(), tables=None):
        self.folder, self.rows, self.tables = folder, rows, tables or {}
        self.ids = tuple(sorted(self.tables or (row["video_id"] for row in rows)))

    def table(self):
        return pa.Table.from_pylist(list(self.rows))

    def item_table(self, item_id):
        return self.tables[item_id]

    def item_key(self, item_id):
        return f"key-{item_id}"

    def path(self, item_id, name):
        return self.folder / item_id / name


class Reported:
    def __init__(self):
        self.numbers, self.images, self.tables = {}, {}, {}

    def metrics(self, values, step=0):
        self.numbers.update(values)

    def table(self, name, table):
        self.tables[name] = table.to_pylist()

    def image(self, name, image, step=None):
        self.images[name] = image


@pytest.fixture
def decoded(tmp_path):
    """Two videos: one of noise, one dark."""
    rows = []
    for video_id, source, top in (("v0", "deep/bright.mp4", 255), ("v1", "dark.mov", 1)):
        frames = np.random.default_rng(0).integers(0, top, (NUM_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
        (tmp_path / "decode" / video_id).mkdir(parents=True)
        write_preview(tmp_path / "decode" / video_id / "video.mp4", frames, 12)
        size = {"width_px": WIDTH, "height_px": HEIGHT, "source_width_px": 192, "source_height_px": 128}
        facts = {"num_frames": NUM_FRAMES, "fps": 12.0, "rotation_deg": 90, "codec": "h264"}
        facts |= {"trimmed_s": 0.0, "source_num_frames": NUM_FRAMES, "source_frames": list(range(NUM_FRAMES))}
        rows.append({"video_id": video_id, "source": source, **size, **facts})
    return Published(tmp_path / "decode", rows)


@pytest.fixture
def detecting(tmp_path):
    for name in ("detector.onnx", "wholebody.onnx"):
        (tmp_path / name).write_bytes(name.encode())
    return Pose(detector=tmp_path / "detector.onnx", wholebody=tmp_path / "wholebody.onnx")


MODELS = TopDownEstimator(FakeDetector(), FakeWholeBody(), {"detector": Path(__file__)})


def test_items_are_the_videos(detecting, decoded):
    items = list(detecting.items({"decode": decoded}))
    assert [item.id for item in items] == ["v0", "v1"]
    assert items[0].label == "deep/bright.mp4"
    assert items[0].inputs == {"video": "key-v0"}
    assert [item.num_frames for item in items] == decoded.table()["num_frames"].to_pylist()
    assert detecting.weight_files().keys() == {"detector", "wholebody"}


def test_detects_a_person_in_every_frame(detecting, decoded, tmp_path):
    item = next(detecting.items({"decode": decoded}))
    table = detecting.process(MODELS, item, tmp_path)
    assert table.schema.equals(POSES_SCHEMA)
    assert table["frame"].to_pylist() == list(range(NUM_FRAMES))
    track = read_track(table, NUM_FRAMES)
    assert track.present.all()
    np.testing.assert_array_equal(track.keypoints[4, 0], [WIDTH / 2, HEIGHT / 2])
    info = PosesInfo.of(table)
    assert (info.video_id, info.fps, info.num_frames) == ("v0", 12.0, NUM_FRAMES)
    assert info.models == {"detector": hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}


class BusyDetector(FakeDetector):
    """Takes 60 ms of the host, 50 ms of the device and 20 ms of the host a batch."""

    def __init__(self, device):
        self.device = device

    def prepare(self, frames):
        time.sleep(0.06)
        return super().prepare(frames)

    def detect(self, prepared, frame_size):
        self.device.work(0.05)
        time.sleep(0.02)
        return super().detect(prepared, frame_size)


class BusyWholeBody(FakeWholeBody):
    """Takes 20 ms of the host a person and 50 ms of the device a batch."""

    def __init__(self, device):
        self.device = device

    def prepare(self, frame, boxes):
        time.sleep(0.02)
        return super().prepare(frame, boxes)

    def estimate(self, crops, boxes):
        self.device.work(0.05)
        return super().estimate(crops, boxes)


def test_a_device_is_kept_busy_by_batches_and_reading_ahead(detecting, tmp_path, monkeypatch):
    """Each batch of two takes 160 ms to read, 120 ms of the host and 100 ms of the device."""
    rng, length = np.random.default_rng(0), 40
    write_preview(tmp_path / "v.mp4", rng.integers(0, 255, (length, 32, 32, 3), dtype=np.uint8), 12)
    read = VideoReader.read
    monkeypatch.setattr(
        VideoReader, "read", lambda self, some: (time.sleep(0.08 * len(some)), read(self, some))[1]
    )
    facts = {"video": tmp_path / "v.mp4", "num_frames": length, "fps": 12.0, "width_px": 32, "height_px": 32}
    idle, found = {}, {}
    for num in (1, 4):
        runtime = {"frames_per_batch": 2, "decode_threads": num, "batches_in_flight": num}
        stage, device = detecting.model_copy(update={"runtime": PoseRuntime(**runtime)}), BusyDevice()
        models = TopDownEstimator(BusyDetector(device), BusyWholeBody(device), {}, num)
        found[num] = stage._detect(models, Item("v", {}, facts))
        idle[num] = device.idle
    assert idle[1] > 0.2
    assert idle[4] < 0.1
    for one, other in zip(found[1], found[4], strict=True):
        np.testing.assert_equal([p.keypoints for _, p in one], [p.keypoints for _, p in other])


def test_runtime_and_precision_reach_the_models(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(estimator_module, "open_estimator", lambda *models, **how: given.update(how))
    cuda = {"CUDAExecutionProvider": {"gpu_mem_limit": 4_000_000_000}}
    models = {"detector": tmp_path / "d.onnx", "wholebody": tmp_path / "w.onnx"}
    Pose(**models, half_precision=True, runtime={"batches_in_flight": 3, "providers": cuda}).load()
    assert (given["half"], given["batches_in_flight"], given["providers"]) == (True, 3, cuda)
    with pytest.raises(ValidationError, match="must not choose the precision by trt_fp16_enable"):
        Pose(**models, runtime={"providers": {"TensorrtExecutionProvider": {"trt_fp16_enable": 1}}})
    for provider, options in (("CUDA", {"use_tf32": 0}), ("OpenVINO", {"device_type": "GPU_FP16"})):
        with pytest.raises(ValidationError, match="must not choose the precision by"):
            Pose(**models, runtime={"providers": {f"{provider}ExecutionProvider": options}})


def test_half_precision_is_another_recipe_and_what_was_found_without_it_stays(detecting):
    before = recipe_key(detecting)
    assert "half_precision" not in key_fields(detecting)
    assert recipe_key(detecting.model_copy(update={"half_precision": True})) != before
    runtime = PoseRuntime(batches_in_flight=4, providers={"CPUExecutionProvider": {}})
    assert recipe_key(detecting.model_copy(update={"runtime": runtime})) == before


def test_the_same_item_gives_the_same_bytes(detecting, decoded, tmp_path):
    item = next(detecting.items({"decode": decoded}))
    digests = set()
    for name in ("a", "b"):
        pq.write_table(detecting.process(MODELS, item, tmp_path), tmp_path / name)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_nobody_is_an_empty_table_that_knows_its_video(detecting, decoded, tmp_path):
    item = list(detecting.items({"decode": decoded}))[1]
    table = detecting.process(MODELS, item, tmp_path)
    assert table.num_rows == 0
    assert PosesInfo.of(table).num_frames == NUM_FRAMES


def test_a_video_of_another_length_stops_the_stage(detecting, decoded, tmp_path):
    item = next(detecting.items({"decode": decoded}))
    wrong = Item(id=item.id, inputs=item.inputs, payload={**item.payload, "num_frames": 11})
    with pytest.raises(DataError, match="10 frames, its row says 11"):
        detecting.process(MODELS, wrong, tmp_path)


def test_cuda_that_is_missing_stops_the_stage(detecting):
    if missing_for_cuda() is None:
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match=r"detector\.onnx was to run on CUDA"):
        detecting.load()


def relative_poses(path, num_frames=NUM_FRAMES, **replaced):
    columns = {
        "frame": list(range(num_frames)),
        "time_s": [frame / 12 for frame in range(num_frames)],
        "person": [0] * num_frames,
        "box": [[0.1, 0.1, 0.9, 0.9]] * num_frames,
        "box_score": [0.9] * num_frames,
        "keypoints": [[0.25, 0.5] * 133] * num_frames,
        "confidences": [[0.7] * 133] * num_frames,
    }
    pq.write_table(pa.table({**columns, **replaced}), path)


@pytest.fixture
def importing(tmp_path):
    (tmp_path / "poses").mkdir()
    return Pose(source="import", import_folder=tmp_path / "poses")


def test_imports_the_poses_of_a_source(importing, decoded, tmp_path):
    relative_poses(tmp_path / "poses" / "bright.parquet")
    item = next(importing.items({"decode": decoded}))
    assert importing.load() is None
    table = importing.process(None, item, tmp_path)
    track = read_track(table, NUM_FRAMES)
    np.testing.assert_array_equal(track.keypoints[3, 7], [WIDTH / 4, HEIGHT / 2])
    assert PosesInfo.of(table).models == {"import": item.inputs["poses"]}
    assert (
        item.inputs["poses"]
        == hashlib.sha256((tmp_path / "poses" / "bright.parquet").read_bytes()).hexdigest()
    )


def test_changed_poses_change_the_item_alone(importing, decoded, tmp_path):
    relative_poses(tmp_path / "poses" / "bright.parquet")
    before = [item.inputs for item in importing.items({"decode": decoded})]
    relative_poses(tmp_path / "poses" / "bright.parquet", num_frames=4)
    after = [item.inputs for item in importing.items({"decode": decoded})]
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_poses_that_are_missing_or_broken_are_rejects(importing, decoded, tmp_path):
    relative_poses(tmp_path / "poses" / "bright.parquet", confidences=[[0.7] * 17] * NUM_FRAMES)
    first, second = importing.items({"decode": decoded})
    with pytest.raises(RejectedItem, match="133") as caught:
        importing.process(None, first, tmp_path)
    assert caught.value.code == "unusable_poses"
    with pytest.raises(RejectedItem, match=r"dark\.parquet") as caught:
        importing.process(None, second, tmp_path)
    assert caught.value.code == "no_poses_to_import"


def test_any_error_of_a_pose_file_is_the_items(importing, decoded, tmp_path, monkeypatch):
    relative_poses(tmp_path / "poses" / "bright.parquet")
    first = next(importing.items({"decode": decoded}))

    def failing(*_):
        raise IndexError("a damaged page")

    monkeypatch.setattr("mimicmotion.pose.files.importing.import_poses", failing)
    with pytest.raises(RejectedItem, match=r"bright\.parquet cannot be read as poses: IndexError") as caught:
        importing.process(None, first, tmp_path)
    assert caught.value.code == "unusable_poses"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "needs both detector and wholebody"),
        ({"source": "import"}, "import_folder"),
        ({"source": "import", "import_folder": "a", "detector": "b"}, "uses no models"),
        ({"detector": "a", "wholebody": "b", "import_folder": "c"}, "must not have one"),
    ],
)
def test_sections_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Pose(**fields)


def test_check_names_a_missing_folder(tmp_path):
    assert "nowhere" in Pose(source="import", import_folder=tmp_path / "nowhere").check()[0]
    assert Pose(source="import", import_folder=tmp_path).check() == []


def test_shows_numbers_and_pictures(detecting, decoded, tmp_path, caplog):
    items = list(detecting.items({"decode": decoded}))
    tables = {item.id: detecting.process(MODELS, item, tmp_path) for item in items}
    assert "dark.mov: of 10 frames 10 show nobody, 0 show others" in caplog.text
    report = Reported()
    with caplog.at_level("INFO"):
        detecting.show(Published(tmp_path, tables=tables), {"decode": decoded}, report)
    assert "in 2 videos, of 20 frames 10 show nobody" in caplog.text
    assert (report.numbers["frames_nobody"], report.numbers["frames_person_lost"]) == (10, 0)
    assert [row["num_nobody"] for row in report.tables["people"]] == [0, 10]
    assert report.numbers["videos"] == 2
    assert report.numbers["videos_without_person"] == 1
    assert report.numbers["frames_with_person_fraction"] == 0.5
    assert report.numbers["confidence_hands"] == pytest.approx(0.8)
    assert report.images["pose/v0"].shape == (HEIGHT, WIDTH, 3)
    assert report.images["confidences"].ndim == 3
    assert "pose/v1" not in report.images


def test_the_pose_is_drawn_in_probabilities_where_the_config_has_a_calibration(
    detecting, decoded, tmp_path, monkeypatch
):
    item = next(detecting.items({"decode": decoded}))
    models = TopDownEstimator(FakeDetector(), FakeWholeBody(), {"wholebody": Path(__file__)})
    poses = Published(tmp_path, tables={"v0": detecting.process(models, item, tmp_path)})
    sha = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    line = Curve((0.0, 1.0), (0.01, 0.02))
    Calibration(sha, dict.fromkeys(PARTS, line)).write(tmp_path / "c.json")
    drawn = []

    def draw(points, confidences, size, style):
        drawn.append(float(confidences.max()))
        return draw_pose(points, confidences, size, style)

    monkeypatch.setattr("mimicmotion.pictures.poses.draw_pose", draw)
    for stage in (detecting, detecting.model_copy(update={"calibration": tmp_path / "c.json"})):
        stage.show(poses, {"decode": decoded}, Reported())
    assert drawn == pytest.approx([0.8, 0.018])


def test_shows_nothing_of_nobody(detecting, decoded):
    info = PosesInfo(video_id="v1", width_px=8, height_px=8, fps=1.0, num_frames=1, models={})
    report = Reported()
    detecting.show(Published(None, tables={"v1": poses_table(info, [[]])}), {"decode": decoded}, report)
    assert report.numbers["people_per_frame"] == 0
    assert report.images == {}


def test_imports_real_poses_onto_the_dancer(real_data, tmp_path):
    clip = real_data / "people" / "fast_dwpose_dance.mp4"
    frames = [frame[::4, ::4] for frame in iter_frames(clip)]
    (tmp_path / "decode" / "v0").mkdir(parents=True)
    write_preview(tmp_path / "decode" / "v0" / "video.mp4", frames, 30)
    height, width = frames[0].shape[:2]
    size = {"width_px": width, "height_px": height, "source_width_px": 576, "source_height_px": 1024}
    facts = {"num_frames": len(frames), "fps": 30.0, "rotation_deg": 0}
    facts |= {"trimmed_s": 0.0, "source_num_frames": len(frames), "source_frames": list(range(len(frames)))}
    rows = [{"video_id": "v0", "source": clip.name, **size, **facts}]
    shutil.copy(real_data / "poses" / "fast_dwpose_dance.parquet", tmp_path)
    stage = Pose(source="import", import_folder=tmp_path)
    item = next(stage.items({"decode": Published(tmp_path / "decode", rows)}))
    track = read_track(stage.process(None, item, tmp_path), len(frames))
    assert track.present.all()
    sure = track.confidences[:, :17] > 0.5
    points = track.keypoints[:, :17][sure]
    assert ((points >= 0) & (points <= [width, height])).all()

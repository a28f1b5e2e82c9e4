"""Generated clips beside their truth, as the evaluate stage and the ablation read them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from clip_table import clip_row

from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.video.files import write_lossless, write_preview
from mimicmotion.video.reader import open_video
from stages.parts.measure import MEASURED_SCHEMA

WIDTH, HEIGHT, NUM_FRAMES = 32, 48, 14


class FakeDataset:
    key = "key"

    def __init__(self, tables, files=None):
        self.tables, self.files = tables, files or {}
        self.ids = tuple(sorted(tables))
        self.rejected = {}

    def item_key(self, item_id):
        return f"key of {item_id}"

    def path(self, item_id, name):
        return self.files[item_id, name]

    def item_table(self, item_id):
        table = self.tables[item_id]
        return table if isinstance(table, pa.Table) else pa.Table.from_pylist(table)

    def content_sha256(self, item_id, name):
        return f"content of {self.files[item_id, name.split('/')[0]]}"

    def table(self):
        return pa.concat_tables(self.item_table(i) for i in self.ids)


def true_video(path, seed):
    rng = np.random.default_rng(seed)
    still = rng.integers(40, 200, (1, HEIGHT // 8, WIDTH // 8, 3)).repeat(8, 1).repeat(8, 2)
    frames = np.repeat(still, NUM_FRAMES, axis=0).astype(np.uint8)
    for i, frame in enumerate(frames):
        frame[i : i + 12, 6:20] = (250, 240, 10)
    write_preview(path, frames, 12)


def person(shift):
    keypoints = np.random.default_rng(0).uniform(4, 28, (133, 2)) + np.array([0, shift])
    box = np.array([2, 2, 30, 46], np.float32)
    return Person(box, 0.9, keypoints.astype(np.float32), np.ones(133, np.float32))


def make_inputs(
    folder: Path, names=("a", "b"), change=lambda frames: np.clip(frames.astype(int) + 6, 0, 255)
):
    clips, animate, decode, pose = [], {}, {}, {}
    files: dict = {"animate": {}, "decode": {}, "pose": {}}
    for seed, name in enumerate(names):
        true_video(folder / f"{name}.mp4", seed)
        frames = list(range(1, 13))
        clip_id = f"clip-{name}"
        true = open_video(folder / f"{name}.mp4").read(frames)
        write_lossless(folder / f"{name}.mkv", change(true).astype(np.uint8), 12)
        window = {"first_frame": 1, "num_frames": 12, "step": 1}
        clips.append(clip_row(clip_id, name, "test", (WIDTH, HEIGHT), **window))
        row = {"clip_id": clip_id, "video_id": name, "width_px": WIDTH, "height_px": HEIGHT, "fps": 12.0}
        animate[clip_id] = [{**row, "frames": frames, "reference_frame": 0}]
        decode[name] = [
            {"video_id": name, "source": f"x/{name}.mp4", "width_px": WIDTH, "height_px": HEIGHT}
            | {"fps": 12.0, "num_frames": NUM_FRAMES}
        ]
        info = PosesInfo(
            video_id=name, width_px=WIDTH, height_px=HEIGHT, fps=12, num_frames=NUM_FRAMES, models={}
        )
        pose[name] = poses_table(info, [[(0, person(i))] for i in range(NUM_FRAMES)])
        pq.write_table(pose[name], folder / f"{name}.parquet")
        files["pose"][name, "table.parquet"] = folder / f"{name}.parquet"
        files["animate"][clip_id, "generated.mkv"] = folder / f"{name}.mkv"
        files["animate"][clip_id, "preview.mp4"] = folder / f"{name}.mp4"
        files["decode"][name, "video.mp4"] = folder / f"{name}.mp4"
    return {
        "animate": FakeDataset(animate, files["animate"]),
        "clips": FakeDataset({"all": clips}),
        "decode": FakeDataset(decode, files["decode"]),
        "pose": FakeDataset(pose, files["pose"]),
        "train": FakeDataset({"all": [{}]}, {("all", "checkpoint"): folder / "checkpoint"}),
    }


class FakeContext:
    """Has items measured here, and notes which."""

    report = launch = state = registry = None

    def __init__(self):
        self.items = {}

    def map(self, stage, inputs):
        loaded = stage.load()
        self.items = {item.id: item for item in stage.items(inputs)}
        tables = {name: stage.process(loaded, item, None) for name, item in self.items.items()}
        assert all(table.schema.equals(MEASURED_SCHEMA) for table in tables.values())
        return FakeDataset(tables)

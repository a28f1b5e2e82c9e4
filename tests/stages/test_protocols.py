"""The TikTok protocols from clips to scores, on small films of the right shapes: every frame, whole."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scored_clips import FakeContext, FakeDataset

from mimicmotion.animation.checkpoint import CheckpointFacts
from mimicmotion.clips.evidence import EVIDENCE_SCHEMA
from mimicmotion.errors import ConfigError, InputError
from mimicmotion.metrics.protocols import protocol_by_id
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.video.files import write_preview
from mimicmotion.video.framing import whole_framing
from mimicmotion.video.reader import open_video
from mimicmotion.video.size import Size
from stages.animate import Animate
from stages.clip_rows import EVIDENCE_FILE
from stages.clips import Clips
from stages.decode import VIDEOS_SCHEMA
from stages.engine.config import load_config
from stages.engine.contract import Context
from stages.evaluate import Evaluate
from stages.parts.measure import Measuring

NUM_FRAMES, FPS = 7, 30.0
TRAINED = [[72, 128], [128, 72]]


class Oracle:
    """Makes the true frames of the film whose first frame it is shown."""

    def __init__(self, films: list[np.ndarray]) -> None:
        self.films = films
        self.warned: set[str] = set()
        self.tools = None

    def at(self, checkpoint: Path) -> tuple["Oracle", CheckpointFacts]:
        return self, CheckpointFacts(num_frames=4)

    def sample(self, image, poses, *, settings, generator, progress, retiled):
        self.poses = list(poses)
        return next(film for film in self.films if np.array_equal(film[0], image))

    def decode(self, latents, chunk_size):
        yield from latents[1 : len(self.poses)]


def person(size: tuple[int, int], frame: int) -> Person:
    points = np.random.default_rng(0).uniform(0.2, 0.8, (133, 2)) * size + frame
    box = np.array([0.1, 0.1, 0.9, 0.9]) * (*size, *size)
    return Person(box.astype(np.float32), 0.9, points.astype(np.float32), np.ones(133, np.float32))


def make_film(folder: Path, name: str, size: tuple[int, int], seed: int) -> pa.Table:
    """A film with a gap in its poses, a cut and a second person; returns its row of the decode stage."""
    width, height = size
    rng = np.random.default_rng(seed)
    still = (
        rng.integers(0, 256, (height // 10 + 1, width // 10 + 1, 3))
        .repeat(10, 0)
        .repeat(10, 1)[:height, :width]
    )
    write_preview(
        folder / f"{name}.mp4", [np.roll(still, 3 * k, 1).astype(np.uint8) for k in range(NUM_FRAMES)], FPS
    )
    people = [[(0, person(size, k))] for k in range(NUM_FRAMES)]
    people[3], people[4] = [], [(0, person(size, 4)), (1, person(size, 9))]
    info = PosesInfo(
        video_id=name, width_px=width, height_px=height, fps=FPS, num_frames=NUM_FRAMES, models={}
    )
    pq.write_table(poses_table(info, people), folder / f"{name}.parquet")
    row = {"video_id": name, "source": f"{name}.mp4", "split": "test", "width_px": width, "height_px": height}
    row |= {
        "fps": FPS,
        "num_frames": NUM_FRAMES,
        "scene_cuts": [2],
        "fades": [],
        "bad_frames": [],
        "hash_frames": [],
        "hashes": [],
    }
    return pa.Table.from_pylist([dict.fromkeys(VIDEOS_SCHEMA.names) | row], schema=VIDEOS_SCHEMA)


def score(
    folder: Path, protocol: str, shapes: list[tuple[int, int]], monkeypatch, **clips: object
) -> list[dict]:
    """Scores of an oracle over films of these shapes, by the stages as plain functions."""
    names = protocol_by_id(protocol).videos
    sizes = [shapes[k % len(shapes)] for k in range(len(names))]
    decode = {
        name: make_film(folder, name, size, k)
        for k, (name, size) in enumerate(zip(names, sizes, strict=True))
    }
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in names}
    files = {(name, "table.parquet"): folder / f"{name}.parquet" for name in names}
    pq.write_table(EVIDENCE_SCHEMA.empty_table(), folder / EVIDENCE_FILE)
    files |= {(name, EVIDENCE_FILE): folder / EVIDENCE_FILE for name in names}
    inputs = {
        "decode": FakeDataset(decode, {(name, "video.mp4"): folder / f"{name}.mp4" for name in names}),
        "pose": FakeDataset(tables, files),
        "train": FakeDataset({"all": [{}]}, {("all", "checkpoint"): folder}),
    }
    for dataset in inputs.values():
        dataset.item_key = str
    context = Context(report=None, launch=None, state=folder)
    trained = [Size(*one) for one in TRAINED]
    settings = {"num_frames": 4, "fps": 8, "sizes_px": TRAINED, "test_clips": "whole_video", "test_step": 1}
    inputs["clips"] = FakeDataset({"all": Clips(**(settings | clips)).run(inputs, folder, context)})
    oracle = Oracle([
        whole_framing(Size(*size), trained).frames(open_video(folder / f"{name}.mp4").read(range(NUM_FRAMES)))
        for name, size in zip(names, sizes, strict=True)
    ])  # fmt: skip
    made, outputs = {}, {}
    for item in Animate(num_steps=1).items(inputs):
        (folder / item.id).mkdir()
        made[item.id] = Animate(num_steps=1).process(oracle, item, folder / item.id)
        every = [True, True, True, False, True, True, True]
        assert [pose.any() for pose in oracle.poses] == [every[k] for k in (0, *item.payload["frames"])]
        outputs |= {(item.id, name): folder / item.id / name for name in ("generated.mkv", "preview.mp4")}
    inputs["animate"] = FakeDataset(made, outputs)
    monkeypatch.setattr(Measuring, "vae", lambda self, folder: None)
    monkeypatch.setattr("mimicmotion.model.latents.round_trip", lambda vae, true: true)
    return Evaluate(protocol=protocol).run(inputs, folder, FakeContext()).to_pylist()


@pytest.mark.parametrize(
    ("protocol", "shapes"),
    [("tiktok-335-340-256", [(151, 270)]), ("tiktok-disco10-256", [(180, 180), (150, 270)])],
)
def test_every_frame_after_the_first_is_scored_whole(protocol, shapes, tmp_path, monkeypatch):
    shapes = [(width // 2 * 2, height // 2 * 2) for width, height in shapes]
    rows = score(tmp_path, protocol, shapes, monkeypatch)
    (psnr,) = [r for r in rows if (r["clip_id"], r["method"], r["metric"]) == ("summary", "model", "psnr")]
    num_videos = len(protocol_by_id(protocol).videos)
    assert (psnr["num_videos"], psnr["count"]) == (num_videos, num_videos * (NUM_FRAMES - 1))
    # The oracle's frames are the whole true ones, nothing cut off and nothing stretched.
    assert psnr["value"] == 100


def test_every_fourth_frame_is_refused(tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match=r"6 frames of 00335, from frame 1 at step 1\. There are 1, from frame 4"
    ):
        score(tmp_path, "tiktok-335-340-256", [(150, 270)], monkeypatch, test_step=None)


def test_a_config_that_breaks_its_protocol_is_refused_before_anything_runs():
    assert load_config("tiktok-disco10").stages["clips"].test_clips == "whole_video"
    with pytest.raises(ConfigError) as caught:
        load_config(
            "tiktok-335-340", ["clips.test_clips=longest_run", "clips.test_step=null", "decode.fps=25"]
        )
    assert [problem.split("videos: ")[1] for problem in caught.value.problems] == [
        "clips.test_clips is longest_run, it must be whole_video.",
        "clips.test_step is None, it must be 1.",
        "decode.fps is 25.0, it must be None.",
    ]

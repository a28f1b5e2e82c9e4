"""What the pose stage costs besides ONNX Runtime, and its throughput against the bare sessions.

    python benchmarks/pose.py [--frames 16] [--batch 4] [--cuda] [--threads 1]

The graphs have the form and size of DWPose's files with random weights (``pose_graphs.py``) and find one
person in every frame. The bare sessions are fed from memory, one after the other and side by side; the
stage is compared with the better of the two. All three take turns, and the best turn of each counts, since
other work on the machine would else fall on one of them. Core seconds say what the stage adds anywhere.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from pose_graphs import build_detector, build_wholebody

from mimicmotion.pose.models.detector import PersonDetector, letterbox_into, letterbox_scale, people
from mimicmotion.pose.models.estimator import TopDownEstimator, estimate_video
from mimicmotion.pose.models.simcc import WholeBodyModel, crop, decode, to_frame
from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.pose.tracks import link
from mimicmotion.video.files import write_preview
from mimicmotion.video.reader import open_video
from mimicmotion.video.size import Size

SIZES = ((1920, 1080), (1024, 576))
CROP = Size(288, 384)


def moving_picture(size: tuple[int, int], num_frames: int) -> Iterator[np.ndarray]:
    """Yield frames of a soft texture that moves."""
    random = np.random.default_rng(0)
    texture = cv2.resize(
        random.integers(0, 255, (size[0] // 12, size[1] // 12, 3), dtype=np.uint8), size[::-1]
    )
    for frame in range(num_frames):
        yield np.roll(texture, 3 * frame, axis=1)


def milliseconds(work: Callable[[], object], frames: int) -> float:
    """Return the time per frame of work on so many frames."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / frames * 1000


def outside_costs(path: Path, size: tuple[int, int], num_frames: int, folder: Path) -> dict[str, float]:
    """Return milliseconds per frame of every step but the models, for one person per frame."""
    random = np.random.default_rng(0)
    rows = random.normal(-8, 0.1, (8400, 85)).astype(np.float32)
    rows[4000, :6] = (0, 0, 3.5, 4.2, 0.95, 0.95)
    rows[:, 4] = np.clip(rows[:, 4], 0, 1)
    scale = letterbox_scale(Size(*size[::-1]), Size(640, 640))
    along_x = random.random((1, 133, 576), dtype=np.float32)
    along_y = random.random((1, 133, 768), dtype=np.float32)
    box = np.array([size[1] * 0.2, size[0] * 0.1, size[1] * 0.8, size[0] * 0.9], dtype=np.float32)
    person = Person(box, 0.9, random.random((133, 2), dtype=np.float32) * size[0], along_x[0, :, 0])
    info = PosesInfo(
        video_id="0", width_px=size[1], height_px=size[0], fps=30.0, num_frames=num_frames, models={}
    )
    reader = open_video(path)
    frames = reader.read(range(num_frames))
    picture = np.empty((3, 640, 640), np.float32)

    def each(work: Callable[[int], object]) -> Callable[[], object]:
        return lambda: [work(index) for index in range(num_frames)]

    def write() -> None:
        linked = link([[person] for _ in range(num_frames)], 30.0, Size(*size[::-1]))
        pq.write_table(poses_table(info, linked), folder / "poses.parquet")

    steps: dict[str, Callable[[], object]] = {
        "reading": each(lambda index: reader.read([index])),
        "letterbox": each(lambda index: letterbox_into(picture, frames[index])),
        "boxes": each(lambda index: people(rows, Size(640, 640), scale)),
        "crop": each(lambda index: crop(frames[index], box, CROP)),
        "SimCC": each(lambda index: to_frame(decode(along_x, along_y, CROP)[0], [box], CROP)),
        "tracks, table, file": write,
    }
    for step in steps.values():
        step()
    return {name: milliseconds(step, num_frames) for name, step in steps.items()}


def bare_runs(
    detector: PersonDetector, wholebody: WholeBodyModel, num_frames: int, batch: int
) -> dict[str, Callable[[], object]]:
    """Return both sessions on pictures in memory, to be run one after the other, and side by side."""
    pictures = np.random.default_rng(0).random((batch, 3, 640, 640), dtype=np.float32) * 255
    crops = np.random.default_rng(1).random((batch, 3, 384, 288), dtype=np.float32)
    rounds = num_frames // batch

    def find() -> None:
        for _ in range(rounds):
            detector.graph.run(pictures, batch)

    def place() -> None:
        for _ in range(rounds):
            wholebody.graph.run(crops, batch)

    def side_by_side() -> None:
        with ThreadPoolExecutor(2) as pool:
            for done in (pool.submit(find), pool.submit(place)):
                done.result()

    return {"bare, in turn": lambda: (find(), place()), "bare, side by side": side_by_side}


def throughput(folder: Path, path: Path, options: argparse.Namespace) -> None:
    """Print frames per second of the bare sessions and of the stage's own path."""
    build_detector(folder / "detector.onnx")
    build_wholebody(folder / "wholebody.onnx")
    device = {"cuda": options.cuda, "allow_cpu": not options.cuda, "threads": options.threads}
    detector = PersonDetector.open(folder / "detector.onnx", max_batch=options.batch, **device)
    wholebody = WholeBodyModel.open(folder / "wholebody.onnx", max_batch=options.batch, **device)
    reader = open_video(path)

    class Part:
        """The first frames of the video."""

        num_frames = options.frames // options.batch * options.batch
        read = staticmethod(reader.read)

    def ours() -> None:
        found = estimate_video(TopDownEstimator(detector, wholebody), Part(), options.batch)
        assert [len(people) for people in found] == [1] * Part.num_frames

    bare_runs(detector, wholebody, options.batch, options.batch)["bare, in turn"]()  # warm up
    runs = {"ours": ours, **bare_runs(detector, wholebody, Part.num_frames, options.batch)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(options.turns):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    best = {name: np.min(seconds, axis=0) for name, seconds in times.items()}
    bare = min(seconds[0] for name, seconds in best.items() if name != "ours")
    print(f"\n{Part.num_frames} frames of {reader.width_px} x {reader.height_px}, one person each")
    print(f"{'':>20} {'frames/s':>9} {'of bare':>8} {'core s/frame':>13}")
    for name, (wall, cpu) in best.items():
        frames = Part.num_frames
        print(f"{name:>20} {frames / wall:>9.2f} {bare / wall:>8.1%} {cpu / frames:>13.3f}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cuda", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = []
        for size in SIZES:
            path = folder / f"{size[1]}x{size[0]}.mp4"
            write_preview(path, moving_picture(size, max(60, options.frames)), 30)
            costs.append(outside_costs(path, size, 60, folder))
        print(f"{'ms per frame':>20} {'1080 x 1920':>12} {'576 x 1024':>12}")
        for step in costs[0]:
            print(f"{step:>20} {costs[0][step]:>12.2f} {costs[1][step]:>12.2f}")
        print(f"{'sum':>20} {sum(costs[0].values()):>12.2f} {sum(costs[1].values()):>12.2f}")
        throughput(folder, path, options)


if __name__ == "__main__":
    main()

"""How fast one core makes training samples of 16 frames at 576x1024, and where its time goes.

python benchmarks/loader.py            # a film of 1080x1920, 200 frames, made for it
python benchmarks/loader.py --samples 20
"""

import argparse
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from av.video.reformatter import VideoReformatter
from safetensors.numpy import save_file

from mimicmotion.pose.drawing import draw_pose
from mimicmotion.pose.framing import framed_track
from mimicmotion.pose.people import Person
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PosesInfo, poses_table, read_track
from mimicmotion.training.data.order import SampleIndex
from mimicmotion.training.data.samples import Clip, draw, framing_text, make_sample
from mimicmotion.training.settings import SampleSettings
from mimicmotion.video.colour import to_yuv
from mimicmotion.video.framing import framing
from mimicmotion.video.reader import open_video
from mimicmotion.video.settings import NormaliseSettings
from mimicmotion.video.writer import VideoWriter

SOURCE, TARGET, NUM_FRAMES, NUM_SLOTS, STEP = (1080, 1920), (576, 1024), 200, 16, 3


def make_clip(folder: Path) -> Clip:
    """A film of a moving texture as the decode stage writes one, a moving person's poses, and its latents."""
    rng = np.random.default_rng(0)
    width, height = SOURCE
    texture = cv2.resize(rng.integers(0, 256, (60, 34, 3), dtype=np.uint8), (width + NUM_FRAMES, height))
    usual = NormaliseSettings()
    writer = VideoWriter(folder / "video.mp4", Fraction(30), usual.crf, usual.key_frame_interval)
    reformatter = VideoReformatter()
    with writer:
        for t in range(NUM_FRAMES):
            writer.write(to_yuv(texture[:, t : t + width], reformatter), times=1)
    points = rng.uniform((300, 300), (800, 1700), (133, 2)).astype(np.float32)
    box = np.array([300, 300, 800, 1700], np.float32)
    people = [[(0, Person(box, 1.0, points + t, np.full(133, 0.9, np.float32)))] for t in range(NUM_FRAMES)]
    info = PosesInfo(
        video_id="film", width_px=width, height_px=height, fps=30.0, num_frames=NUM_FRAMES, models={}
    )
    pq.write_table(poses_table(info, people), folder / "table.parquet", compression="zstd")
    prefix = framing_text(framing(SOURCE, [TARGET]))
    tensors = {
        "frames": np.arange(NUM_FRAMES, dtype=np.int32),
        "latents": rng.normal(size=(NUM_FRAMES, 4, TARGET[1] // 8, TARGET[0] // 8)).astype(np.float16),
        "embedded_frames": np.arange(NUM_FRAMES, dtype=np.int32),
        "embeddings": rng.normal(size=(NUM_FRAMES, 1, 1024)).astype(np.float16),
    }
    named = {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}
    save_file(named, folder / "latents.safetensors")
    return Clip(
        clip_id="film",
        unit="film",
        video=folder / "video.mp4",
        poses=folder / "table.parquet",
        latents=None,
        frames=tuple(range(60, 60 + (NUM_SLOTS - 1) * STEP, STEP)),
        references=(5,),
        video_frames=NUM_FRAMES,
        num_windows=1,
        reference_distance=1,
        fit=framing(SOURCE, [TARGET]),
        fps=30.0,
    )


def shares(clip: Clip, style: DrawingStyle, repeats: int) -> dict[str, float]:
    """Seconds of each part of one sample."""
    slots, fit = [5, *clip.frames], framing(SOURCE, [TARGET])
    spent = dict.fromkeys(("decode", "transform", "poses", "drawing"), 0.0)
    for _ in range(repeats):
        marks = [time.process_time()]
        frames = open_video(clip.video).read(slots)
        marks.append(time.process_time())
        fit.frames(frames)
        marks.append(time.process_time())
        track = framed_track(read_track(clip.poses, NUM_FRAMES, 0, *SOURCE).select(slots), fit)
        marks.append(time.process_time())
        for points, scores in zip(track.keypoints, track.confidences, strict=True):
            draw_pose(points[None], scores[None], (TARGET[1], TARGET[0]), style)
        marks.append(time.process_time())
        for name, seconds in zip(spent, np.diff(marks), strict=True):
            spent[name] += float(seconds) / repeats
    return spent


def main() -> None:
    """Print clips per second of one core, and the share of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=5)
    samples = parser.parse_args().samples
    cv2.setNumThreads(1)
    recipe = SampleSettings()
    with tempfile.TemporaryDirectory() as name:
        clip = make_clip(Path(name))
        latents = Path(name) / "latents.safetensors"
        for label, some in (("pictures", clip), ("latents", Clip(**{**vars(clip), "latents": latents}))):
            # The first one pays for imports and tables.
            make_sample(some, draw(some, SampleIndex(0, 0, 0), recipe), recipe)
            start = time.process_time()
            for slot in range(samples):
                make_sample(some, draw(some, SampleIndex(0, 0, slot), recipe), recipe)
            each_s = (time.process_time() - start) / samples
            print(f"from {label}: {1 / each_s:.2f} clips/s of one core, {1000 * each_s:.1f} ms a clip")
        spent = shares(clip, recipe.drawing, samples)
        total = sum(spent.values())
        print(f"parts of a clip from pictures, measured one by one: {1000 * total:.1f} ms")
        for part, seconds in spent.items():
            print(f"  {part:<10} {1000 * seconds:7.1f} ms  {seconds / total:5.1%}")


if __name__ == "__main__":
    main()

"""Whether the trainer can learn at all: a network without any training, on four clips of rendered dancers.

python benchmarks/overfit.py --steps 450 --picture docs/images/overfit.png   # minutes of one core

The loss is that of fixed noise on these very clips (mean over five noise levels, hand weights included), with
averaged weights; the pictures are sampled from noise, with references and poses of the same clips.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet
from mimicmotion.pose.people import Person
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.synthetic.world import FPS, HEIGHT, WIDTH, film, simulated_confidence
from mimicmotion.training.data.samples import Clip
from mimicmotion.training.distributed.group import World
from mimicmotion.training.job import TrainingJob, write_clips
from mimicmotion.training.loop import Training
from mimicmotion.training.settings import TrainingRuntime, TrainingSettings
from mimicmotion.video.files import write_preview
from mimicmotion.video.framing import framing
from mimicmotion.video.picture_files import write_picture

WEIGHTS = Path(__file__).parents[1] / "mimicmotion" / "synthetic" / "weights" / "base"
NUM_CLIPS, NUM_FRAMES, FIRST_SEED = 4, 18, 850_000


class Printed:
    """A report that prints numbers and keeps the newest picture."""

    def __init__(self) -> None:
        self.started_s = time.monotonic()
        self.losses: dict[int, float] = {}
        self.picture: np.ndarray | None = None

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Print the losses."""
        if "loss/validation" in values:
            self.losses[step] = values["loss/validation"]
        shown = {name: round(value, 4) for name, value in values.items() if name.startswith("loss/")}
        print(f"{time.monotonic() - self.started_s:6.0f} s  step {step:4d}  {json.dumps(shown)}", flush=True)

    def image(self, name: str, image: np.ndarray, step: int | None = None) -> None:
        """Keep sample pictures."""
        if name == "generated/samples":
            self.picture = image

    def file(self, path: Path, folder: str = "") -> None:
        """Videos are not kept."""

    def watched(self, machine: str = "") -> nullcontext[None]:
        """Nobody watches the machine."""
        return nullcontext()


def make_clip(folder: Path, seed: int) -> Clip:
    """A rendered dancer with true keypoints; slot 0 is frame 0, then every second frame."""
    made = film(seed, NUM_FRAMES, occluded=0.0)
    confidences = simulated_confidence(np.random.default_rng(seed), made.visibility, made.blur_px)
    write_preview(folder / f"{seed}.mp4", iter(made.frames), FPS)
    people = []
    for points, scores in zip(made.keypoints, confidences, strict=True):
        box = np.concatenate([points.min(0), points.max(0)]).astype(np.float32)
        people.append([(0, Person(box, 1.0, points, scores))])
    info = PosesInfo(
        video_id=str(seed), width_px=WIDTH, height_px=HEIGHT, fps=FPS, num_frames=NUM_FRAMES, models={}
    )
    pq.write_table(poses_table(info, people), folder / f"{seed}.parquet")
    return Clip(
        clip_id=str(seed),
        unit=str(seed),
        video=folder / f"{seed}.mp4",
        poses=folder / f"{seed}.parquet",
        latents=None,
        frames=tuple(range(3, NUM_FRAMES, 2))[:7],
        references=(0,),
        video_frames=NUM_FRAMES,
        num_windows=1,
        reference_distance=1,
        fit=framing((WIDTH, HEIGHT), [(WIDTH, HEIGHT)]),
        fps=FPS,
    )


def untrained(folder: Path) -> Path:
    """The small world's frozen networks, with a UNet and a PoseNet that know nothing."""
    for part in ("vae", "image_encoder", "feature_extractor"):
        (folder / part).symlink_to(WEIGHTS / part)
    torch.manual_seed(0)
    unet = PoseUNet.from_config(PoseUNet.load_config(WEIGHTS / "unet"))
    unet.save_pretrained(folder / "unet")
    PoseNet(out_channels=unet.config.block_out_channels[0]).save_pretrained(folder / "pose_net")
    return folder


def make_job(folder: Path, options: argparse.Namespace) -> TrainingJob:
    """The paper's recipe at the small world's size, on four clips that are also those of the test."""
    clips = [make_clip(folder, FIRST_SEED + number) for number in range(NUM_CLIPS)]
    write_clips(folder / "clips.jsonl", clips)
    (folder / "base").mkdir()
    settings = TrainingSettings(
        base=untrained(folder / "base"),
        drawing=DrawingStyle(canvas_short_side_px=480),
        hand_threshold=0.6,
        fps=FPS,
        steps=options.steps,
        batch=NUM_CLIPS,
        learning_rate=options.learning_rate,
        warmup_steps=20,
        ema_decay=0.98,
        validation_clips=NUM_CLIPS,
    )
    runtime = TrainingRuntime(
        sample_every=100,
        sample_steps=15,
        sample_guidance_scale=1.0,
        checkpoint_every=10**6,
        keep=1,
        loader_threads=1,
        log_every=25,
    )
    return TrainingJob(
        settings=settings,
        runtime=runtime,
        steps=options.steps,
        clips=folder / "clips.jsonl",
        test_clips=folder / "clips.jsonl",
        state=folder / "state",
    )


def main() -> None:
    """Train, then print how far the loss fell and how near the samples are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--picture", type=Path, help="where the samples go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report = Printed()
        job = make_job(Path(name), options)
        training = Training(job, report, World(0, 1, torch.device("cpu")))
        training.run()
        with training.built.average.applied(training.built.network):
            generated = training.validation.generate(training.built.network)
        true = [sample.frames[1:] for sample in training.validation.samples if sample.frames is not None]
        still = [np.broadcast_to(s.frames[0], s.frames[1:].shape) for s in training.validation.samples]
    first, last = report.losses[0], report.losses[options.steps]
    print(f"loss on fixed noise: {first:.4f} before, {last:.4f} after: {first / last:.1f} times lower")
    print(f"samples {_psnr(generated, true):.2f} dB, first frame kept {_psnr(still, true):.2f} dB")
    if options.picture is not None and report.picture is not None:
        write_picture(options.picture, report.picture)


def _psnr(ours: list[np.ndarray], true: list[np.ndarray]) -> float:
    errors = [((a.astype(np.float64) - b) ** 2).mean((1, 2, 3)) for a, b in zip(ours, true, strict=True)]
    return float(np.mean([10 * np.log10(255**2 / error).mean() for error in errors]))


if __name__ == "__main__":
    main()

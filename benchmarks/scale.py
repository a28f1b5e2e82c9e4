"""Builds the decode stage over as many videos as the paper has, and over a tenth, with the real machinery.

``python benchmarks/scale.py --videos 4436 --folder /tmp/scale``
``python benchmarks/scale.py --machinery`` copies a decoded video for each instead, which takes minutes
``python benchmarks/scale.py --published --videos 100000`` has this process put them in place, without workers

The videos are tiny, all else is as ever: a child process for each, Ray, the store, MLflow in SQLite. Every
figure is that of the command a person types: seconds by the clock and of CPU, and the peak memory, of its own
process alone. The row of one video is what start-up costs; ``rebuild`` finds nothing to do;
``one more`` is the stage with one video more.
"""

import argparse
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from mimicmotion.video.files import write_preview
from stages.clip_rows import VIDEO_FILE
from stages.decode import Decode
from stages.engine.config import load_config
from stages.engine.contract import Item
from stages.engine.plan import StageGraph
from stages.engine.status import status
from stages.engine.storage.workspace import staged

PROJECT = "import sys; from flows.cli import main; "
MACHINERY = PROJECT + "import scale, stages.engine.config as c; c.STAGES = {'decode': 'scale:Copied'}; "
ROOT = Path(__file__).resolve().parents[1]
NUM_ORIGINALS, NUM_FRAMES, FPS = 8, 8, 24
WORKERS = 2
POLL_S = 0.02


@dataclass(frozen=True)
class Measured:
    """What one command took: seconds by the clock and of CPU, and the peak memory of its own process."""

    seconds: float
    cpu_s: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} ({self.cpu_s:.1f}), {self.peak_mb:.0f}"


class Copied(Decode):
    """Decode in all but the decoding, done once in a worker."""

    def load(self) -> dict[str, Any]:
        """Where the worker keeps the one decoded video."""
        return {}

    def process(self, loaded: dict[str, Any], item: Item, folder: Path) -> pa.Table:
        """The rows and the file of the worker's first video, under another id."""
        if not loaded:
            loaded["table"] = super().process(None, item, folder)
            loaded["video"] = (folder / VIDEO_FILE).read_bytes()
        (folder / VIDEO_FILE).write_bytes(loaded["video"])
        table = loaded["table"]
        return table.set_column(0, table.schema.field(0), pa.array([item.id]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=4436)
    parser.add_argument("--folder", type=Path, default=Path("workspace/benchmark-scale"))
    parser.add_argument("--machinery", action="store_true", help="copy a decoded video instead of decoding")
    parser.add_argument("--published", action="store_true", help="copy it here, without workers")
    arguments = parser.parse_args()
    program = (MACHINERY if arguments.machinery or arguments.published else PROJECT) + "main()"
    folder = arguments.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    originals = tiny_videos(folder)
    print("Seconds (of CPU), peak MB:\n")
    print("| videos | build | rebuild | status | one more |\n|---|---|---|---|---|")
    for count in (1, arguments.videos // 10, arguments.videos):
        config = config_over(folder / str(count), originals, count)
        if arguments.published:
            publish(config)
        build = run(program, ["stage", "decode", str(config)])
        again, asked = (
            run(PROJECT + "main()", ["rebuild", str(config)]),
            run(program, ["status", str(config)]),
        )
        check(config, count)
        add_video(config.with_name("source"), originals, count)
        more = run(program, ["stage", "decode", str(config)])
        check(config, count + 1)
        print("|", " | ".join(map(str, (count, build, again, asked, more))), "|", flush=True)


def tiny_videos(folder: Path) -> list[bytes]:
    """A few videos of different content, as files."""
    folder.mkdir(parents=True)
    rng, videos = np.random.default_rng(0), list[bytes]()
    for number in range(NUM_ORIGINALS):
        scene = rng.integers(0, 255, (12, 8 + number, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        path = folder / f"original-{number}.mp4"
        write_preview(path, (np.roll(scene, shift, axis=1) for shift in range(NUM_FRAMES)), FPS)
        videos.append(path.read_bytes())
    return videos


def config_over(folder: Path, originals: Sequence[bytes], count: int) -> Path:
    """A config whose source holds this many videos, no two of them alike."""
    source = folder / "source"
    source.mkdir(parents=True)
    for number in range(count):
        add_video(source, originals, number)
    config = folder / "scale.yaml"
    decode = {"source": str(source), "runtime": {"workers": WORKERS}}
    config.write_text(yaml.safe_dump({"workspace": str(folder / "space"), "decode": decode}))
    return config


def add_video(source: Path, originals: Sequence[bytes], number: int) -> None:
    """Add a video to a source that is like no other."""
    # A box that every reader skips makes the content another one.
    box = struct.pack(">I4sQ", 16, b"free", number)
    (source / f"{number:06d}.mp4").write_bytes(originals[number % len(originals)] + box)


def publish(config_file: Path) -> None:
    """Put what workers would make of every video into the workspace."""
    config = load_config(config_file)
    plan = StageGraph(config).plan("decode")
    stage = Copied.model_validate(dict(config.stages["decode"]))
    loaded = stage.load()
    for item, key in plan.work:
        with staged(plan.store.workspace, plan.store.top) as folder:
            plan.store.keep(folder, item, key, stage.process(loaded, item, folder))


def run(program: str, arguments: list[str]) -> Measured:
    """Run a command of the project to its end.

    Raises:
        SystemExit: it failed.
    """
    start_s, peak_mb = time.perf_counter(), 0.0
    paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])  # workers import this file by its name
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths},
    ) as command:
        ended = usage = None
        while not ended:
            peak_mb = max(peak_mb, high_water_mb(command.pid))
            time.sleep(POLL_S)
            ended, code, usage = os.wait4(command.pid, os.WNOHANG)
        seconds, command.returncode = time.perf_counter() - start_s, os.waitstatus_to_exitcode(code)
    if command.returncode != 0:
        raise SystemExit(f"mimicmotion {' '.join(arguments)} ended with {command.returncode}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, peak_mb)


def high_water_mb(pid: int) -> float:
    """The most memory a process ever had, or 0 where it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def check(config: Path, count: int) -> None:
    """Refuse to go on where the dataset is not what was to be built."""
    (line,) = status(load_config(config))
    if (line.state, line.kept) != ("fresh", count):
        raise SystemExit(f"decode is {line.state} with {line.kept} of {count} videos kept: {line.why}")


if __name__ == "__main__":
    main()

"""What becomes of every video of a folder, and how fast against a bare transcode, as a Markdown table.

    python benchmarks/decode.py FOLDER [--short-side-px 576] [--turns 3]

The bare side decodes with PyAV in one thread, scales where the stage scales, and encodes with the same
settings; it looks for nothing and converts no colours. Both sides take turns, and the best turn of each
counts. ``stage`` is what runs in the child process, ``with child`` adds the child's start; what the child is
forked from starts once, before.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import psutil
from av.video.reformatter import Interpolation, VideoReformatter

from mimicmotion.errors import RejectedItem
from mimicmotion.video.isolated import normalise_isolated
from mimicmotion.video.listing import list_videos
from mimicmotion.video.normalise import VideoFacts, normalise_video
from mimicmotion.video.settings import NormaliseSettings
from mimicmotion.video.writer import VideoWriter

TIMEOUT_S = 600
LEAST_S = 0.3
"""Work is repeated for as long: time of a process that still runs comes in hundredths of a second."""
SCALING = int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT)


def bare_transcode(source: Path, target: Path, facts: VideoFacts, settings: NormaliseSettings) -> int:
    """Number of frames of a source, each encoded once in the size that the stage gave it."""
    reformatter, rate = VideoReformatter(), Fraction(facts.fps).limit_denominator(1001)
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        with VideoWriter(target, rate, settings.crf, settings.key_frame_interval) as writer:
            for frame in container.decode(stream):
                scaled = reformatter.reformat(
                    frame,
                    width=facts.width_px,
                    height=facts.height_px,
                    format="yuv420p",
                    interpolation=SCALING,
                    threads=1,
                )
                writer.write(scaled, 1)
    return writer.num_frames


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of some work, in this process, in those that it keeps and in the children of both."""
    before_s, runs = _spent_s(), 0
    while (spent_s := _spent_s() - before_s) < LEAST_S:
        work()
        runs += 1
    return spent_s / runs


def _spent_s() -> float:
    kept = psutil.Process().children(recursive=True)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    here_s = time.process_time() + ended.ru_utime + ended.ru_stime
    return here_s + sum(sum(process.cpu_times()[:4]) for process in kept)


def rates(source: Path, facts: VideoFacts, settings: NormaliseSettings, turns: int) -> list[float]:
    """Frames per CPU second of the stage, of the stage with its child, and of the bare transcode."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "video.mp4"
        num_bare = bare_transcode(source, target, facts, settings)
        sides: list[tuple[int, Callable[[], object]]] = [
            (facts.num_frames, lambda: normalise_video(source, target, settings)),
            (facts.num_frames, lambda: normalise_isolated(source, target, settings, TIMEOUT_S)),
            (num_bare, lambda: bare_transcode(source, target, facts, settings)),
        ]
        spent = [[cpu_s(work) for _, work in sides] for _ in range(turns)]
    return [count / min(column) for (count, _), column in zip(sides, zip(*spent, strict=True), strict=True)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--short-side-px", type=int, default=576)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    settings = NormaliseSettings(short_side_px=arguments.short_side_px)
    print(f"{os.cpu_count()} cores; frames per CPU second")
    print("| video | outcome | source | result | frames | stage | with child | bare | ratio | with child |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for video in list_videos(arguments.folder).videos:
        source = Path(video.location)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                facts = normalise_isolated(source, Path(scratch) / "video.mp4", settings, TIMEOUT_S)
            except RejectedItem as reject:
                print("|", video.name, "|", f"{reject.code}: {reject.sentence}", "|" * 8)
                continue
        stage, child, bare = rates(source, facts, settings, arguments.turns)
        cells = [
            video.name,
            f"kept, cuts {', '.join(map(str, facts.scene_cuts)) or 'none'}",
            f"{facts.codec} {facts.source_width_px} x {facts.source_height_px} turned {facts.rotation_deg}",
            f"{facts.width_px} x {facts.height_px} at {facts.fps:.2f}",
            f"{facts.num_frames}",
            *(f"{rate:.1f}" for rate in (stage, child, bare)),
            f"{stage / bare:.2f}",
            f"{child / bare:.2f}",
        ]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()

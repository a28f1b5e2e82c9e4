"""Peak memory and time of ``mimicmotion evaluate`` over one film of any length and size.

``python benchmarks/scores_memory.py --frames 3000 --width-px 1920 --height-px 1080``

A dancer of the built-in toy world, whose poses are found in every frame of both sides. A piece of 30 frames
is encoded once and repeated. Every half a minute the peak so far is printed.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
from scale import high_water_mb

from mimicmotion.synthetic.faults import WEIGHTS
from mimicmotion.synthetic.world import film
from mimicmotion.video.files import write_preview

_PIECE = 30


def main() -> None:
    """Make both sides, score them in a process of its own, and print what that takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("--frames", 3000), ("--width-px", 1920), ("--height-px", 1080)):
        parser.add_argument(name, type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        frames = film(1, _PIECE, width=given.width_px, height=given.height_px, truth=False).frames
        for side, shift in (("true", 0), ("made", 4)):
            Path(top, side).mkdir()
            write_preview(Path(top, "piece.mp4"), frames // 8 * 7 + shift, 30)
            repeat(Path(top, "piece.mp4"), Path(top, side, "dance.mp4"), given.frames // _PIECE)
        command = [sys.executable, "-m", "flows.cli", "evaluate", "--protocol", "native", "--window", "8"]
        command += ["--generated", f"{top}/made", "--truth", f"{top}/true"]
        for name in ("detector.onnx", "wholebody.onnx", "fvd_small.safetensors"):
            command += [f"--{Path(name).stem.replace('_', '-')}", str(WEIGHTS / name)]
        start_s = time.monotonic()
        with subprocess.Popen(command) as process:
            watcher = threading.Thread(target=watch, args=(process, start_s))
            watcher.start()
        watcher.join()
    seconds = time.monotonic() - start_s
    print(f"{given.frames} frames: {seconds:.0f} s, {seconds / given.frames:.3f} s a frame")
    raise SystemExit(process.returncode)


def repeat(piece: Path, out: Path, times: int) -> None:
    """A film of the same packets again and again."""
    with av.open(str(out), "w") as container, av.open(str(piece)) as first:
        stream = container.add_stream_from_template(first.streams.video[0])
        length = sum(packet.duration or 0 for packet in first.demux(video=0))
        for number in range(times):
            with av.open(str(piece)) as source:
                for packet in (packet for packet in source.demux(video=0) if packet.size):
                    packet.pts = (packet.pts or 0) + number * length
                    packet.dts = (packet.dts or 0) + number * length
                    packet.stream = stream
                    container.mux(packet)


def watch(process: subprocess.Popen[bytes], start_s: float) -> None:
    """Print the peak so far, every half a minute, until the process ends."""
    peak_mb, shown_s = 0.0, 0.0
    while process.poll() is None:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            peak_mb = max(peak_mb, high_water_mb(process.pid))
        if time.monotonic() - shown_s > 30:
            shown_s = time.monotonic()
            print(f"{shown_s - start_s:.0f} s: peak {peak_mb:.0f} MB", flush=True)
        time.sleep(0.5)
    print(f"peak {peak_mb:.0f} MB", flush=True)


if __name__ == "__main__":
    main()

"""Damage films at random and decode them: each must be kept or rejected, and none may stop the stage.

    python benchmarks/fuzz.py --variants 1000

Ten small films of ten containers and codecs are made; a variant has bytes flipped, cut out, inserted or its
end cut off, mostly where headers, tags and indexes lie. Each is decoded in a process of its own, as the
decode stage does. Prints one line of JSON.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from mimicmotion.errors import RejectedItem
from mimicmotion.video.normalise import normalise_video
from mimicmotion.video.settings import NormaliseSettings

FILMS = {
    "a.mp4": ("libx264", "yuv420p"),
    "b.mkv": ("libx264", "yuv420p"),
    "c.webm": ("libvpx-vp9", "yuva420p"),
    "d.mov": ("qtrle", "argb"),
    "e.avi": ("mpeg4", "yuv420p"),
    "f.mpg": ("mpeg2video", "yuv420p"),
    "g.ts": ("libx264", "yuv420p"),
    "h.flv": ("flv", "yuv420p"),
    "i.wmv": ("wmv2", "yuv420p"),
    "j.m4v": ("mpeg4", "yuv420p"),
}
"""Name of a film -> its codec and pixel format."""
SETTINGS = NormaliseSettings(min_short_side_px=16, short_side_px=64)
LIMIT_S = 60
EDGE_BYTES = 1024
"""Where headers and tags lie: at the beginning and the end of a file."""
INTERLACED = {"flags": "+ildct+ilme"}


def make_films(folder: Path) -> list[Path]:
    """The ten films, of twelve frames, with a title."""
    level = np.random.default_rng(0).integers(0, 255, (48, 64, 4), dtype=np.uint8)
    for name, (codec, pixel_format) in FILMS.items():
        with av.open(str(folder / name), "w") as container:
            container.metadata["title"] = "A dance on a Sunday"
            options = INTERLACED if codec == "mpeg2video" else {}
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
            stream.codec_context.thread_count = 1
            for k in range(12):
                picture = np.roll(level, 2 * k, axis=1)
                frame = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format=pixel_format)
                frame.pts = k
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return [folder / name for name in FILMS]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The bytes with one to three damages."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        edge = min(EDGE_BYTES, len(data))
        spot = chance.choice((chance.randrange(edge), len(data) - 1 - chance.randrange(edge)))
        spot = chance.choice((spot, spot, spot, chance.randrange(len(data))))
        length = chance.choice((1, 1, 2, 4, 16, 200))
        match chance.choice(("flip", "flip", "set", "cut", "insert", "end")):
            case "flip":
                data[spot] ^= 1 << chance.randrange(8)
            case "set":
                data[spot : spot + length] = chance.randbytes(min(length, len(data) - spot))
            case "cut":
                del data[spot : spot + length]
            case "insert":
                data[spot:spot] = chance.randbytes(length)
            case "end":
                del data[max(64, spot) :]
    return bytes(data)


def outcome(source: Path, target: Path) -> str:
    """``kept``, ``rejected: CODE`` or ``STOPPED: what was raised``, found in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        try:
            normalise_video(source, target, SETTINGS)
            said = "kept"
        except RejectedItem as reject:
            said = f"rejected: {reject.code}"
        except BaseException as error:
            said = f"STOPPED: {type(error).__name__}: {error}"
        os.write(write, said.encode()[:2000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return said
    killed = signal.Signals(os.WTERMSIG(status))
    if killed == signal.SIGALRM:
        return "rejected: timeout"
    return f"STOPPED: {killed.name}" if killed == signal.SIGKILL else "rejected: decoder_crashed"


def variants(folder: Path, count: int, seed: int) -> Iterator[tuple[Path, str]]:
    """Each damaged file with its outcome; the file is there until the next one is asked for."""
    films = make_films(folder)
    for number in range(count):
        film = films[number % len(films)]
        source = folder / f"damaged{film.suffix}"
        source.write_bytes(damaged(film.read_bytes(), random.Random(seed * 1_000_003 + number)))
        yield source, outcome(source, folder / "target.mp4")


def main() -> int:
    """Exit status 1 where a variant stopped the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts, stopped = Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as name:
        for source, said in variants(Path(name), arguments.variants, arguments.seed):
            counts[said.partition(": ")[0] if said.startswith("STOPPED") else said] += 1
            if said.startswith("STOPPED"):
                stopped.append(f"{source.name}: {said}")
    print(json.dumps({"outcomes": dict(counts.most_common()), "stopped": stopped}))
    return 1 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())

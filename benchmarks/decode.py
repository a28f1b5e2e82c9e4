"""What becomes of every video of a folder, and how long it takes, as a Markdown table.

    python benchmarks/decode.py FOLDER [SHORT_SIDE_PX]

Each video is normalised as the decode stage does it, in a child process with a time limit.
"""

import sys
import tempfile
import time
from pathlib import Path

from mimicmotion.errors import RejectedItem
from mimicmotion.video.isolated import normalise_isolated
from mimicmotion.video.listing import list_videos
from mimicmotion.video.settings import NormaliseSettings

TIMEOUT_S = 600


def main(folder: str, short_side_px: str = "576") -> None:
    """Print the table."""
    settings = NormaliseSettings(short_side_px=int(short_side_px))
    print("| video | outcome | codec | source | result | frames at fps | rotation | cuts | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for video in list_videos(folder).videos:
            start_s = time.perf_counter()
            try:
                facts = normalise_isolated(
                    Path(video.location), Path(scratch) / "video.mp4", settings, TIMEOUT_S
                )
            except RejectedItem as reject:
                cells = [f"{reject.code}: {reject.sentence}", *[""] * 6]
            else:
                cells = [
                    "kept",
                    facts.codec,
                    f"{facts.source_width_px} x {facts.source_height_px}",
                    f"{facts.width_px} x {facts.height_px}",
                    f"{facts.num_frames} at {facts.fps:.2f}",
                    str(facts.rotation_deg),
                    ", ".join(map(str, facts.scene_cuts)),
                ]
            print("|", " | ".join([video.name, *cells, f"{time.perf_counter() - start_s:.1f}"]), "|")


if __name__ == "__main__":
    main(*sys.argv[1:])

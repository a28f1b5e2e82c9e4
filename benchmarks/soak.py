"""Many small rebuilds in one process: nothing may grow.

``python benchmarks/soak.py`` runs 200 cycles or an hour, whichever ends first; ``--cycles 10`` for a
short look.

Each cycle adds a text, changes a field and brings three small stages up to date, over Ray and MLflow in
SQLite; every tenth one starts a training group besides. Memory, open files, processes and temporary files
are measured after each cycle; exit code 1 when the highest of the last quarter stands above the highest of
the second one by more than noise. The highest, as Ray keeps the log files of workers that have ended open
until it has 200, and then closes them all.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
FAKES = ROOT / "tests" / "fakes"
_TRAINS_EVERY = 10
_ALLOWED = {"memory_mb": 1.15, "open_files": 1.1, "processes": 1.1, "temporary_files": 1.1}
"""By which factor each may grow from the second quarter to the last."""


def measure(temporary: Path) -> dict[str, float]:
    """What this process and all that it started hold now."""
    me = psutil.Process()
    alive = [me, *me.children(recursive=True)]
    memory, files = 0.0, 0
    for process in alive:
        try:
            memory += process.memory_info().rss / 1e6
            files += process.num_fds()
        except psutil.Error:
            continue
    left = sum(1 for path in temporary.rglob("*") if path.is_file() and "session_" not in str(path))
    return {"memory_mb": memory, "open_files": files, "processes": len(alive), "temporary_files": left}


def cycle(number: int, folder: Path) -> None:
    """One more text and another field: everything downstream is made again."""
    from fake_stages import Letters, Shouts, Total, make_config, write_texts

    from stages.runner import run_stage

    source = write_texts(folder / "source", **{f"t{number}": f"text {number}"})
    config = make_config(
        folder / "space",
        Letters(source=source),
        Shouts(),
        Total(offset=number, trains=number % _TRAINS_EVERY == 0),
    )
    for name in config.stages:
        assert run_stage(config, name).state == "published"


def main() -> None:
    """Run the cycles, print what was held, and fail on growth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--hours", type=float, default=1.0)
    options = parser.parse_args()
    temporary = Path(tempfile.mkdtemp(prefix="soak-"))
    tempfile.tempdir = str(temporary)
    sys.path[:0] = [str(ROOT), str(FAKES)]
    os.environ |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{FAKES}", "OMP_NUM_THREADS": "1"}
    work = temporary / "work"
    work.mkdir()
    held, start_s = [], time.monotonic()
    for number in range(options.cycles):
        cycle(number, work)
        held.append(measure(temporary))
        # The workspace itself grows by design; only what lies beside it counts.
        held[-1]["temporary_files"] -= sum(1 for path in work.rglob("*") if path.is_file())
        if number % 10 == 0:
            shown = {name: round(value) for name, value in held[-1].items()}
            print(json.dumps({"cycle": number, "s": round(time.monotonic() - start_s), **shown}), flush=True)
        if time.monotonic() - start_s > options.hours * 3600:
            break
    quarter = max(1, len(held) // 4)
    grown = {}
    for name, allowed in _ALLOWED.items():
        second = max(one[name] for one in held[quarter : 2 * quarter] or held[:1])
        last = max(one[name] for one in held[-quarter:])
        if last > second * allowed + 2:
            grown[name] = [second, last]
    print(json.dumps({"cycles": len(held), "grown": grown}))
    shutil.rmtree(temporary, ignore_errors=True)
    if grown:
        sys.exit(1)


if __name__ == "__main__":
    main()

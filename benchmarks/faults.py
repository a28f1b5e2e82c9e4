"""What is lost when things break: nothing. Breaks them for real, small, and prints a table in Markdown.

``python benchmarks/faults.py`` takes about ten minutes on two free cores; ``--only worker`` and
``--stages decode`` choose. Each case runs a stage as a process of its own, breaks something in the
middle, runs the same command again, and compares every published file with an undisturbed run, byte for
byte. Items that were finished before the fault must not be worked on again. The stages are the small
ones of ``tests/fakes``, so that each fault hits the machinery and not a decoder; the machinery is the
real one, Ray and MLflow included.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
FAKES = ROOT / "tests" / "fakes"
SLOW = "slow"
_PATIENCE_S = 300.0
_RUN = """
import sys
import fake_pipeline, stages.config
stages.config.STAGES = fake_pipeline.STAGES
from stages.config import load_config
from stages.runner import run_stage
result = run_stage(load_config(sys.argv[1]), sys.argv[2])
print(result.state, result.processed)
"""
CONFIG = """
workspace: space
ray: {num_cpus: 2}
decode: {source: source, runtime: {workers: 2}}
pose: {pause_s: 0.5}
clips: {trains: true, pause_s: 2}
"""
STAGES = ("decode", "pose", "clips")


@dataclass
class Case:
    """A project with a config of fake stages in a folder of its own."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "source").mkdir(parents=True)
        for index in range(6):
            (self.folder / "source" / f"t{index}.txt").write_text(f"{SLOW} text {index}")
        (self.folder / "fake.yaml").write_text(CONFIG)

    def start(self, stage: str, *before: str) -> subprocess.Popen:
        """A stage in a process of its own."""
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{FAKES}", "OMP_NUM_THREADS": "1"}
        with (self.folder / "log").open("ab") as log:
            command = [*before, sys.executable, "-c", _RUN, str(self.folder / "fake.yaml"), stage]
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)

    def run(self, stage: str) -> int:
        """Run a stage to its end; gives the exit code."""
        return self.start(stage).wait(_PATIENCE_S)

    def items(self, stage: str) -> list[Path]:
        """Records of items that are published."""
        return sorted((self.folder / "space" / stage).glob("*/items/*/item.json"))

    def times(self, stage: str) -> dict[str, float]:
        """When each published item was written."""
        return {path.parent.name: path.stat().st_mtime for path in self.items(stage)}

    def files(self) -> dict[str, str]:
        """sha256 of every file of every published item."""
        space = self.folder / "space"
        found = (path for path in space.glob("*/*/items/*/**/*") if path.is_file())
        return {str(path.relative_to(space)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def until_busy(self, stage: str, process: subprocess.Popen) -> None:
        """Wait until a stage is in the middle: something is published, or a training group works."""
        training = self.folder / "space" / "clips"
        _wait(
            lambda: (
                process.poll() is not None
                or (self.items(stage) if stage != "clips" else list(training.glob("*/state/*/worker-0")))
            )
        )


def _wait(there: Callable[[], object]) -> None:
    end_s = time.monotonic() + _PATIENCE_S
    while not there():
        if time.monotonic() > end_s:
            raise TimeoutError("what was waited for never came")
        time.sleep(0.05)


def _children(process: subprocess.Popen, *words: str) -> list[psutil.Process]:
    """Descendants whose name or command has one of these words."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            text = f"{child.name()} {' '.join(child.cmdline())}"
        except psutil.Error:
            continue
        if any(word in text for word in words):
            found.append(child)
    return found


def kill_worker(case: Case, process: subprocess.Popen, stage: str) -> None:
    """kill -9 of one worker of Ray that works."""
    found: list[psutil.Process] = []
    _wait(lambda: found.extend(_children(process, "ray::Worker", "ray::RayTrainWorker")) or found)
    found[0].kill()


def kill_head(case: Case, process: subprocess.Popen, stage: str) -> None:
    """kill -9 of Ray's head: its directory and its node."""
    for child in _children(process, "gcs_server", "raylet/raylet"):
        child.kill()


def kill_flow(case: Case, process: subprocess.Popen, stage: str) -> None:
    """kill -9 of the process that runs the stage."""
    process.kill()


def end_flow(case: Case, process: subprocess.Popen, stage: str) -> None:
    """SIGTERM of the process that runs the stage, as Prefect sends it."""
    process.send_signal(signal.SIGTERM)


FAULTS: dict[str, Callable[[Case, subprocess.Popen, str], None]] = {
    "worker": kill_worker,
    "head": kill_head,
    "flow": kill_flow,
    "cancel": end_flow,
}


def broken(fault: str, stage: str, expected: dict[str, str], folder: Path) -> list[str]:
    """Break one stage in the middle, run it again; gives a row of the table."""
    case = Case(folder)
    for earlier in STAGES[: STAGES.index(stage)]:
        assert case.run(earlier) == 0, (folder / "log").read_text()
    process = case.start(stage)
    case.until_busy(stage, process)
    done = case.times(stage)
    FAULTS[fault](case, process, stage)
    code = process.wait(_PATIENCE_S)
    done = done if code == 0 else {**case.times(stage), **done}
    start_s = time.monotonic()
    again = case.run(stage)
    seconds = time.monotonic() - start_s
    now = case.times(stage)
    twice = [name for name, written in done.items() if now.get(name) != written]
    done_so_far = STAGES[: STAGES.index(stage) + 1]
    wanted = {name: digest for name, digest in expected.items() if name.split("/")[0] in done_so_far}
    found = case.files()
    differing = {name for name in {*wanted, *found} if wanted.get(name) != found.get(name)}
    what = "went on by itself" if code == 0 else f"stopped with {code}"
    lost = "nothing" if not (again or differing) else f"{len(differing)} files differ, exit code {again}"
    name = (FAULTS[fault].__doc__ or "").partition(".")[0]
    return [name, stage, what, f"{len(done)} kept", str(len(twice)), lost, f"{seconds:.0f}"]


def clock_changed(expected: dict[str, str], folder: Path) -> list[str]:
    """File times move by a day between two runs, forwards for half of the items, backwards for the rest."""
    case = Case(folder)
    assert case.run("decode") == 0
    for index, record in enumerate(case.items("decode")):
        shift_s = 86_400 * (1 if index % 2 else -1)
        os.utime(record, (time.time() + shift_s,) * 2)
    before = case.times("decode")
    start_s = time.monotonic()
    again = max(case.run(stage) for stage in STAGES)
    seconds = time.monotonic() - start_s
    twice = [name for name, written in before.items() if case.times("decode")[name] != written]
    lost = "nothing" if case.files() == expected and not again else "files differ"
    kept = f"{len(before)} kept"
    return ["file times moved by a day", "decode", "-", kept, str(len(twice)), lost, f"{seconds:.0f}"]


def disk_full(expected: dict[str, str], folder: Path) -> list[str]:
    """The workspace's disk fills up in the middle of decode, then gets room."""
    case = Case(folder)
    space = folder / "space"
    space.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(space)], check=True)
    try:
        process = case.start("decode")
        case.until_busy("decode", process)
        filler = space / "filler"
        try:
            with filler.open("wb") as file:
                while True:
                    file.write(b"0" * 4096)
                    file.flush()
        except OSError:
            pass
        code = process.wait(_PATIENCE_S)
        done = case.times("decode")
        filler.unlink()
        start_s = time.monotonic()
        again = max(case.run(stage) for stage in STAGES)
        seconds = time.monotonic() - start_s
        now = case.times("decode")
        twice = [name for name, written in done.items() if now.get(name) != written]
        lost = "nothing" if case.files() == expected and not again else "files differ"
        message = "disk of workspace" in (folder / "log").read_text()
        what = f"stopped with {code}, {'says so' if message else 'without a word'}"
        return ["disk full", "decode", what, f"{len(done)} kept", str(len(twice)), lost, f"{seconds:.0f}"]
    finally:
        subprocess.run(["umount", str(space)], check=True)


def main() -> None:
    """Print the table; exit code 1 when anything was lost or done twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[*FAULTS, "clock", "disk"])
    parser.add_argument("--stages", nargs="*", default=list(STAGES))
    options = parser.parse_args()
    top = Path(tempfile.mkdtemp(prefix="faults-"))
    undisturbed = Case(top / "undisturbed")
    for stage in STAGES:
        if undisturbed.run(stage):
            sys.exit((undisturbed.folder / "log").read_text())
    expected = undisturbed.files()
    print(
        "| fault | in | the run | before | done twice | lost | s to recover |\n|---|---|---|---|---|---|---|"
    )
    rows = []

    def show(row: list[str]) -> None:
        rows.append(row)
        print(f"| {' | '.join(row)} |", flush=True)

    for fault in FAULTS:
        for stage in options.stages if fault in options.only else ():
            show(broken(fault, stage, expected, top / f"{fault}-{stage}"))
    if "clock" in options.only:
        show(clock_changed(expected, top / "clock"))
    if "disk" in options.only and os.geteuid() == 0:
        show(disk_full(expected, top / "disk"))
    failed = [row for row in rows if row[4] != "0" or row[5] != "nothing"]
    print(json.dumps({"cases": len(rows), "failed": len(failed), "logs": str(top)}))
    if failed:
        sys.exit(1)
    shutil.rmtree(top)


if __name__ == "__main__":
    main()

"""What is lost when things break: nothing. Breaks them for real, small, and prints a table in Markdown.

``python benchmarks/faults.py`` takes ten minutes on two free cores, ``--project real`` about as long again;
``--only worker`` and ``--stages decode`` choose. Each case runs a stage as a process of its own, breaks
something in the middle, runs the same command again, and compares every file of every published item with
an undisturbed run, byte for byte. Items that were finished before the fault must not be worked on again.
The project ``small`` has the stages of ``tests/fakes``, ``real`` the eight of the demo over two dancers;
Ray, MLflow and the store are the real ones in both.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
FAKES = ROOT / "tests" / "fakes"
sys.path.append(str(FAKES))
import server_faults  # noqa: E402 - it stands on the tests' fakes

SLOW = "slow"
_PATIENCE_S = 1800.0
_BESIDE = ("clock", "disk", "two", "mlflow", "prefect")
_RUN = """
import sys
{before}
from stages.engine.config import load_config
from stages.runner import run_stage
result = run_stage(load_config(sys.argv[1]), sys.argv[2])
print(result.state, result.processed)
"""
_FAKES = "import fake_pipeline, stages.engine.config; stages.engine.config.STAGES = fake_pipeline.STAGES"
BACK = """
import os, time
real = time.time
time.time = lambda: real() - 86_400 * os.path.exists("back")
"""
CONFIG = """
workspace: space
ray: {num_cpus: 2}
decode: {source: source, runtime: {workers: 2}}
pose: {pause_s: 0.5}
clips: {%s}
"""
_TRAINING = "trains: true, pause_s: 2"
_ITEM, _STAGING = "*/items/*/item.json", "*/staging/*"


@dataclass(frozen=True)
class Project:
    """Stages to break.

    Attributes:
        middle: what lies in a stage's folder when it is in the middle, by stage, in their order.
        without_ray: stages that run in their own process alone.
        prepare: writes the config and sources of a folder.
        run: what a process does to run a stage.
    """

    middle: dict[str, str]
    without_ray: tuple[str, ...]
    prepare: Callable[[Path], None]
    run: str


def _prepare_small(folder: Path, clips: str = "") -> None:
    (folder / "source").mkdir(parents=True)
    for index in range(6):
        (folder / "source" / f"t{index}.txt").write_text(f"{SLOW} text {index}")
    (folder / "config.yaml").write_text(CONFIG % clips)


def _prepare_real(folder: Path) -> None:
    from small_rebuild import render, write_config

    source = folder.parent / "dancers"
    render(source)
    write_config(folder / "config.yaml", source, str(folder / "space"))


SMALL = Project(
    {"decode": _ITEM, "pose": _ITEM, "clips": "*/state/*/worker-0"},
    (),
    partial(_prepare_small, clips=_TRAINING),
    _RUN.format(before=_FAKES),
)
BESIDE = replace(SMALL, prepare=_prepare_small)
"""The same without a training group, which what stands beside a stage has nothing to do with."""
REAL = Project(
    {
        "decode": _ITEM,
        "pose": _ITEM,
        "clips": _STAGING,
        "latents": _ITEM,
        "train": "*/state/*/checkpoints/step-*",
        "animate": _ITEM,
        "evaluate": _STAGING,
        "register": _STAGING,
    },
    ("clips", "evaluate", "register"),
    _prepare_real,
    _RUN.format(before=""),
)
PROJECTS = {"small": SMALL, "real": REAL}


@dataclass
class Case:
    """A project in a folder of its own."""

    folder: Path
    project: Project = SMALL

    def __post_init__(self) -> None:
        self.project.prepare(self.folder)

    @property
    def stages(self) -> tuple[str, ...]:
        """Its stages, in their order."""
        return tuple(self.project.middle)

    def start(self, stage: str, **variables: str) -> subprocess.Popen[bytes]:
        """A stage in a process of its own."""
        paths = f"{ROOT}{os.pathsep}{FAKES}"
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **variables}
        with (self.folder / "log").open("ab") as log:
            command = [
                sys.executable,
                "-c",
                self.project.run,
                str(self.folder / "config.yaml"),
                stage,
            ]
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
        """sha256 of every file of every published item, by stage, item and name."""
        space = self.folder / "space"
        found = (path for path in space.glob("*/*/items/*/**/*") if path.is_file())
        return {str(path.relative_to(space)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def rest(self, done: dict[str, float], expected: dict[str, str]) -> list[str]:
        """Run what is left: how many of the finished items were done twice, what was lost, the seconds."""
        start_s = time.monotonic()
        again = max(self.run(stage) for stage in self.stages)
        seconds = time.monotonic() - start_s
        now = {name: written for stage in self.stages for name, written in self.times(stage).items()}
        twice = [name for name, written in done.items() if now.get(name) != written]
        lost = "nothing" if self.files() == expected and not again else "files differ"
        return [str(len(twice)), lost, f"{seconds:.0f}"]

    def until_busy(self, stage: str, process: subprocess.Popen[bytes]) -> None:
        """Wait until a stage is in the middle, or over."""
        pattern = self.project.middle[stage]
        _wait(lambda: process.poll() is not None or any((self.folder / "space" / stage).glob(pattern)))


def _wait(there: Callable[[], object]) -> None:
    end_s = time.monotonic() + _PATIENCE_S
    while not there():
        if time.monotonic() > end_s:
            raise TimeoutError("what was waited for never came")
        time.sleep(0.05)


def _children(process: subprocess.Popen[bytes], *words: str) -> list[psutil.Process]:
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


def kill_worker(case: Case, process: subprocess.Popen[bytes], stage: str) -> None:
    """kill -9 of one worker of Ray that works."""
    found: list[psutil.Process] = []
    _wait(lambda: found.extend(_children(process, "ray::Worker", "ray::RayTrainWorker")) or found)
    found[0].kill()


def kill_head(case: Case, process: subprocess.Popen[bytes], stage: str) -> None:
    """kill -9 of Ray's head: its directory and its node."""
    for child in _children(process, "gcs_server", "raylet/raylet"):
        child.kill()


def kill_flow(case: Case, process: subprocess.Popen[bytes], stage: str) -> None:
    """kill -9 of the process that runs the stage."""
    process.kill()


def end_flow(case: Case, process: subprocess.Popen[bytes], stage: str) -> None:
    """SIGTERM of the process that runs the stage, as Prefect sends it."""
    process.send_signal(signal.SIGTERM)


FAULTS: dict[str, Callable[[Case, subprocess.Popen, str], None]] = {
    "worker": kill_worker,
    "head": kill_head,
    "flow": kill_flow,
    "cancel": end_flow,
}


def broken(
    fault: str, stages: Sequence[str], expected: dict[str, str], folder: Path, project: Project
) -> Iterator[list[str]]:
    """Run every stage, break some in the middle and run them again; gives a row for each of those."""
    case = Case(folder, project)
    for stage in case.stages:
        if stage not in stages or (fault in ("worker", "head") and stage in project.without_ray):
            assert case.run(stage) == 0, (folder / "log").read_text()
        else:
            yield _break(fault, stage, expected, case)


def _break(fault: str, stage: str, expected: dict[str, str], case: Case) -> list[str]:
    process = case.start(stage)
    case.until_busy(stage, process)
    done = case.times(stage)
    over = process.poll() is not None
    FAULTS[fault](case, process, stage)
    code = process.wait(_PATIENCE_S)
    done = done if code == 0 else {**case.times(stage), **done}
    start_s = time.monotonic()
    again = case.run(stage)
    seconds = time.monotonic() - start_s
    now = case.times(stage)
    twice = [name for name, written in done.items() if now.get(name) != written]
    done_so_far = case.stages[: case.stages.index(stage) + 1]
    wanted = {name: digest for name, digest in expected.items() if name.split("/")[0] in done_so_far}
    found = case.files()
    differing = {name for name in {*wanted, *found} if wanted.get(name) != found.get(name)}
    what = "was over before" if over else "went on by itself" if code == 0 else f"stopped with {code}"
    lost = "nothing" if not (again or differing) else f"{len(differing)} files differ, exit code {again}"
    if differing:
        print(*sorted(differing), sep="\n", file=sys.stderr)
    name = (FAULTS[fault].__doc__ or "").partition(".")[0]
    return [name, stage, what, f"{len(done)} kept", str(len(twice)), lost, f"{seconds:.0f}"]


def clock_changed(expected: dict[str, str], case: Case) -> list[str]:
    """File times move by a day between two runs, forwards for half of the items, backwards for the rest."""
    assert case.run("decode") == 0
    for index, record in enumerate(case.items("decode")):
        shift_s = 86_400 * (1 if index % 2 else -1)
        os.utime(record, (time.time() + shift_s,) * 2)
    done = case.times("decode")
    return ["file times moved by a day", "decode", "-", f"{len(done)} kept", *case.rest(done, expected)]


def disk_full(expected: dict[str, str], case: Case) -> list[str]:
    """The workspace's disk fills up in the middle of decode, then gets room."""
    space = case.folder / "space"
    space.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(space)], check=True)
    try:
        process = case.start("decode")
        case.until_busy("decode", process)
        filler = space / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"0" * 4096)
                file.flush()
        code = process.wait(_PATIENCE_S)
        done = case.times("decode")
        filler.unlink()
        message = "disk of workspace" in (case.folder / "log").read_text()
        what = f"stopped with {code}, {'says so' if message else 'without a word'}"
        return ["disk full", "decode", what, f"{len(done)} kept", *case.rest(done, expected)]
    finally:
        subprocess.run(["umount", str(space)], check=True)


def undisturbed(folder: Path, project: Project) -> dict[str, str]:
    """sha256 of every file of a project that nothing breaks; ends the script where a stage fails."""
    case = Case(folder, project)
    for stage in case.stages:
        if case.run(stage):
            sys.exit((folder / "log").read_text())
    return case.files()


def rows_beside(only: Sequence[str], top: Path) -> Iterator[list[str]]:
    """Rows of faults beside the stages."""

    def case(name: str) -> Case:
        return Case(top / name, BESIDE)

    expected = undisturbed(top / "beside", BESIDE)
    if "clock" in only:
        yield clock_changed(expected, case("clock"))
        back = Case(top / "back", replace(BESIDE, run=_RUN.format(before=f"{_FAKES}{BACK}")))
        yield server_faults.clock_set_back(back, expected)
    if "disk" in only and os.geteuid() == 0:
        yield disk_full(expected, case("disk"))
    if "two" in only:
        yield server_faults.two_processes(case("two"), expected)
    if "mlflow" in only:
        yield from server_faults.mlflow_away(case("mlflow"), expected, _FAKES)
    if "prefect" in only:
        yield server_faults.prefect_restarted(case("prefect"), expected)


def main() -> None:
    """Print the table; exit code 1 when anything was lost or done twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", choices=PROJECTS, default="small")
    parser.add_argument("--only", nargs="*", default=[*FAULTS, *_BESIDE], choices=[*FAULTS, *_BESIDE])
    parser.add_argument("--stages", nargs="*", default=[*SMALL.middle, *REAL.middle])
    options = parser.parse_args()
    project = PROJECTS[options.project]
    top = Path(tempfile.mkdtemp(prefix="faults-"))
    within = [fault for fault in FAULTS if fault in options.only]
    expected = undisturbed(top / "undisturbed", project) if within else {}
    print(
        "| fault | in | the run | before | done twice | lost | s to recover |\n|---|---|---|---|---|---|---|"
    )
    rows = []

    def show(row: list[str]) -> None:
        rows.append(row)
        print(f"| {' | '.join(row)} |", flush=True)

    for fault in within:
        for row in broken(fault, options.stages, expected, top / fault, project):
            show(row)
    if project is SMALL and set(options.only) & set(_BESIDE):
        for row in rows_beside(options.only, top):
            show(row)
    failed = [row for row in rows if row[4] != "0" or row[5] != "nothing"]
    print(json.dumps({"cases": len(rows), "failed": len(failed), "logs": str(top)}))
    if failed:
        sys.exit(1)
    shutil.rmtree(top)


if __name__ == "__main__":
    main()

"""A power cut: what was published is there whole afterwards, and a rerun heals the rest by itself."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from fake_stages import Letters, Shouts, make_config, write_texts

from mimicmotion import durable
from stages.engine.plan import StageGraph
from stages.engine.status import status
from stages.engine.storage.workspace import LocalWorkspace
from stages.engine.store import StageStore
from stages.runner import run_stage

pytestmark = pytest.mark.usefixtures("alone")

_NUM_TEXTS = 20
_NUM_CUTS = 4
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fake_stages import Letters
from stages.engine.item_task import ItemTask
from stages.engine.keys import item_key, recipe_key
space, source = Path(sys.argv[1]), Path(sys.argv[3])
stage = Letters(source=source)
task = ItemTask(stage, str(space), recipe_key(stage))
task.load()
for item in stage.items({}):
    task.run(item, item_key(task.recipe_key, item.inputs))
    print(item.id, flush=True)
sys.stdin.read()
"""
"""Publishes items as a worker does and says each; afterwards it writes nothing and waits."""


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """A file system in a file; writes to it reach the file when they are flushed."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-o", "loop,commit=300", str(image), str(place)]
    if os.geteuid() or subprocess.call(command, stderr=subprocess.DEVNULL):
        pytest.skip("a file system cannot be mounted here: needs root and loop devices")
    try:
        yield place
    finally:
        subprocess.check_call(["umount", str(place)])


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Hold a process wherever it is, so that the disk is copied at one moment."""
    process = psutil.Process(pid)
    process.suspend()
    while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
        time.sleep(0.001)
    yield
    process.resume()


def test_after_a_cut_at_any_moment_what_was_published_is_there_and_a_rerun_heals(tmp_path: Path) -> None:
    """The disk is copied while a worker publishes; each copy is what a power cut would have left."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4 here")
    texts = {f"t{number:02}": f"text {number} " * 500 for number in range(_NUM_TEXTS)}
    source = write_texts(tmp_path / "source", **texts)
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(24 << 20)
    subprocess.check_call(["mkfs.ext4", "-q", "-F", str(image)])
    moments = [*sorted(random.Random(0).sample(range(1, _NUM_TEXTS), _NUM_CUTS - 1)), _NUM_TEXTS]
    published: dict[int, list[str]] = {}
    with mounted(image, tmp_path / "disk") as disk:
        fakes = str(Path(__file__).parents[3] / "fakes")
        command = [sys.executable, "-c", WRITER, str(disk / "space"), fakes, str(source)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said: list[str] = []
            for line in writer.stdout:
                said.append(line.strip())
                if len(said) in moments:
                    published[len(said)] = list(said)
                    with stopped(writer.pid):
                        shutil.copyfile(image, tmp_path / f"cut{len(said)}")
                if len(said) == _NUM_TEXTS:
                    break
            writer.kill()
    assert sorted(published) == moments
    config = make_config(tmp_path / "cut" / "space", Letters(source=source), Shouts())
    for moment, names in published.items():
        with mounted(tmp_path / f"cut{moment}", tmp_path / "cut"):
            before = StageGraph(config).plan("letters")
            states = {state.id for state in before.states.values()}
            assert set(names) <= states, f"published before the cut after {moment}, and lost"
            assert len(before.todo) == _NUM_TEXTS - len(states)
            assert not before.damaged
            assert run_stage(config, "letters").kept == _NUM_TEXTS
            assert run_stage(config, "shouts").kept == _NUM_TEXTS
            assert {line.state for line in status(config)} == {"fresh"}


def test_without_flushing_the_same_cut_loses_content(tmp_path: Path, monkeypatch) -> None:
    """Shows that the test above can fail: the copy of a disk holds what was flushed, and nothing else."""
    image = tmp_path / "image"
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4 here")
    with image.open("wb") as file:
        file.truncate(24 << 20)
    subprocess.check_call(["mkfs.ext4", "-q", "-F", str(image)])
    with mounted(image, tmp_path / "disk") as disk:
        for flushed in (True, False):
            if not flushed:
                monkeypatch.setattr(durable, "flush", lambda path: None)
            durable.write_file(disk / f"flushed-{flushed}", b"content")
        shutil.copyfile(image, tmp_path / "cut")
    with mounted(tmp_path / "cut", tmp_path / "disk") as disk:
        found = {path.name: path.read_bytes() for path in disk.glob("flushed-*")}
    assert found == {"flushed-True": b"content"}


def test_everything_is_flushed_before_it_counts_and_its_name_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real = durable.flush

    def flush(path: Path) -> None:
        events.append(path.name)
        real(path)

    replace = Path.replace

    def renamed(path: Path, target: Path) -> Path:
        events.append(f"rename to {target.name}")
        return replace(path, target)

    monkeypatch.setattr(durable, "flush", flush)
    monkeypatch.setattr(Path, "replace", renamed)
    workspace = LocalWorkspace(tmp_path)
    folder = StageStore(workspace, "letters", "recipe").staging()
    (folder / "parts").mkdir()
    for name in ("parts/deep.txt", "copy.txt", "item.json"):
        (folder / name).write_text(name)
    workspace.publish(folder, "letters/recipe/items/key", "item.json")
    (made, *written), after = events[:-2], events[-2:]
    assert made == "recipe"
    assert sorted(written) == sorted(["deep.txt", "parts", "copy.txt", "item.json", folder.name])
    assert written.index("deep.txt") < written.index("parts") < written.index(folder.name)
    assert after == ["rename to key", "items"]


def test_folders_on_the_way_are_flushed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(durable, "flush", flushed.append)
    durable.make_folder(tmp_path / "a" / "b" / "c")
    assert set(flushed) == {tmp_path, tmp_path / "a", tmp_path / "a" / "b"}
    flushed.clear()
    durable.make_folder(tmp_path / "a" / "b" / "c")
    assert not flushed

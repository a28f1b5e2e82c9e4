"""What a child does to itself ends with it; the process that forks starts again where it was killed."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import TimeoutExpired

import psutil
import pytest

from mimicmotion.video.forks import Forks


@pytest.fixture
def children() -> Iterator[Forks]:
    forks = Forks("fake_child")
    yield forks
    forks.close()


def said(children: Forks, code: str) -> str:
    return children.run([code], timeout_s=60).stdout.decode().strip()


def here() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_a_child_starts_from_the_same_state_whatever_the_one_before_did(children: Forks) -> None:
    parent = "import os; print(os.getppid())"
    before = said(children, parent)
    assert said(children, "import fake_child; fake_child.spoilt = 1; print('done')") == "done"
    assert said(children, "import fake_child; print(hasattr(fake_child, 'spoilt'))") == "False"
    assert said(children, "import sys; print(repr(sys.stdin.read()))") == "''", "requests are not its to read"
    for fault, status in (
        ("import os; os.kill(os.getpid(), 11)", -11),
        ("import os; os._exit(7)", 7),
        ("1 / 0", 1),
    ):
        assert children.run([fault], timeout_s=60).returncode == status
    assert said(children, parent) == before, "all are forked from one process"


def test_all_memory_is_lost_by_the_child_alone(children: Forks) -> None:
    bomb = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); bytearray(1 << 34)"
    ended = children.run([bomb], timeout_s=60)
    assert (ended.returncode, ended.stderr.split()[-1]) == (1, b"MemoryError")
    assert said(children, "print(len(bytearray(1 << 24)))") == str(1 << 24)


def test_a_hang_is_killed_with_all_it_has_and_the_next_child_starts(children: Forks) -> None:
    before, start_s = here(), time.monotonic()
    with pytest.raises(TimeoutExpired):
        children.run(["import time; time.sleep(60)"], timeout_s=0.5)
    assert time.monotonic() - start_s < 30
    assert here() <= before
    assert said(children, "print(1)") == "1"


def test_the_process_that_forks_may_be_killed_before_or_while_a_child_works(children: Forks) -> None:
    killed = int(said(children, "import os; print(os.getppid())"))
    os.kill(killed, 9)
    psutil.Process(killed).wait(30)
    assert int(said(children, "import os; print(os.getppid())")) != killed
    while_working = "import os, time; os.kill(os.getppid(), 9); time.sleep(60)"
    assert children.run([while_working], timeout_s=60).returncode == -9
    assert said(children, "print(1)") == "1"


def test_all_ends_with_the_process_that_asked() -> None:
    code = "import sys; from mimicmotion.video.forks import Forks; Forks('fake_child').run([sys.argv[1]], 60)"
    told = "import time; time.sleep(60)"
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code, told], env=path) as asking:
        asked = psutil.Process(asking.pid)
        while len(family := asked.children(recursive=True)) < 2:
            time.sleep(0.05)
        asking.kill()
    assert not psutil.wait_procs(family, timeout=30)[1]


def test_threads_take_turns(children: Forks) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(said(children, f"print({n})"))) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["0", "1", "2", "3"]


def test_output_needs_no_temporary_folder_and_any_number_of_files_may_be_open(
    children: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with contextlib.ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(Path(os.devnull).open())
        shown = children.run(
            ["import sys; sys.stdout.buffer.write(bytes(range(256))); sys.stderr.write('ä')"], 60
        )
    assert (shown.stdout, shown.stderr.decode()) == (bytes(range(256)), "ä")


def test_an_end_of_who_asked_leaves_no_traceback(tmp_path: Path) -> None:
    child = "import time; time.sleep(60)"
    code = f"from mimicmotion.video.forks import Forks; Forks('fake_child').run([{child!r}], 60)"
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen([sys.executable, "-c", code], env=path, stderr=log) as asking,
    ):
        while len(family := psutil.Process(asking.pid).children(recursive=True)) < 2:
            time.sleep(0.05)
        asking.kill()
    assert not psutil.wait_procs(family, timeout=30)[1]
    assert (tmp_path / "log").read_text() == ""

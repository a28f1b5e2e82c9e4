"""Hangs, crashes and failures of the child."""

import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mimicmotion.errors import MachineError, RejectedItem, StageError
from mimicmotion.video import normalise
from mimicmotion.video.files import write_preview
from mimicmotion.video.forks import Forks
from mimicmotion.video.isolated import facts_from, normalise_isolated
from mimicmotion.video.normalise import normalise_video
from mimicmotion.video.settings import NormaliseSettings


@pytest.fixture(scope="module")
def children() -> Iterator[Forks]:
    forks = Forks("fake_child")
    yield forks
    forks.close()


def test_child_gives_the_facts_and_the_file(tmp_path: Path) -> None:
    source = tmp_path / "v.mp4"
    write_preview(source, [np.full((32, 48, 3), 10 * k, np.uint8) for k in range(12)], 24)
    facts = normalise_isolated(source, tmp_path / "child.mp4", NormaliseSettings(), timeout_s=60)
    assert facts == normalise_video(source, tmp_path / "here.mp4", NormaliseSettings())
    assert (tmp_path / "child.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()


def test_reject_crosses_the_border(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_text("no video")
    with pytest.raises(RejectedItem) as caught:
        normalise_isolated(tmp_path / "v.mp4", tmp_path / "target.mp4", NormaliseSettings(), timeout_s=60)
    assert caught.value.code == "unreadable"


def test_hang_is_a_timeout(children: Forks) -> None:
    start = time.monotonic()
    with pytest.raises(RejectedItem, match=r"timeout: v.mp4 took longer than 0.5 s"):
        facts_from(children, ["import time; time.sleep(60)"], "v.mp4", timeout_s=0.5)
    assert time.monotonic() - start < 10


def test_crash_is_a_reject(children: Forks) -> None:
    with pytest.raises(RejectedItem, match=r"decoder_crashed: the decoder of v.mp4 crashed with SIGSEGV"):
        facts_from(children, ["import os; os.kill(os.getpid(), 11)"], "v.mp4", timeout_s=60)


def test_an_end_of_everything_is_no_reject(children: Forks) -> None:
    with pytest.raises(StageError, match=r"v.mp4 failed, and not for the video's sake"):
        facts_from(children, ["import os; os.kill(os.getpid(), 15)"], "v.mp4", timeout_s=60)


def test_a_share_that_goes_away_is_the_machines_fault(
    children: Forks, tmp_path: Path, monkeypatch, capsys
) -> None:
    def away(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(normalise, "normalise_video", away)
    assert normalise.main([str(tmp_path / "v.mp4"), str(tmp_path / "target.mp4"), "{}"]) == 0
    code = f"print({capsys.readouterr().out!r})"
    with pytest.raises(MachineError, match=r"decoding v.mp4 failed, .* OSError: .*Stale file handle"):
        facts_from(children, [code], "v.mp4", timeout_s=60)


@pytest.mark.parametrize("killed", ["os.getpid()", "os.getppid()"])
def test_a_kill_for_lack_of_memory_is_tried_again_and_then_costs_this_video(
    children: Forks, tmp_path: Path, killed: str
) -> None:
    answer = json.dumps({"rejected": ["a", "b"]})
    mark = str(tmp_path / "tried")
    first = f"import os; os.open({mark!r}, os.O_CREAT | os.O_EXCL) and os.kill({killed}, 9)"
    code = f"try:\n    {first}\nexcept FileExistsError:\n    print({answer!r})"
    with pytest.raises(RejectedItem, match="a: b"):
        facts_from(children, [code], "v.mp4", timeout_s=60, retries=1)
    with pytest.raises(RejectedItem, match=r"decoder_killed: .* v.mp4 was killed 3 times .* memory"):
        facts_from(children, ["import os; os.kill(os.getpid(), 9)"], "v.mp4", timeout_s=60, retries=2)


def test_failure_of_the_machine_is_no_reject(children: Forks, tmp_path: Path) -> None:
    source = tmp_path / "v.mp4"
    write_preview(source, [np.zeros((32, 48, 3), np.uint8)] * 3, 24)
    with pytest.raises(StageError, match="No such file or directory"):
        normalise_isolated(source, tmp_path / "no_folder" / "t.mp4", NormaliseSettings(), timeout_s=60)
    with pytest.raises(StageError, match="broke"):
        facts_from(children, ["raise RuntimeError('broke')"], "v.mp4", timeout_s=60)


def test_much_noise_on_the_error_stream_does_not_block(children: Forks) -> None:
    answer = json.dumps({"rejected": ["a", "b"]})
    code = f"import sys; sys.stderr.write('x' * 1_000_000); print({answer!r})"
    with pytest.raises(RejectedItem, match="a: b"):
        facts_from(children, [code], "v.mp4", timeout_s=60)

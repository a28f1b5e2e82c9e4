import os
import signal

import pytest
import torch

from mimicmotion.training.distributed.group import World
from mimicmotion.training.distributed.stopping import signals_write, stop_request


def interrupt(file, times, seen):
    """Send Ctrl-C to this process within the block, noting after each whether the file was there."""
    with signals_write(file):
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            seen.append(file.exists())


def test_sigterm_writes_the_file_and_the_block_ends_as_it_would(tmp_path):
    # Whoever joined Ray in this process before may have left an answer of its own.
    old = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with signals_write(tmp_path / "stop"):
            os.kill(os.getpid(), signal.SIGTERM)
        assert (tmp_path / "stop").exists()
    finally:
        signal.signal(signal.SIGTERM, old)


def test_sigterm_goes_to_whoever_answered_before_when_the_block_is_done(tmp_path):
    answered = []
    old = signal.signal(signal.SIGTERM, lambda number, frame: answered.append(number))
    try:
        with signals_write(tmp_path / "stop"):
            os.kill(os.getpid(), signal.SIGTERM)
            assert answered == []
        assert answered == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, old)


def test_the_first_ctrl_c_lets_the_block_end_and_is_raised_after_it(tmp_path):
    seen = []
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "stop", 1, seen)
    assert seen == [True]


def test_the_second_ctrl_c_ends_the_block_at_once(tmp_path):
    seen = []
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "stop", 2, seen)
    assert seen == [True]


def test_the_handlers_of_before_are_back_afterwards(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "stop", 1, [])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_vote_asks_nothing_of_the_device(tmp_path):
    """It would wait for all the work that is queued there."""
    with stop_request(tmp_path / "stop", World(0, 1, torch.device("meta"))) as request:
        assert not request.seen()
        (tmp_path / "stop").touch()
        assert request.seen()

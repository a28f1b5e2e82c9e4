import os
import signal

import pytest

from mimicmotion.training.stopping import signals_write


def send(number):
    os.kill(os.getpid(), number)


def test_sigterm_writes_the_file_and_the_block_ends_as_it_would(tmp_path):
    with signals_write(tmp_path / "stop"):
        send(signal.SIGTERM)
    assert (tmp_path / "stop").exists()


def test_the_first_ctrl_c_lets_the_block_end_and_is_raised_after_it(tmp_path):
    went_on = False
    with pytest.raises(KeyboardInterrupt), signals_write(tmp_path / "stop"):
        send(signal.SIGINT)
        went_on = (tmp_path / "stop").exists()
    assert went_on


def test_the_second_ctrl_c_ends_the_block_at_once(tmp_path):
    went_on = False
    with pytest.raises(KeyboardInterrupt), signals_write(tmp_path / "stop"):
        send(signal.SIGINT)
        send(signal.SIGINT)
        went_on = True
    assert not went_on


def test_the_handlers_of_before_are_back_afterwards(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), signals_write(tmp_path / "stop"):
        send(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

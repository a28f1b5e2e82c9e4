"""A local Ray that does not come up in time is started again, and given up with a message."""

import logging

import pytest

from mimicmotion.errors import InputError, StageError
from stages.adapters.ray.environment import check_sockets_fit, start_patiently, training_variables


class Slow:
    """Comes up at the given try; the others end as Ray's do on a busy machine."""

    def __init__(self, comes_up_at: int, message: str = "The current node timed out during startup.") -> None:
        self.comes_up_at, self.message = comes_up_at, message
        self.starts = self.stops = 0

    def start(self) -> None:
        self.starts += 1
        if self.starts < self.comes_up_at:
            raise Exception(self.message)

    def stop(self) -> None:
        self.stops += 1


def test_a_slow_start_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    ray = Slow(comes_up_at=3)
    start_patiently(ray.start, ray.stop)
    assert (ray.starts, ray.stops) == (3, 2)
    assert caplog.text.count("trying again") == 2


def test_in_the_end_it_says_what_to_do() -> None:
    ray = Slow(comes_up_at=9)
    with pytest.raises(
        StageError, match=r"did not start on this machine in 3 tries: .* timed out .* End other work"
    ):
        start_patiently(ray.start, ray.stop)
    assert ray.starts == ray.stops == 3


def test_any_other_error_is_not_tried_again() -> None:
    ray = Slow(comes_up_at=9, message="no such option")
    with pytest.raises(Exception, match="no such option"):
        start_patiently(ray.start, ray.stop)
    assert ray.starts == 1


def test_a_temporary_folder_with_a_long_name_is_refused_before_ray_fails(monkeypatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/" + "x" * 38)
    check_sockets_fit()
    monkeypatch.setenv("TMPDIR", "/" + "x" * 49)
    with pytest.raises(
        InputError, match=r"TMPDIR is /x+: its name is 11 bytes too long .* allow 39\. Set RAY_TMPDIR"
    ):
        check_sockets_fit()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_sockets_fit()


def test_a_training_that_reserves_no_gpu_sees_none() -> None:
    """Ray hides nothing from a worker that has reserved none, and torch takes what it sees."""
    assert training_variables(2, 0)["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in training_variables(2, 1)

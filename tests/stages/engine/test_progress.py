"""Waiting in silence ends after a while."""

import threading

import pytest

from stages.engine import progress


def test_a_long_wait_says_what_for_and_a_short_one_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    told = threading.Event()

    def info(text: str, *words: object) -> None:
        said.append(text % words)
        told.set()

    monkeypatch.setattr(progress.log, "info", info)
    with progress.told_if_long("the quick"):
        pass
    monkeypatch.setattr(progress, "_SILENCE_S", 0.0)
    with progress.told_if_long("Ray starts"):
        assert told.wait(60)
    assert said == ["still waiting: Ray starts"]

"""Freed frames do not stay with the process."""

import ctypes
from types import SimpleNamespace

from mimicmotion.memory import giving_back


def test_chunks_pass_unchanged_and_memory_is_given_back_now_and_then(monkeypatch):
    asked = []
    library = SimpleNamespace(malloc_trim=lambda pad: asked.append(pad))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert list(giving_back(range(11))) == list(range(11))
    assert asked == [0, 0]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert list(giving_back(range(40))) == list(range(40))

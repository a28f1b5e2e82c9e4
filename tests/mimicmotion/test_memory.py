"""Freed frames do not stay with the process."""

import ctypes
from types import SimpleNamespace

from mimicmotion.memory import giving_back


def test_chunks_pass_unchanged_and_large_arrays_are_given_back_at_once_until_the_last(monkeypatch):
    asked = []
    library = SimpleNamespace(mallopt=lambda *asked_for: asked.append(asked_for))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    chunks = giving_back(range(3))
    assert next(chunks) == 0
    assert asked == [(-3, 1 << 20)]
    assert list(chunks) == [1, 2]
    assert asked[1:] == [(-3, 32 << 20)]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert list(giving_back(range(40))) == list(range(40))

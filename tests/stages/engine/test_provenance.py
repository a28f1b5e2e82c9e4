"""Which code made a dataset: git says it, else the variable of a container."""

from pathlib import Path

import pytest

from stages.engine import provenance


def test_where_git_knows_nothing_the_variable_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    monkeypatch.setenv(provenance.REVISION_VARIABLE, "abc123")
    assert provenance.git_revision() == "abc123"
    monkeypatch.setenv(provenance.REVISION_VARIABLE, "")
    assert provenance.git_revision() is None


def test_git_is_believed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(provenance.REVISION_VARIABLE, "abc123")
    monkeypatch.setattr(
        provenance,
        "_git",
        lambda *words: {"--show-toplevel": str(provenance._ROOT), "HEAD": "def456"}.get(words[-1], ""),
    )
    assert provenance.git_revision() == "def456"

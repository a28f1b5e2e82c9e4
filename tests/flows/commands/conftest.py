"""Fixtures of the commands' tests."""

from pathlib import Path

import pytest
from fake_stages import Letters, write_texts


@pytest.fixture
def letters(tmp_path: Path) -> Letters:
    """A stage over two texts."""
    return Letters(source=write_texts(tmp_path / "source", a="one", b="three"))

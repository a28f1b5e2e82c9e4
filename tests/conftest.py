"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no fault of the code; pytest's own limit ends what hangs.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# No test may write into the runs of whoever starts the tests.
os.environ.pop("MLFLOW_TRACKING_URI", None)

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the vectors computed by the released code."""
    return GOLDEN


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real videos and models, which are not part of the repository."""
    folder = Path(os.environ.get("MIMICMOTION_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set MIMICMOTION_REAL_DATA to its folder")
    return folder


@pytest.fixture
def closed_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of the name ``closed`` cannot be listed: a mode would not stop a test that root runs."""
    scandir = os.scandir

    def refusing(path: str | Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)

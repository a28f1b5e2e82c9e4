"""Which code made a dataset: the git revision and the versions of the libraries that matter."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = (
    "av",
    "decord",
    "diffusers",
    "mimicmotion",
    "numpy",
    "onnxruntime-gpu",
    "opencv-python-headless",
    "pyarrow",
    "ray",
    "torch",
    "transformers",
)
_ROOT = Path(__file__).resolve().parents[2]

REVISION_VARIABLE = "MIMICMOTION_REVISION"
"""Environment variable: what git would say of code that lies in a container without its history."""


def git_revision() -> str | None:
    """Commit of the checkout this code runs from, with ``-dirty`` when files differ.

    Outside of git it is what ``MIMICMOTION_REVISION`` says, else None.
    """
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top) != _ROOT:
        return os.environ.get(REVISION_VARIABLE) or None
    revision = _git("rev-parse", "HEAD")
    return f"{revision}-dirty" if revision and _git("status", "--porcelain", "-uno") else revision


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change results, as far as they are installed."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

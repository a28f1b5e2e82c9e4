"""The README's tree of folders is the tree of folders."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPEN_FOLDERS = ("flows", "mimicmotion", "stages")
"""Folders whose content the tree shows one level deep."""


def tracked() -> set[str]:
    """What the tree must show: folders of the top, and what lies in the open ones; folders end with ``/``."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = set()
    for name in listed.stdout.splitlines():
        parts = name.split("/")
        if len(parts) > 1:
            found.add(f"{parts[0]}/")
        if parts[0] in OPEN_FOLDERS and parts[1] != "__init__.py":
            found.add(f"{parts[0]}/{parts[1]}" + ("/" if len(parts) > 2 else ""))
    return found


def shown() -> set[str]:
    """What the fenced tree of the README names; two spaces a level, a folder ends with a slash."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, heading, rest = text.partition("\n<summary>Folders</summary>\n")
    assert heading, "README.md has no summary 'Folders'"
    tree = rest.split("```")[1]
    found, folder = set(), ""
    for line in filter(str.strip, tree.splitlines()[1:]):
        name = line.split()[0]
        if line.startswith("  "):
            found.add(folder + name)
        else:
            found.add(name)
            folder = name if name.endswith("/") else ""
    return found


def test_the_tree_shows_everything_and_nothing_else() -> None:
    there, written = tracked(), shown()
    assert sorted(there - written) == [], "missing in the README's tree"
    assert sorted(written - there) == [], "in the README's tree, but not there"


def test_the_order_of_reading_names_files_that_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, heading, rest = text.partition("\n## Reading the method in an afternoon\n")
    files = re.findall(r"`([a-z0-9_/]+\.py)`", rest.partition("\nThen ")[0])
    assert heading
    assert len(files) > 20
    lines = sum(len((ROOT / "mimicmotion" / name).read_text(encoding="utf-8").splitlines()) for name in files)
    assert 3500 < lines < 4500

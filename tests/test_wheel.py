"""The built wheel works without the checkout: configs, weights and commands are in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """What pip installs of this project; other packages are those of this Python."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in names.stdout.splitlines():
        if name.startswith(("flows/", "stages/", "mimicmotion/", "configs/")) or "/" not in name:
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "-w", str(folder), str(folder / "source")], check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, *words: str) -> str:
    variables = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words], cwd=folder, env=variables, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_every_config_and_weight_is_in_the_wheel(installed: Path) -> None:
    there = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")}
    shipped = {
        path.relative_to(installed / "mimicmotion/configs") for path in installed.rglob("configs/**/*.yaml")
    }
    assert there == shipped
    assert len(there) >= 10
    assert (installed / "mimicmotion/synthetic/weights/detector.onnx").stat().st_size > 100_000


def test_commands_work_where_there_is_no_checkout(installed: Path, tmp_path: Path) -> None:
    told = run(installed, tmp_path, "status", "demo")
    assert f"there is no folder or list of source videos at {tmp_path}/workspace/dancers" in told
    assert f"workspace: {tmp_path}/workspace/demo" in told
    told = run(installed, tmp_path, "weights", "list", "demo")
    assert f"{installed}/mimicmotion/synthetic/weights/detector.onnx" in told
    assert "missing" not in told
    assert "Run the whole pipeline on the built-in toy world" in run(installed, tmp_path, "--help")
    assert not any(tmp_path.iterdir()) or {path.name for path in tmp_path.iterdir()} == {"workspace"}

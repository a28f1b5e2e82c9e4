"""The benchmark of animation runs end to end, on a CPU and, where there is one, on a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_animate.py"


def run(out: Path, *more: str) -> dict:
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(SCRIPT),
        "--small",
        "--repeats",
        "1",
        "--out",
        str(out),
        *more,
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, cwd=ROOT, env=env, timeout=280, capture_output=True)
    return json.loads(out.read_text())


def check(found: dict) -> None:
    rows = {row["part"]: row for row in found["rows"]}
    assert rows["whole, ours"]["extra"]["cosine"] > 0.999
    assert all(row["seconds"] > 0 for name, row in rows.items() if name.startswith(("+", "whole", "part")))
    assert all(row["tflop"] > 0 for name, row in rows.items() if name.startswith("part"))
    assert len(found["largest_costs"]) == 3


@pytest.mark.slow
def test_it_runs_on_a_cpu(tmp_path: Path) -> None:
    check(run(tmp_path / "found.json", "--device", "cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_runs_on_a_gpu(tmp_path: Path) -> None:
    check(run(tmp_path / "found.json", "--device", "cuda"))

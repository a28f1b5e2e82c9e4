"""What the GPU benchmarks share counts right, and the scripts run end to end on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from gpu_machine import Machine, count_bytes, count_flops, largest_costs, least_seconds, measure  # noqa: E402

CPU = torch.device("cpu")
MACHINE = Machine("fake", {"float32": 2.0}, 100.0, 1.0, {}, "2026-01-01", small=True)


def test_operations_agree_with_a_count_by_hand() -> None:
    linear, convolution = nn.Linear(8, 16), nn.Conv2d(3, 5, 3, padding=1)
    assert count_flops(lambda: linear(torch.zeros(4, 8))) == 2 * 4 * 8 * 16
    assert count_flops(lambda: convolution(torch.zeros(2, 3, 10, 6))) == 2 * (2 * 10 * 6) * 5 * (3 * 3 * 3)
    query = torch.zeros(1, 2, 7, 4)
    attention = count_flops(lambda: functional.scaled_dot_product_attention(query, query, query))
    assert attention == 2 * (2 * 7 * 7 * 4) * 2


def test_a_backward_pass_counts_too() -> None:
    weight = torch.zeros(8, 16, requires_grad=True)
    assert count_flops(lambda: (torch.zeros(4, 8) @ weight).sum().backward()) == 2 * (2 * 4 * 8 * 16)


def test_bytes_are_what_operators_read_and_write() -> None:
    a, b = torch.zeros(100), torch.zeros(100)
    assert count_bytes(lambda: a + b) == 3 * 400
    assert count_bytes(lambda: a.view(10, 10)) == 0
    broadcast = torch.zeros(1).expand(100)
    assert count_bytes(lambda: a + broadcast) == 2 * 400 + 4


def test_the_larger_bound_counts() -> None:
    assert least_seconds(4e12, 1e9, MACHINE, "float32") == (2.0, "matrix")
    assert least_seconds(1e9, 3e11, MACHINE, "float32") == (3.0, "memory")


def test_too_little_memory_is_a_row() -> None:
    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    row = measure("part", fail, MACHINE, CPU, dtype="float32", repeats=1)
    assert (row.seconds, row.note) == (None, "out of memory")
    with pytest.raises(RuntimeError, match="a bug"):
        measure(
            "part",
            lambda: (_ for _ in ()).throw(RuntimeError("a bug")),
            MACHINE,
            CPU,
            dtype="float32",
            repeats=1,
        )


def test_the_largest_costs_are_named() -> None:
    a = torch.zeros(200, 200)
    costs = largest_costs(lambda: a @ a, CPU)
    assert any(name == "aten::mm" for name, _ in costs)
    assert sum(share for _, share in costs) <= 1


_IMPORTS = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
unwanted = {"ray", "prefect", "mlflow", "decord", "av"} & set(sys.modules)
assert not unwanted, unwanted
"""


def run(script: str, out: Path, *more: str) -> dict:
    """Run a script as a bare GPU machine would, without what the pipeline needs besides."""
    path = str(ROOT / "benchmarks" / script)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        _IMPORTS,
        path,
        "--small",
        "--repeats",
        "1",
        "--out",
        str(out),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}"}
    done = subprocess.run([*command, *more], cwd=ROOT, env=env, timeout=280, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def check_training(found: dict) -> None:
    rows = {row["part"]: row for row in found["rows"]}
    for level in ("off", "layers", "blocks"):
        row = rows[f"step from latents, recompute {level}"]
        assert row["seconds"] > 0
        assert 0 < row["extra"]["mfu"] < 1
        assert row["extra"]["dry_run_gb"] > 0
        assert rows[f"step from pixels, recompute {level}"]["tflop"] > row["tflop"]
        assert "fits 40 GB" in rows[f"one of 8 workers, recompute {level}"]["note"]
    # What is forgotten is computed again.
    assert (
        rows["step from latents, recompute blocks"]["tflop"]
        > rows["step from latents, recompute off"]["tflop"]
    )
    assert len(found["largest_costs"]) == 3


def check_parts(found: dict) -> None:
    names = [row["part"] for row in found["rows"]]
    for part in ("VAE encode", "VAE decode", "CLIP", "PoseNet", "detector", "whole-body"):
        assert any(name.startswith(part) for name in names), part
    assert all(row["extra"]["frames_per_s"] > 0 for row in found["rows"])


@pytest.mark.slow
def test_a_training_step_on_a_cpu(tmp_path: Path) -> None:
    check_training(run("gpu_train.py", tmp_path / "found.json", "--device", "cpu", "--no-compile"))


def test_the_other_parts_on_a_cpu(tmp_path: Path) -> None:
    check_parts(run("gpu_parts.py", tmp_path / "found.json", "--device", "cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_training_step_on_a_gpu(tmp_path: Path) -> None:
    check_training(run("gpu_train.py", tmp_path / "found.json", "--device", "cuda"))

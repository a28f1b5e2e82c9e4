"""Faults that no other test brings about, by the script that prints the table of docs/operations.md."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ASKED = "MIMICMOTION_FAULTS"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get(ASKED), reason=f"takes minutes: set {ASKED}=1"),
]


def test_a_second_process_and_a_restarted_prefect_server_lose_nothing() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--only", "two", "prefect"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, two, prefect, summary = done.stdout.splitlines()
    assert "| went on (0); the second stopped with 1, naming the first |" in two
    assert "went on, COMPLETED" in prefect
    assert json.loads(summary)["failed"] == 0

"""The demo's stages end with the same keys in a local folder and on a cluster's servers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASKED = "MIMICMOTION_REMOTE"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        not os.environ.get(ASKED),
        reason=f"installs PostgreSQL and an S3 server and takes minutes: set {ASKED}=1",
    ),
]


def test_a_small_rebuild_on_a_store_and_postgresql_has_the_keys_of_a_local_one() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "remote.py"), "--small", "--install"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    *rows, summary = done.stdout.splitlines()
    assert len(rows) == 2 + 8
    assert all(row.endswith("| yes |") for row in rows[2:])
    held = json.loads(summary)
    assert held["MLflow runs"] >= 8
    assert held["Prefect flow runs"] == {"COMPLETED": 1}
    assert held["objects of workspace"] > 50
    assert held["passwords readable in"] == []

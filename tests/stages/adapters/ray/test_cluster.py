"""The real pose stage on a cluster of two nodes: a worker is killed, then a node, and nothing is lost."""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from operated import free_port, kill_all, process, wait_for

from mimicmotion.synthetic.world import make_videos
from stages.adapters.ray.environment import LOOPBACK_VARIABLE, local_variables
from stages.engine.config import RaySettings

# Two nodes take half a minute, and minutes on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[4]
WEIGHTS = ROOT / "mimicmotion" / "synthetic" / "weights"
NUM_VIDEOS = 8
PROGRAMS = Path(sys.executable).parent
NODES = ("127.0.0.2", "127.0.0.3")
"""Addresses of the head and of the other node; Ray would put the machine's own address for 127.0.0.1."""


@pytest.fixture
def variables() -> dict[str, str]:
    """What every process of the cluster, and who joins it, starts with."""
    address = {"RAY_ADDRESS": f"{NODES[0]}:{free_port()}", "RAY_AUTH_MODE": "token"}
    secret = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    more = {LOOPBACK_VARIABLE: "1"}  # else Ray refuses a second node
    return {**os.environ, **local_variables(RaySettings()), **more, **address, **secret}


@pytest.fixture
def nodes(variables: dict[str, str], tmp_path: Path) -> Iterator[list[subprocess.Popen]]:
    """Two nodes of one core each, joined."""
    address = variables["RAY_ADDRESS"]
    port = address.rpartition(":")[2]
    kinds = (["--head", f"--port={port}", "--include-dashboard=false"], [f"--address={address}"])
    environment = {name: value for name, value in variables.items() if name != "RAY_ADDRESS"}
    common = ["--block", "--num-cpus=1", f"--object-store-memory={128 << 20}"]
    common += ["--min-worker-port=0", "--max-worker-port=0"]  # any free ports
    with ExitStack() as stack:
        started = []
        for ip, kind in zip(NODES, kinds, strict=True):
            command = [str(PROGRAMS / "ray"), "start", *kind, f"--node-ip-address={ip}", *common]
            log = tmp_path / f"{ip}.log"
            started.append(stack.enter_context(process(command, log, env=environment)))
            wait_for(f"Ray at {ip}", lambda log=log: "runtime started" in log.read_text())
        yield started


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Decode and pose over a few short dances."""
    make_videos(tmp_path / "source", range(900_000, 900_002), NUM_VIDEOS // 2, 120)
    path = tmp_path / "cluster.yaml"
    pose = {"detector": str(WEIGHTS / "detector.onnx"), "wholebody": str(WEIGHTS / "wholebody.onnx")}
    pose["runtime"] = {"workers": 2, "allow_cpu": True, "frames_per_batch": 2}
    decode = {"source": str(tmp_path / "source"), "short_side_px": 128, "runtime": {"workers": 2}}
    path.write_text(yaml.safe_dump({"workspace": str(tmp_path / "whole"), "decode": decode, "pose": pose}))
    return path


def started(name: str, config: Path, space: Path, log: Path, environment: dict[str, str]) -> Any:
    """A stage in a process of its own."""
    command = [str(PROGRAMS / "mimicmotion"), "stage", name, str(config), "--set", f"workspace={space}"]
    return process(command, log, env=environment)


def workers_of(node: subprocess.Popen) -> list[psutil.Process]:
    """Processes that work on items on a node."""
    below = psutil.Process(node.pid).children(recursive=True)
    return [child for child in below if "ray::Worker" in _title(child)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_killed_worker_and_a_killed_node_lose_nothing(
    nodes: list[subprocess.Popen], variables: dict[str, str], config: Path, tmp_path: Path
) -> None:
    whole, broken, log = tmp_path / "whole", tmp_path / "broken", tmp_path / "log"
    for name in ("decode", "pose"):
        with started(name, config, whole, log, variables) as run:
            assert run.wait(600) == 0, log.read_text()
    shutil.copytree(whole, broken)
    shutil.rmtree(broken / "pose")
    with started("pose", config, broken, log, variables) as run:
        wait_for("a first video", lambda: num_done(broken) >= 1)
        wait_for("a worker at the head", lambda: workers_of(nodes[0]))[0].kill()
        wait_for("another video", lambda: num_done(broken) >= 2)
        assert workers_of(nodes[1]), "nothing of it ran on the second node"
        kill_all(nodes[1].pid)
        left = NUM_VIDEOS - num_done(broken)
        assert run.wait(600) == 0, log.read_text()
    assert left > 0, "the node died when all was done"
    assert log.read_text().count("a worker died") >= 2
    assert items(broken) == items(whole)
    assert len(items(whole)) == 3 * NUM_VIDEOS  # record, table, what pictures tell


def num_done(space: Path) -> int:
    """Videos whose poses are published."""
    return len(list(space.glob("pose/*/items/*/item.json")))


def items(space: Path) -> dict[str, bytes]:
    """Every file of every published item of the pose stage."""
    files = [path for path in space.glob("pose/*/items/*/*") if path.is_file()]
    return {path.relative_to(space).as_posix(): path.read_bytes() for path in files}

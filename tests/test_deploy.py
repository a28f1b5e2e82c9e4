"""The files of ``deploy/`` name what the project has: images, commands, versions, users, ports, variables."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
OWN_IMAGES = {"mimicmotion:cpu", "mimicmotion:cuda", "mimicmotion:${VARIANT:-cpu}"}


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def pinned(package: str) -> str:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{package}=="))


def pods() -> list[dict[str, Any]]:
    spec = read("kuberay/cluster.yaml")["spec"]
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def test_the_container_runs_as_a_user_and_has_what_it_copies() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    stages = re.findall(r"^FROM \S+ AS (\w+)$", "\n".join(lines), re.M)
    assert stages == ["cpu", "cuda"]
    user = lines.index("USER mimicmotion")
    assert all(not line.startswith("USER") for line in lines[user + 1 :])
    assert not any(line.startswith("COPY") for line in lines[:user])
    for line in lines:
        if line.startswith("COPY"):
            for source in line.split()[2:-1]:
                assert (ROOT / source).exists(), line
    (extra,) = re.findall(r"'\.\[(\w+)\]'", "\n".join(lines))
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()


def test_services_use_own_images_or_pinned_ones() -> None:
    for name, service in read("compose.yaml")["services"].items():
        image = service["image"]
        assert image in OWN_IMAGES or re.fullmatch(r"[a-z/]+:[\w.-]*\d[\w.-]*", image), name
        assert "latest" not in image
        for other in service.get("depends_on", {}):
            assert other in read("compose.yaml")["services"]


def test_only_this_machine_sees_the_pages() -> None:
    ports = [
        port for service in read("compose.yaml")["services"].values() for port in service.get("ports", [])
    ]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_secrets_are_asked_for_and_never_written() -> None:
    text = "".join(path.read_text() for path in DEPLOY.rglob("*.yaml"))
    asked = set(re.findall(r"\$\{(\w+)", text)) - {"VARIANT"}
    example = dict(line.split("=") for line in (DEPLOY / "env.example").read_text().splitlines()[1:])
    assert asked <= set(example)
    assert [name for name, value in example.items() if "PASSWORD" in name and value] == []
    ignored = subprocess.run(["git", "check-ignore", "-q", "deploy/.env"], cwd=ROOT)
    assert ignored.returncode == 0


def test_the_pool_and_the_commands_are_those_of_the_project() -> None:
    pool = yaml.safe_load((ROOT / "prefect.yaml").read_text())["definitions"]["work_pool"]["name"]
    command = " ".join(read("compose.yaml")["services"]["worker"]["command"])
    assert f"worker start --pool {pool}" in command
    assert f"work-pool create {pool}" in command
    entry = read("kuberay/job.yaml")["spec"]["entrypoint"].split()
    assert entry[:2] == ["mimicmotion", "rebuild"]
    assert (ROOT / "configs" / f"{entry[2]}.yaml").exists()
    from stages.config import load_config

    settings = load_config(ROOT / "configs" / f"{entry[2]}.yaml", [word for word in entry[3:] if "=" in word])
    assert settings.workspace.startswith("s3://")


def test_the_cluster_runs_the_pinned_ray_as_a_user_with_a_token() -> None:
    cluster = read("kuberay/cluster.yaml")
    assert cluster["spec"]["rayVersion"] == pinned("ray")
    assert (
        read("kuberay/job.yaml")["spec"]["clusterSelector"]["ray.io/cluster"] == cluster["metadata"]["name"]
    )
    # The operator's way: a token in the variables of our own containers would not reach the autoscaler's.
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["image"] in OWN_IMAGES
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_a_job_can_reach_the_cluster_that_it_is_for() -> None:
    """The operator refuses a time to live of a job whose cluster stays, and submits through the dashboard."""
    job = read("kuberay/job.yaml")["spec"]
    assert "clusterSelector" in job
    assert not job.get("shutdownAfterJobFinishes")
    assert "ttlSecondsAfterFinished" not in job
    head = read("kuberay/cluster.yaml")["spec"]["headGroupSpec"]
    assert "dashboard-host" not in head["rayStartParams"]


def test_gpu_workers_hold_what_the_paper_asks_for() -> None:
    from stages.config import load_config

    runtime = load_config(ROOT / "configs" / "paper.yaml").stages["train"].runtime
    gpus = [pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0) for pod in pods()]
    assert max(map(int, gpus)) >= runtime.workers * runtime.gpus_per_worker
    uid = re.search(r"--uid (\d+)", (DEPLOY / "Dockerfile").read_text())
    assert uid
    assert {pod["securityContext"]["runAsUser"] for pod in pods()} == {int(uid[1])}


@pytest.mark.parametrize(
    "command", [["mlflow", "server", "--help"], ["prefect", "work-pool", "create", "--help"]]
)
def test_the_options_exist(command: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=True
    ).stdout
    service = read("compose.yaml")["services"][{"mlflow": "mlflow", "prefect": "worker"}[command[0]]]
    words = " ".join(service["command"]).split("&&")[0].split()
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert len(options) >= 2
    assert [option for option in options if option not in shown] == []

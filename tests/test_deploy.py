"""The files of ``deploy/`` name what the project has: images, commands, versions, users, ports, variables."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
OPTIONAL = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
OWN_IMAGES = {"mimicmotion:cpu", "mimicmotion:cuda", "mimicmotion:${VARIANT:-cpu}"}


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def constraints() -> dict[str, tuple[str, list[str]]]:
    """Version and hashes of each package that an image may install."""
    lines = (DEPLOY / "constraints.txt").read_text().replace("\\\n", " ").splitlines()
    found = {}
    for name, version, hashes in (re.match(r"([\w.-]+)==(\S+)(.*)", line).groups() for line in lines):
        found[canonicalize_name(name)] = version, re.findall("--hash=sha256:([0-9a-f]{64})", hashes)
    return found


def pinned(package: str) -> str:
    return constraints()[canonicalize_name(package)][0]


def test_every_package_that_is_installed_with_this_one_is_pinned_with_hashes() -> None:
    """pip refuses a file of another hash than its constraint has, so each package needs one."""
    known = constraints()
    assert [name for name, (_, hashes) in known.items() if not hashes] == []
    plain = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()]
    assert {canonicalize_name(name): version for name, version in plain} == {
        name: version for name, (version, _) in known.items()
    }
    todo, seen = ["mimicmotion"], set()
    while todo:
        name = todo.pop()
        for line in map(Requirement, requires(name) or []):
            extras = ("dev", "") if name == "mimicmotion" else ("",)
            if any(line.marker is None or line.marker.evaluate({"extra": extra}) for extra in extras):
                needed = canonicalize_name(line.name)
                if needed not in seen:
                    seen.add(needed)
                    todo.append(needed)
    assert len(seen) > 100
    assert seen - known.keys() == set()


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
    (extras,) = re.findall(r"python3 deploy/requirements\.py ([\w -]+) >", "\n".join(lines))
    assert set(extras.split()) <= OPTIONAL.keys() - {"dev"}
    for package in (OPTIONAL[extra] for extra in extras.split()):
        assert all(pinned(re.split("[<>=]", name)[0]) for name in package)


def test_the_image_is_built_for_the_cuda_of_its_packages() -> None:
    """The pinned onnxruntime-gpu is built for CUDA 13, and finds no libraries of another major version."""
    (base,) = re.findall(r"^FROM nvidia/cuda:(\S+) AS cuda$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert re.fullmatch(r"13\.\d+\.\d+-cudnn-runtime-ubuntu24\.04", base)


def test_the_image_has_what_kuberays_probes_call() -> None:
    """Operators of KubeRay probe by ``wget``, and a job's submitter waits for the dashboard with it."""
    (line,) = re.findall(r"apt-get install (.+)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert "wget" in line.split()


def test_manifests_made_in_a_container_name_the_revision() -> None:
    from stages.engine.provenance import REVISION_VARIABLE

    assert f"ENV {REVISION_VARIABLE}=${{REVISION}}" in (DEPLOY / "Dockerfile").read_text()
    built = [service["build"] for service in read("compose.yaml")["services"].values() if "build" in service]
    assert built
    assert all(build["args"]["REVISION"] == "${REVISION:-}" for build in built)


def test_the_demo_of_the_compose_file_finds_its_dancers_and_keeps_what_it_makes() -> None:
    from stages.engine.config import load_config

    demo = load_config(ROOT / "configs" / "demo.yaml")
    text = (DEPLOY / "compose.yaml").read_text()
    assert Path(demo.stages["decode"].source).relative_to(ROOT).as_posix() == "workspace/dancers"
    assert "python -m mimicmotion.synthetic.world workspace/dancers " in text
    assert "workspace:/app/workspace" in read("compose.yaml")["services"]["worker"]["volumes"]
    made = re.search(r"mkdir -p (.+) && chown mimicmotion (.+)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert made
    # A new named volume takes over the owner of a folder of the image; one that is not there would be root's.
    places = {"/app/workspace"}
    for service in read("compose.yaml")["services"].values():
        if service.get("image") in OWN_IMAGES:
            mounts = [volume.split(":")[:2] for volume in service.get("volumes", [])]
            places |= {folder for source, folder in mounts if "/" not in source}
    assert "/data" in places
    assert all(places <= set(folders.split()) for folders in made.groups())


def test_gpus_are_asked_for_by_a_service_that_is_there() -> None:
    (name,) = read("compose.gpu.yaml")["services"]
    service = read("compose.gpu.yaml")["services"][name]
    assert name in read("compose.yaml")["services"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_services_use_own_images_or_pinned_ones() -> None:
    for name, service in read("compose.yaml")["services"].items():
        image = service["image"]
        assert image in OWN_IMAGES or re.fullmatch(r"[a-z/]+:[\w.-]*\d[\w.-]*", image), name
        assert "latest" not in image
        for other in service.get("depends_on", {}):
            assert other in read("compose.yaml")["services"]


def test_every_service_has_a_limit_and_a_key_of_its_own() -> None:
    services = read("compose.yaml")["services"]
    assert all(
        re.fullmatch(r"\d+[mg]|\$\{WORKER_MEMORY:-16g\}", one["mem_limit"]) for one in services.values()
    )
    keys = {name: one.get("environment", {}).get("AWS_ACCESS_KEY_ID") for name, one in services.items()}
    assert {name: key for name, key in keys.items() if key} == {"worker": "worker", "mlflow": "mlflow"}
    with_first_key = {name for name, one in services.items() if "STORE_PASSWORD" in str(one)}
    assert with_first_key == {"store", "buckets"}
    assert "STORE_PASSWORD" not in str(read("compose.yaml")["x-store"])


def test_only_this_machine_sees_the_pages() -> None:
    ports = [
        port for service in read("compose.yaml")["services"].values() for port in service.get("ports", [])
    ]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_secrets_are_asked_for_and_never_written() -> None:
    text = "".join(path.read_text() for path in DEPLOY.rglob("*.yaml"))
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text)) - {"VARIANT", "REVISION"}
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
    from stages.engine.config import load_config

    settings = load_config(ROOT / "configs" / f"{entry[2]}.yaml", [word for word in entry[3:] if "=" in word])
    assert settings.workspace.startswith("s3://")
    # Nothing but the weights and the cache is mounted: what the config names by a path would not be there.
    assert settings.stages["decode"].source.startswith("s3://")


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
        # One image for all: Ray refuses a node whose Python is another.
        assert container["image"] == "mimicmotion:cuda"
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_all_nodes_share_the_cache_that_training_reads() -> None:
    for pod in pods():
        (container,) = pod["containers"]
        variables = {one["name"]: one["value"] for one in container["env"]}
        places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert claims == {"data": "mimicmotion-data", "weights": "mimicmotion-weights"}
        assert Path(variables["MIMICMOTION_CACHE"]).is_relative_to(places["data"])
    header = (DEPLOY / "kuberay" / "cluster.yaml").read_text().partition("apiVersion")[0]
    needs = ("registry", "http://mlflow:5000", "mimicmotion-weights", "mimicmotion-data", "ReadWriteMany")
    assert [need for need in (*needs, "mimicmotion-store", "videos") if need not in header] == []


def test_a_job_can_reach_the_cluster_that_it_is_for() -> None:
    """The operator refuses a time to live and retries where the cluster stays; it submits by dashboard."""
    job = read("kuberay/job.yaml")["spec"]
    assert "clusterSelector" in job
    assert not job.get("shutdownAfterJobFinishes")
    assert "ttlSecondsAfterFinished" not in job
    assert "backoffLimit" not in job
    head = read("kuberay/cluster.yaml")["spec"]["headGroupSpec"]
    assert "dashboard-host" not in head["rayStartParams"]


def test_gpu_workers_hold_what_the_paper_asks_for() -> None:
    from stages.engine.config import load_config

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


@pytest.mark.parametrize(
    ("name", "shown"),
    [("paper", "rebuild/paper"), ("ablation/demo", "ablation/demo"), ("mine", "rebuild/demo -p config=")],
)
def test_serve_prints_the_deployment_of_its_config(
    name: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.commands.serve import deployment
    from stages.engine.config import load_config

    if name == "mine":
        for own in ("mine.yaml", "my own.yaml"):
            (tmp_path / own).write_text(f"extends: {ROOT / 'configs' / 'demo.yaml'}\n")
        assert deployment(load_config(tmp_path / "mine.yaml")) == f"{shown}{tmp_path / 'mine.yaml'}"
        # Flows run in the checkout, not where the command was given.
        monkeypatch.chdir(tmp_path)
        quoted = f"rebuild/demo -p 'config={tmp_path}/my own.yaml'"
        assert deployment(load_config("my own.yaml")) == quoted
    else:
        path = ROOT / "configs" / f"{name}.yaml"
        assert deployment(load_config(path)) == shown
        monkeypatch.chdir(tmp_path)
        sets = ["workspace=here", "train.seed=3"] if name == "paper" else ["ablation.seeds=[0]"]
        words = shlex.split(deployment(load_config(path, sets)))
        assert words[:2] == [shown, "-p"]
        given = json.loads(words[2].removeprefix("overrides="))
        wanted = sets[0].replace("here", json.dumps(str(tmp_path / "here")))
        assert given == [wanted, *sets[1:]]


@pytest.mark.parametrize(
    "written",
    [
        "decode.source='{here}/dance #1'",
        "decode.source='dance #1'",
        "decode={{source: 'dance: two', short_side_px: 96}}",
        "pose={{detector: a.onnx, wholebody: b.onnx}}",
    ],
)
def test_the_printed_command_means_the_same_config_in_any_folder(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.commands.serve import deployment
    from stages.engine.config import load_config

    monkeypatch.chdir(tmp_path)
    path = ROOT / "configs" / "demo.yaml"
    here = load_config(path, [written.format(here=tmp_path)])
    given = json.loads(shlex.split(deployment(here))[2].removeprefix("overrides="))
    monkeypatch.chdir(ROOT)
    assert load_config(path, given).resolved() == here.resolved()


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("mlflow.tracking_uri=sqlite:///my/runs.db", 'mlflow.tracking_uri="sqlite:///{here}/my/runs.db"'),
        ("mlflow={{tracking_uri: 'sqlite:///a.db'}}", 'mlflow={{"tracking_uri": "sqlite:///{here}/a.db"}}'),
        ("mlflow.tracking_uri=sqlite:///{here}/a.db", "mlflow.tracking_uri=sqlite:///{here}/a.db"),
    ],
)
def test_the_printed_command_names_a_database_in_full(
    written: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.commands.serve import deployment
    from stages.engine.config import load_config

    monkeypatch.chdir(tmp_path)
    config = load_config(ROOT / "configs" / "demo.yaml", [written.format(here=tmp_path)])
    given = json.loads(shlex.split(deployment(config))[2].removeprefix("overrides="))
    assert given == [printed.format(here=tmp_path)]


def test_what_holds_a_password_is_left_out_of_the_printed_command_and_named(tmp_path: Path) -> None:
    from flows.commands import serve
    from stages.engine.config import load_config

    sets = ["mlflow.tracking_uri=http://u:geheim@host:5000", "train.seed=3"]
    config = load_config(ROOT / "configs" / "demo.yaml", sets)
    assert serve.deployment(config) == "rebuild/demo -p 'overrides=[\"train.seed=3\"]'"
    names = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_URI", "RAY_AUTH_TOKEN")
    lines = serve._addresses(dict.fromkeys(names, "x"), 1, config)
    assert "mlflow.tracking_uri: what holds a password is not printed" in lines[-1]
    assert "geheim" not in "".join(lines)


def test_a_config_of_ones_own_with_a_shipped_name_is_its_own(tmp_path: Path) -> None:
    from flows.commands.serve import deployment
    from stages.engine.config import load_config

    own = tmp_path / "demo.yaml"
    own.write_text(f"extends: {ROOT / 'configs' / 'demo.yaml'}\ntrain: {{seed: 7}}\n")
    assert deployment(load_config(own)) == f"rebuild/demo -p config={own}"


def test_cleaning_leaves_every_workspace() -> None:
    """A workspace may hold the training of weeks; the demo's own is removed by a name that says so."""
    # Below another make, which runs the tests, it would say which folder it enters.
    dry = ["make", "--dry-run", "--no-print-directory"]
    said = {
        target: subprocess.run([*dry, target], cwd=ROOT, capture_output=True, text=True).stdout
        for target in ("clean", "clean-demo")
    }
    assert "workspace" not in said["clean"]
    removed = [word for line in said["clean-demo"].splitlines() for word in line.split()[2:]]
    assert removed == ["workspace/demo", "workspace/dancers"]

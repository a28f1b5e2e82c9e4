"""Whether this machine has what a config needs. Every check runs the real thing, none trusts a version."""

import os
import platform
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx2
import psutil

from flows.commands.needs import find_films, total_disk
from mimicmotion.errors import InputError, MachineError, MimicMotionError
from mimicmotion.weights.fetching import file_digest, wrong_weights
from mimicmotion.weights.known import known_weights
from stages.adapters.ray.environment import cluster_address
from stages.engine.config import PipelineConfig, redacted
from stages.engine.contract import Stage
from stages.engine.storage.opening import open_workspace
from stages.engine.yaml_tree import shown
from stages.pose import Pose
from stages.train import Train

_IDENTITY_GRAPH = b64decode(
    "CAgSADo3ChAKAXgSAXkiCElkZW50aXR5EgFnWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQDQ=="
)
"""ONNX graph y = x of one float, opset 13."""

_LOW_DISK_BYTES, _LITTLE_DISK_BYTES = 1 << 30, 20 << 30
_LITTLE_MEMORY_BYTES = 8 << 30
_TIMEOUT_S = 5.0
_ASSUMED_S = 20.0
"""Seconds of a film whose header cannot be read from here."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        what: what was looked at.
        state: ``ok``, ``warn`` (works, but not as one may think) or ``fail``.
        found: what is there.
        advice: what to do; empty where all is well.
    """

    what: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def examine(config: PipelineConfig) -> Iterator[Finding]:
    """Everything a config needs on this machine, one finding at a time."""
    # Where a cluster is joined its machines hold the GPUs, and ``_devices`` looks at those.
    joins = bool(cluster_address(config.settings.ray))
    wants_gpu = not joins and any(stage.runtime.gpus_per_worker > 0 for stage in config.stages.values())
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("python", _python),
        ("torch", lambda: _torch(wants_gpu)),
        ("onnxruntime", lambda: _onnxruntime(wants_gpu, config.stages.get("pose"))),
        ("decoders", _decoders),
        ("decord", _decord),
        ("memory", _memory),
        ("workspace", lambda: _workspace(config)),
        ("ray", lambda: _ray(config)),
        ("devices", lambda: _devices(config)),
        ("mlflow", lambda: _mlflow(config)),
        ("prefect", _prefect),
    )
    if "decode" in config.stages:
        checks = (("decode.source", lambda: _sources(config)), *checks)
    for what, check in checks:
        yield _guarded(what, check)
    for name, stage in config.stages.items():
        for problem in stage.check():
            yield Finding(name, "fail", problem, "correct the config")
        for field, path in stage.weight_files().items():
            yield _weights(f"{name}.{field}", path, config)


def _guarded(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except MimicMotionError as error:
        return Finding(what, "fail", str(error), "do what it says, or correct the config")
    except Exception as error:  # a doctor reports what it meets, whatever it is
        return Finding(what, "fail", f"{type(error).__name__}: {error}", "install the project again")


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _torch(wants_gpu: bool) -> Finding:
    from mimicmotion.devices import cuda_names, torch_version

    names = cuda_names()
    if not names:
        state: Literal["ok", "fail"] = "fail" if wants_gpu else "ok"
        advice = _no_cuda_advice() if wants_gpu else ""
        return Finding("torch", state, f"{torch_version()}, no CUDA device", advice)
    return Finding("torch", "ok", f"{torch_version()}: {', '.join(names)}")


def _no_cuda_advice() -> str:
    from mimicmotion.devices import built_for_cuda

    if not built_for_cuda():
        return (
            "this torch was built without CUDA: pip uninstall -y torch, then install the project again with "
            "-c constraints.txt, without an index of CPU builds (on Linux the plain package has CUDA)"
        )
    return (
        "torch has CUDA and sees no GPU: `nvidia-smi` must list one (driver 580 or later for CUDA 13), and "
        "CUDA_VISIBLE_DEVICES must not hide it"
    )


def _sources(config: PipelineConfig) -> Finding:
    try:
        return Finding("decode.source", "ok", find_films(config, None, _ASSUMED_S).known)
    except MimicMotionError as error:
        advice = "put films there, in one of the forms of docs/your-videos.md"
        return Finding("decode.source", "fail", str(error), advice)


def _devices(config: PipelineConfig) -> Finding:
    from mimicmotion.devices import num_gpus
    from stages.adapters.ray.workers import cluster_resources, connect

    if cluster_address(config.settings.ray):
        connect(config.settings.ray)
        there, where = cluster_resources(), "in the cluster"
    else:
        there, where = {"CPU": config.settings.ray.num_cpus or os.cpu_count() or 1, "GPU": num_gpus()}, "here"
    short, state = [], "ok"
    for name, stage in config.stages.items():
        runtime = stage.runtime
        for kind, word, each in (
            ("GPU", "GPU", runtime.gpus_per_worker),
            ("CPU", "core", runtime.cpus_per_worker),
        ):
            if runtime.workers * each <= there.get(kind, 0):
                continue
            wanted = runtime.workers * each
            short.append(f"{name} asks for {wanted:g} {word}{'s' * (wanted > 1)}")
            # Workers of items come as there is room; those of one training come all at once or never.
            alone = not isinstance(stage, Train) and each <= there.get(kind, 0)
            state = "warn" if alone and state != "fail" else "fail"
    found = f"{there.get('GPU', 0):g} GPUs and {there.get('CPU', 0):g} cores {where}"
    if not short:
        return Finding("devices", "ok", found)
    advice = "set fewer STAGE.runtime.workers, or name a cluster in ray.address; see docs/first-day.md"
    return Finding("devices", "warn" if state == "warn" else "fail", f"{found}; {', '.join(short)}", advice)


def _onnxruntime(wants_gpu: bool, pose: Stage | None) -> Finding:
    import numpy as np
    import onnxruntime

    from mimicmotion.pose.models.sessions import missing_for_cuda, open_session

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "identity.onnx"
        graph.write_bytes(_IDENTITY_GRAPH)
        lacking = missing_for_cuda() if wants_gpu else None
        cuda = wants_gpu and lacking is None
        providers = pose.runtime.providers if isinstance(pose, Pose) else None
        try:
            session = open_session(graph, cuda=cuda, allow_cpu=True, threads=1, providers=providers)
        except InputError as error:
            return Finding("onnxruntime", "fail", str(error), "correct pose.runtime.providers")
        session.run(None, {"x": np.ones(1, np.float32)})
    used = session.get_providers()[0]
    found = f"{onnxruntime.__version__}, a session runs on {used}"
    if wants_gpu and used == "CPUExecutionProvider":
        return Finding("onnxruntime", "fail", found, lacking or "look at ONNX Runtime's own lines")
    return Finding("onnxruntime", "ok", found)


def _decoders() -> Finding:
    import av

    missing = [f"decoder {name}" for name in ("h264", "hevc", "av1", "vp9", "ffv1") if not _has(name, "r")]
    missing += [f"encoder {name}" for name in ("libx264", "ffv1") if not _has(name, "w")]
    if missing:
        return Finding("decoders", "warn", f"PyAV {av.__version__} lacks {', '.join(missing)}", "install av")
    return Finding("decoders", "ok", f"PyAV {av.__version__}: h264, hevc, av1, vp9, ffv1")


def _has(name: str, mode: Literal["r", "w"]) -> bool:
    import av

    try:
        av.Codec(name, mode)
    except ValueError:  # PyAV's error for an unknown codec is one
        return False
    return True


def _decord() -> Finding:
    import decord
    import numpy as np

    from mimicmotion.video.files import write_preview

    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "two.mp4"
        write_preview(video, list(np.zeros((2, 64, 64, 3), np.uint8)), 12)
        frames = len(decord.VideoReader(str(video), num_threads=1))
    return Finding("decord", "ok", f"{decord.__version__} reads back {frames} frames of H.264")


def _memory() -> Finding:
    total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
    found = f"{total / 1e9:.0f} GB, {free / 1e9:.0f} GB free, {os.cpu_count()} cores"
    if free < _LITTLE_MEMORY_BYTES:
        return Finding("memory", "warn", found, "close other programs, or use fewer workers")
    return Finding("memory", "ok", found)


def _workspace(config: PipelineConfig) -> Finding:
    try:
        workspace = open_workspace(config.workspace)
        workspace.write("doctor.txt", b"written by mimicmotion doctor\n")
        workspace.remove("doctor.txt")
    except (OSError, MachineError) as error:
        why = getattr(error, "strerror", None) or error
        found = f"{redacted(config.workspace)} cannot be written ({why})"
        return Finding("workspace", "fail", found, "choose another place: --set workspace=FOLDER")
    free, needed = workspace.free_bytes(), total_disk(config)
    found = f"{workspace.shown}, writable; {workspace.disk} has {free / 1e9:.1f} GB free"
    if needed is not None:
        found += f"; all stages are estimated at {needed / 1e9:.1f} GB"
    if free < max(needed or _LITTLE_DISK_BYTES, _LOW_DISK_BYTES):
        # A workspace that holds some of it already needs less.
        state: Literal["warn", "fail"] = "fail" if free < _LOW_DISK_BYTES else "warn"
        return Finding("workspace", state, found, "make room, or --set workspace=FOLDER on a larger disk")
    return Finding("workspace", "ok", found)


def _ray(config: PipelineConfig) -> Finding:
    from stages.adapters.ray.workers import cluster_resources, connect, ray_version

    if not cluster_address(config.settings.ray):
        return Finding("ray", "ok", f"{ray_version()}, starts on this machine for each run")
    try:
        connect(config.settings.ray)
    except MimicMotionError as error:
        return Finding(
            "ray", "fail", str(error), "start the cluster, or leave out ray.address and RAY_ADDRESS"
        )
    there = cluster_resources()
    return Finding(
        "ray", "ok", f"{ray_version()}, {there.get('CPU', 0):g} CPUs, {there.get('GPU', 0):g} GPUs"
    )


def _mlflow(config: PipelineConfig) -> Finding:
    from stages.adapters.mlflow.client import reach

    try:
        return Finding("mlflow", "ok", reach(config))
    except Exception as error:
        return Finding("mlflow", "fail", str(error).splitlines()[0], "start it, or set mlflow.tracking_uri")


def _prefect() -> Finding:
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        return Finding("prefect", "ok", "a temporary server for each rebuild (PREFECT_API_URL is not set)")
    try:
        httpx2.get(f"{address.rstrip('/')}/health", timeout=_TIMEOUT_S).raise_for_status()
    except httpx2.HTTPError as error:
        advice = "start the server, or unset PREFECT_API_URL"
        return Finding("prefect", "fail", f"{redacted(address)}: {error}", advice)
    return Finding("prefect", "ok", redacted(address))


def _weights(what: str, path: Path, config: PipelineConfig) -> Finding:
    fetch = f"mimicmotion weights fetch {config.source}"
    if not path.exists():
        advice = f"{fetch}, or correct the path"
        return Finding(what, "fail", f"there is no {shown(path)}", advice)
    if wrong := wrong_weights(path):
        return Finding(what, "fail", wrong, f"delete it, then {fetch}")
    known = known_weights(path)
    expected = {file.sha256 for file in known.files} if known and not known.is_folder else {None}
    if path.is_dir() or expected == {None}:
        return Finding(what, "ok", shown(path))
    found = file_digest(path)
    if found not in expected:
        wrong = f"{shown(path)}: sha256 {found[:12]}... is not that of {path.name}"
        return Finding(what, "fail", wrong, f"delete it, then {fetch}")
    return Finding(what, "ok", f"{shown(path)}, sha256 {found[:12]}... as published")

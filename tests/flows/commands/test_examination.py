"""The doctor runs the real thing and says what is missing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_stages import Letters, make_config

from flows.commands.examination import Finding, _onnxruntime, examine
from mimicmotion.video.files import write_preview
from stages.engine.config import RaySettings, load_config
from stages.engine.contract import Runtime
from stages.pose import Pose


def findings(config) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(config)}


def test_a_machine_without_a_gpu(tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    found = findings(make_config(tmp_path / "space", letters))
    assert {found[name].state for name in ("python", "torch", "decoders", "decord", "ray")} == {"ok"}
    assert "reads back 2 frames" in found["decord"].found
    assert found["onnxruntime"].found.endswith("Provider")
    assert "a session runs on" in found["onnxruntime"].found
    assert (found["mlflow"].state, found["prefect"].state) == ("fail", "fail")
    assert "PREFECT_API_URL" in found["prefect"].advice


def test_a_session_is_opened_with_the_providers_of_the_config(tmp_path: Path) -> None:
    models = {"detector": tmp_path / "d.onnx", "wholebody": tmp_path / "w.onnx"}
    pose = Pose(**models, runtime={"providers": {"CPUExecutionProvider": {}}})
    assert _onnxruntime(False, pose).state == "ok"
    found = _onnxruntime(False, Pose(**models, runtime={"providers": {"CudaProvider": {}}}))
    assert (found.state, found.advice) == ("fail", "correct pose.runtime.providers")
    assert "has no execution provider CudaProvider; it has" in found.found


def test_what_a_config_needs_and_is_not_there(tmp_path: Path, letters: Letters, monkeypatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    stage = letters.model_copy(
        update={"weights": tmp_path / "gone.onnx", "runtime": Runtime(gpus_per_worker=1)}
    )
    found = findings(make_config(tmp_path / "space", stage))
    assert found["torch"].state == "fail"
    assert "built without CUDA" in found["torch"].advice or "`nvidia-smi` must list" in found["torch"].advice
    assert (found["devices"].state, found["devices"].found[:7]) == ("fail", "0 GPUs ")
    assert "letters asks for 1 GPU" in found["devices"].found
    assert found["letters.weights"].state == "fail"
    assert "gone.onnx" in found["letters.weights"].found
    wrong = tmp_path / "yolox_l.onnx"
    wrong.write_text("not it")
    found = findings(make_config(tmp_path / "space", letters.model_copy(update={"weights": wrong})))
    assert "is not that of yolox_l.onnx" in found["letters.weights"].found


def test_what_a_check_says_itself_is_the_advice(tmp_path: Path, letters: Letters, monkeypatch) -> None:
    import torch

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_gpus = letters.model_copy(update={"runtime": Runtime(gpus_per_worker=1)})
    config = make_config(tmp_path / "file" / "space", on_gpus)
    settings = config.settings.model_copy(update={"ray": RaySettings(address="127.0.0.1:9")})
    found = findings(replace(config, settings=settings))
    assert "cannot be written" in found["workspace"].found
    assert "--set workspace=FOLDER" in found["workspace"].advice
    assert "127.0.0.1:9: cannot be reached" in found["devices"].found
    assert "install the project again" not in found["devices"].advice
    # A flow's machine needs no GPU where a cluster has them.
    assert {found[name].state for name in ("torch", "onnxruntime")} == {"ok"}


def test_little_room_is_said(tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.commands.examination import _workspace
    from stages.engine.storage.workspace import LocalWorkspace

    config = make_config(tmp_path / "space", letters)
    for free, state in ((1 << 20, "fail"), (5 << 30, "warn"), (1 << 40, "ok")):
        monkeypatch.setattr(LocalWorkspace, "free_bytes", lambda self, free=free: free)
        assert _workspace(config).state == state


def test_sources_devices_and_disk_of_a_real_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.commands.examination import _devices, _sources, _weights, _workspace
    from stages.engine.storage.workspace import LocalWorkspace

    films = tmp_path / "films"
    overrides = [f"workspace={tmp_path / 'space'}", f"decode.source={films}"]
    config = load_config("demo", overrides)
    assert _sources(config).state == "fail"
    assert "--set decode.source=FOLDER" in _sources(config).found
    films.mkdir()
    write_preview(films / "a.mp4", list(np.zeros((24, 192, 128, 3), np.uint8)), 12)
    assert (
        _sources(config).found
        == "1 films, 0.0 minutes by the headers of 1: about 128x192 (short side first), 12 frames a second"
    )
    monkeypatch.setattr(LocalWorkspace, "free_bytes", lambda self: 2 << 30)
    assert "all stages are estimated at 0." in _workspace(config).found
    assert _workspace(config).state == "ok"
    # Sixty steps write two checkpoints, whatever number may be kept.
    assert _workspace(load_config("demo", [*overrides, "train.runtime.keep=200"])).state == "ok"
    every = ["train.runtime.keep=200", "train.runtime.checkpoint_every=1"]
    many = load_config("demo", [*overrides, *every])
    assert _workspace(many).state == "warn"
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert _devices(load_config("demo", [*overrides, "decode.runtime.workers=9"])).state == "warn"
    group = _devices(load_config("demo", [*overrides, "train.runtime.cpus_per_worker=9"]))
    assert (group.state, "train asks for 9 cores" in group.found) == ("fail", True)
    alone = ("distill.batch=10", "distill.runtime.workers=10")
    distilled = _devices(load_config("demo-distilled", [*overrides, *alone]))
    assert (distilled.state, "distill asks for 20 cores" in distilled.found) == ("fail", True)
    missing = _weights("pose.detector", tmp_path / "gone.onnx", config)
    assert "weights fetch" in missing.advice
    assert "demo.yaml" in missing.advice

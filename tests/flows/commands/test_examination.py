"""The doctor runs the real thing and says what is missing."""

from pathlib import Path

import pytest
from fake_stages import Letters, make_config

from flows.commands.examination import Finding, examine
from stages.engine.contract import Runtime


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
    assert found["letters.weights"].state == "fail"
    assert "gone.onnx" in found["letters.weights"].found
    wrong = tmp_path / "yolox_l.onnx"
    wrong.write_text("not it")
    found = findings(make_config(tmp_path / "space", letters.model_copy(update={"weights": wrong})))
    assert "is not that of yolox_l.onnx" in found["letters.weights"].found


def test_little_room_is_said(tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.commands.examination import _workspace
    from stages.engine.storage.workspace import LocalWorkspace

    config = make_config(tmp_path / "space", letters)
    for free, state in ((1 << 20, "fail"), (5 << 30, "warn"), (1 << 40, "ok")):
        monkeypatch.setattr(LocalWorkspace, "free_bytes", lambda self, free=free: free)
        assert _workspace(config).state == state

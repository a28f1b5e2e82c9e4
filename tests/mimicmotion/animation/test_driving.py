from pathlib import Path

import pytest

import mimicmotion.synthetic
from mimicmotion.pose.models.estimator import open_estimator
from mimicmotion.pose.models.sessions import missing_for_cuda

WEIGHTS = Path(mimicmotion.synthetic.__file__).parent / "weights"


def test_poses_are_found_on_the_cpu_where_only_torch_can_use_the_gpu(caplog):
    """A single driving video is no reason to refuse: nobody could set a stage's field here."""
    if missing_for_cuda() is None:
        pytest.skip("this machine has CUDA")
    models = open_estimator(WEIGHTS / "detector.onnx", WEIGHTS / "wholebody.onnx", cuda=True, allow_cpu=True)
    assert models.detector.graph.session.get_providers() == ["CPUExecutionProvider"]
    assert "detector.onnx runs on the CPU" in caplog.text
    assert "wholebody.onnx runs on the CPU" in caplog.text

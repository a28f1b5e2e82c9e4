"""A session runs where it was asked to run, or says what is missing."""

import onnx
import pytest
from onnx import TensorProto, helper

from mimicmotion.errors import InputError, WeightsError
from mimicmotion.pose.models import sessions
from mimicmotion.pose.models.sessions import Beginning, ImageGraph, missing_for_cuda, open_session


@pytest.fixture
def without_cuda():
    reason = missing_for_cuda()
    if reason is None:
        pytest.skip("this machine has CUDA")
    return reason


def test_cuda_that_is_missing_is_an_error(small_detector, without_cuda):
    with pytest.raises(InputError, match=r"set runtime\.allow_cpu of this stage") as caught:
        open_session(small_detector(None), cuda=True, allow_cpu=False, threads=1)
    assert without_cuda in str(caught.value)


def test_the_cpu_is_taken_with_a_warning_where_it_is_allowed(small_detector, without_cuda, caplog):
    session = open_session(small_detector(None), cuda=True, allow_cpu=True, threads=1)
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert f"runs on the CPU, many times slower: {without_cuda}" in caplog.text
    caplog.clear()
    open_session(small_detector(None), cuda=False, allow_cpu=True, threads=1)
    assert not caplog.text, "the CPU was what was asked for"


def test_on_cuda_memory_grows_by_what_is_needed_and_no_search_is_repeated(small_detector, monkeypatch):
    class Session:
        def __init__(self, path, options, providers):
            self.given = providers

        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(sessions, "missing_for_cuda", lambda: None)
    monkeypatch.setattr(sessions.ort, "InferenceSession", Session)
    cuda, cpu = open_session(small_detector(None), cuda=True, allow_cpu=False, threads=1).given
    assert cuda == (
        "CUDAExecutionProvider",
        {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"},
    )
    assert cpu == "CPUExecutionProvider"


@pytest.mark.gpu
def test_cuda_is_taken_where_it_is_there(small_detector):
    reason = missing_for_cuda()
    if reason is not None:
        pytest.skip(reason)
    session = open_session(small_detector(None), cuda=True, allow_cpu=False, threads=1)
    assert session.get_providers()[0] == "CUDAExecutionProvider"


def test_facts_come_from_the_graph(small_detector):
    path = small_detector(4, half=True)
    graph = ImageGraph.of(open_session(path, cuda=False, allow_cpu=False, threads=1), path)
    assert (graph.input_name, graph.batch, graph.height_px, graph.width_px) == ("images", 4, 64, 64)
    assert graph.dtype.__name__ == "float16"
    assert (
        ImageGraph.of(open_session(small_detector(None), cuda=False, allow_cpu=False, threads=1), path).batch
        is None
    )


def test_a_graph_without_picture_input_is_refused(tmp_path):
    from onnx import TensorProto, helper, save

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "free", [value], [out])
    path = tmp_path / "free.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with pytest.raises(WeightsError, match="fixed height"):
        ImageGraph.of(open_session(path, cuda=False, allow_cpu=True, threads=1), path)


@pytest.mark.parametrize(
    ("constant", "top"), [({"value_float": 255.0}, 255.0), ({"value_floats": [0.5]}, 1.0)]
)
def test_white_is_told_from_constants_that_are_no_tensors(tmp_path, constant, top):
    nodes = [
        helper.make_node("Constant", [], ["number"], **constant),
        helper.make_node("Div", ["x", "number"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "xy")
    onnx.save(helper.make_model(helper.make_graph(nodes, "small", [x], [y])), tmp_path / "small.onnx")
    assert Beginning.of(tmp_path / "small.onnx") == Beginning(frozenset({"Div"}), top)

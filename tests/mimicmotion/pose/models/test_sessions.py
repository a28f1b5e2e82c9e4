"""A session runs where it was asked to run, or says what is missing."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mimicmotion.errors import InputError, MimicMotionError, WeightsError
from mimicmotion.pose.models import sessions
from mimicmotion.pose.models.sessions import (
    Beginning,
    ImageGraph,
    first_output,
    missing_for_cuda,
    open_session,
)


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
    assert cpu == ("CPUExecutionProvider", {})


def test_providers_are_asked_for_in_order_with_their_options(small_detector, monkeypatch):
    def session(cuda, providers, has=None):
        class Session:
            def __init__(self, path, options, providers):
                self.given = dict(providers)

            def get_providers(self):
                return [*self.given] if has is None else has

        monkeypatch.setattr(sessions.ort, "InferenceSession", Session)
        made = open_session(small_detector(None), cuda=cuda, allow_cpu=False, threads=1, providers=providers)
        return made.given

    monkeypatch.setattr(sessions, "missing_for_cuda", lambda: None)
    wanted = {
        "CPUExecutionProvider": {"a": 1},
        "TensorrtExecutionProvider": {"trt_engine_cache_enable": 1},
        "CUDAExecutionProvider": {"cudnn_conv_algo_search": "EXHAUSTIVE"},
    }
    given = session(True, wanted)
    assert [*given] == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert given["TensorrtExecutionProvider"] == {"trt_engine_cache_enable": 1}
    assert given["CUDAExecutionProvider"] == {
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
    }
    assert given["CPUExecutionProvider"] == {"a": 1}
    assert session(False, wanted) == {"CPUExecutionProvider": {"a": 1}}, "the GPU belongs to others"
    with pytest.raises(InputError, match="TensorrtExecutionProvider was refused"):
        session(True, wanted, has=["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(InputError, match=r"no execution provider CudaProvider; it has .*CPUExec"):
        session(True, {"CudaProvider": {}})


@pytest.mark.parametrize("batch", [None, 4])
def test_a_graph_in_half_gives_nearly_the_same_from_a_file_or_by_conversion(small_wholebody, batch):
    pictures = np.random.default_rng(0).random((6, 3, 64, 64), dtype=np.float32)

    def outputs(half_file, half):
        path = small_wholebody(batch, half=half_file)
        session = open_session(path, cuda=False, allow_cpu=True, threads=1, half=half)
        graph = ImageGraph.of(session, path)
        found = graph.run(pictures, 4)
        assert {values.dtype for values in found} == {np.dtype(np.float32)}
        assert graph.dtype is (np.float16 if half_file else np.float32), "inputs are as the file has them"
        return np.concatenate([values.ravel() for values in found])

    full = outputs(False, False)
    from_file, converted, both = outputs(True, False), outputs(False, True), outputs(True, True)
    span = np.abs(full).max()
    for halved in (from_file, converted):
        assert 0 < np.abs(halved - full).max() < 0.005 * span
    np.testing.assert_array_equal(both, from_file)


def test_inputs_and_outputs_are_bound_and_a_batch_does_not_spoil_the_one_before(small_wholebody):
    path = small_wholebody(None)
    graph = ImageGraph.of(open_session(path, cuda=False, allow_cpu=True, threads=1), path)
    batches = np.random.default_rng(0).random((4, 3, 3, 64, 64), dtype=np.float32)
    plain = [graph.session.run(None, {"images": batch}) for batch in batches]
    found = [graph.run(batch[:, ::-1][:, ::-1], 8) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda batch: graph.run(batch, 8), batches))
    for wanted, one, other in zip(plain, found, at_once, strict=True):
        for values, bound, threaded in zip(wanted, one, other, strict=True):
            np.testing.assert_array_equal(bound, values)
            np.testing.assert_array_equal(threaded, values)


def test_a_run_that_onnx_runtime_gives_up_names_the_graph(tmp_path):
    size = [3, 2, 2]
    nodes = [
        helper.make_node("Concat", ["x", "x"], ["y"], axis=0),
        helper.make_node("Reshape", ["y", "shape"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *size])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [helper.make_tensor("shape", TensorProto.INT64, [1], [7])],
    )
    path = tmp_path / "graph.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    session = open_session(path, cuda=False, allow_cpu=True, threads=1)
    pictures = np.zeros((1, *size), np.float32)
    for call in (
        lambda: ImageGraph.of(session, path).run(pictures, 8),
        lambda: first_output(session, pictures, path),
    ):
        with pytest.raises(MimicMotionError, match=r"graph\.onnx could not be run on CPU"):
            call()


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
    assert (graph.input_name, graph.batch, graph.size) == ("images", 4, (64, 64))
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

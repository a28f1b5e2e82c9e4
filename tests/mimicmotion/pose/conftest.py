"""Small ONNX graphs with random weights, of the form of the real ones."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def save(path, nodes, weights, batch, shapes, half):
    """Write a graph with input (batch, 3, 64, 64) and the given outputs."""
    axis = "n" if batch is None else batch
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    tensors = [
        numpy_helper.from_array(value if value.dtype == np.int64 else value.astype(dtype), name)
        for name, value in weights.items()
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", kind, [axis, 3, 64, 64])],
        [helper.make_tensor_value_info(name, kind, [axis, *shape]) for name, shape in shapes.items()],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture
def small_detector(tmp_path):
    """Writes a YOLOX-form graph: one row of 85 numbers per cell at strides 8, 16, 32."""

    def write(batch, half=False):
        random = np.random.default_rng(1)
        nodes, weights, parts = [], {"shape": np.array([0, 85, -1], np.int64)}, []
        for stride in (8, 16, 32):
            weights[f"w{stride}"] = random.normal(0, 0.002 / stride, (85, 3, stride, stride))
            nodes += [
                helper.make_node("Conv", ["images", f"w{stride}"], [f"c{stride}"], strides=[stride, stride]),
                helper.make_node("Reshape", [f"c{stride}", "shape"], [f"r{stride}"]),
                helper.make_node("Transpose", [f"r{stride}"], [f"t{stride}"], perm=[0, 2, 1]),
            ]
            parts.append(f"t{stride}")
        weights["bias"] = np.where(np.arange(85) >= 4, 0.62, 0.0)
        nodes += [
            helper.make_node("Concat", parts, ["all"], axis=1),
            helper.make_node("Add", ["all", "bias"], ["output"]),
        ]
        path = tmp_path / f"detector-{batch}-{half}.onnx"
        return save(path, nodes, weights, batch, {"output": (84, 85)}, half)

    return write


@pytest.fixture
def small_wholebody(tmp_path):
    """Writes a SimCC-form graph: 133 vectors of 128 bins along x and along y."""

    def write(batch, half=False):
        random = np.random.default_rng(2)
        weights = {
            "w": random.normal(0, 0.05, (133, 3, 8, 8)),
            "shape": np.array([0, 133, 64], np.int64),
            "wx": random.normal(0, 0.2, (64, 128)),
            "wy": random.normal(0, 0.2, (64, 128)),
        }
        nodes = [
            helper.make_node("Conv", ["images", "w"], ["c"], strides=[8, 8]),
            helper.make_node("Reshape", ["c", "shape"], ["r"]),
            helper.make_node("MatMul", ["r", "wy"], ["simcc_y"]),
            helper.make_node("MatMul", ["r", "wx"], ["simcc_x"]),
        ]
        path = tmp_path / f"wholebody-{batch}-{half}.onnx"
        # The other way round than usual: outputs are told apart by name.
        return save(path, nodes, weights, batch, {"simcc_y": (133, 128), "simcc_x": (133, 128)}, half)

    return write

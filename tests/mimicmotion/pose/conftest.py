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


@pytest.fixture
def small_heatmaps(tmp_path):
    """Writes a ViTPose-form graph: heatmaps of 16 x 16 cells, which may go through a node first."""

    def write(batch, points=133, first=None):
        weights = {"w": np.random.default_rng(3).normal(0, 0.05, (points, 3, 4, 4))}
        nodes = [
            helper.make_node("Conv", ["first" if first else "images", "w"], ["heatmaps"], strides=[4, 4])
        ]
        if first:
            nodes.insert(0, first[0])
            weights["constant"] = first[1]
        path = tmp_path / f"heatmaps-{batch}-{points}-{first and first[1]}.onnx"
        return save(path, nodes, weights, batch, {"heatmaps": (points, 16, 16)}, False)

    return write


@pytest.fixture
def box_detector(tmp_path):
    """Writes a graph that finds the same boxes in every picture of 64 x 64, in a form of ``boxes``."""

    def write(form, rows, first=()):
        """``rows`` (k, 6): corners, score, class. ``first``: kinds of nodes that the pictures go through."""
        rows, number = np.asarray(rows, np.float32), len(rows)
        parts = {
            "mmdeploy": {"dets": rows[:, :5], "labels": rows[:, 5].astype(np.int64)},
            "detr": {"labels": rows[:, 5].astype(np.int64), "boxes": rows[:, :4], "scores": rows[:, 4]},
            "yolov10": {"output0": rows},
        }[form]
        kinds = {np.float32: TensorProto.FLOAT, np.int64: TensorProto.INT64}
        inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 64, 64])]
        if form == "detr":
            inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["n", 2]))
        weights = {
            "starts": np.zeros(4, np.int64), "ends": np.full(4, 64, np.int64),
            "number": np.full(1, 255.0, np.float32), "w": np.zeros((1, 3, 64, 64), np.float32),
            "axes": np.array([1, 2, 3], np.int64),
        }  # fmt: skip
        taken, nodes = "images", []
        for place, kind in enumerate(first):
            nodes.append(
                helper.make_node(
                    kind, [taken, *({"Slice": ["starts", "ends"]}.get(kind, ["number"]))], [f"t{place}"]
                )
            )
            taken = f"t{place}"
        nodes.append(helper.make_node("Conv", [taken, "w"], ["zero"]))
        nodes.append(helper.make_node("ReduceSum", ["zero", "axes"], ["none"], keepdims=0))
        nodes.append(helper.make_node("Cast", ["none"], ["whole"], to=TensorProto.INT64))
        for name, value in parts.items():
            weights[name + "_all"] = value[None]
            weights[name + "_shape"] = np.array([-1] + [1] * value.ndim, np.int64)
            nodes += [
                helper.make_node(
                    "Reshape",
                    ["none" if value.dtype == np.float32 else "whole", name + "_shape"],
                    [name + "_zero"],
                ),
                helper.make_node("Add", [name + "_zero", name + "_all"], [name]),
            ]
        outputs = [
            helper.make_tensor_value_info(name, kinds[value.dtype.type], ["n", "k", *value.shape[1:]])
            for name, value in parts.items()
        ]
        tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
        graph = helper.make_graph(nodes, "boxes", inputs, outputs, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path = tmp_path / f"{form}-{number}-{'-'.join(first)}.onnx"
        onnx.save(model, path)
        return path

    return write

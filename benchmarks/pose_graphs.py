"""Writes two ONNX graphs of the form and size of DWPose's files, with random weights.

    python benchmarks/pose_graphs.py FOLDER

``detector.onnx`` has the layers of YOLOX-l (640 x 640 -> 8400 x 85) and always answers with one person in the
middle; ``wholebody.onnx`` has those of a CSPNeXt-l with a SimCC head (384 x 288 -> 133 x 576 and 133 x 768).
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STAGES = ((128, 3, 3), (256, 9, 6), (512, 9, 6), (1024, 3, 3))
"""Channels of the backbone's stages, and blocks of YOLOX-l and of CSPNeXt-l; each halves the size."""


class GraphBuilder:
    """Collects nodes and random weights."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)
        self._count = 0

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        """Add a node and return the name of its output."""
        self._count += 1
        name = output or f"{kind}{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        """Add a weight and return its name."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def random(self, *shape: int) -> str:
        """Add random weights that keep the scale of what goes through."""
        fan = int(np.prod(shape[1:]))
        return self.constant(self._random.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(fan)))

    def conv(self, x: str, channels: tuple[int, int], size: int, stride: int = 1, groups: int = 1) -> str:
        """Convolution and SiLU."""
        weights = self.random(channels[1], channels[0] // groups, size, size)
        pads = [size // 2] * 4
        y = self.node("Conv", x, weights, strides=[stride, stride], pads=pads, group=groups)
        return self.node("Mul", y, self.node("Sigmoid", y))

    def block(self, x: str, channels: int, depthwise: bool) -> str:
        """A residual bottleneck: 1x1 and 3x3, or 3x3 and a depthwise 5x5 with 1x1."""
        if not depthwise:
            y = self.conv(self.conv(x, (channels, channels), 1), (channels, channels), 3)
        else:
            y = self.conv(self.conv(x, (channels, channels), 3), (channels, channels), 5, groups=channels)
            y = self.conv(y, (channels, channels), 1)
        return self.node("Add", x, y)

    def csp(self, x: str, channels: tuple[int, int], num: int, depthwise: bool = False) -> str:
        """Two branches of half the channels, one through blocks."""
        half = channels[1] // 2
        main, side = self.conv(x, (channels[0], half), 1), self.conv(x, (channels[0], half), 1)
        for _ in range(num):
            main = self.block(main, half, depthwise)
        return self.conv(self.node("Concat", main, side, axis=1), (2 * half, channels[1]), 1)

    def pyramid(self, x: str, channels: int) -> str:
        """Spatial pyramid pooling: the largest values near each cell, at three distances."""
        x = self.conv(x, (channels, channels // 2), 1)
        pooled = [
            self.node("MaxPool", x, kernel_shape=[side, side], pads=[side // 2] * 4) for side in (5, 9, 13)
        ]
        return self.conv(self.node("Concat", x, *pooled, axis=1), (2 * channels, channels), 1)

    def backbone(self, x: str, depthwise: bool) -> list[str]:
        """Return the features at strides 8, 16 and 32."""
        if depthwise:
            x = self.conv(self.conv(x, (3, 32), 3, stride=2), (32, 32), 3)
        x = self.conv(x, (32 if depthwise else 3, 64), 3, stride=1 if depthwise else 2)
        before, features = 64, []
        for channels, num, num_depthwise in STAGES:
            x = self.conv(x, (before, channels), 3, stride=2)
            if channels == STAGES[-1][0]:
                x = self.pyramid(x, channels)
            x = self.csp(x, (channels, channels), num_depthwise if depthwise else num, depthwise)
            features.append(x)
            before = channels
        return features[1:]

    def save(self, path: Path, size: tuple[int, int], batch: int | str, outputs: dict[str, tuple]) -> None:
        """Write the graph with input (batch, 3, height, width)."""
        shape = [batch, 3, *size]
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, *s]) for n, s in outputs.items()],
            self.weights,
        )
        opsets = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def build_detector(path: Path, batch: int | str = "batch", size: int = 640) -> None:
    """Write a graph with the layers of YOLOX-l that finds one person in the middle."""
    builder = GraphBuilder()
    low, middle, high = builder.backbone("input", depthwise=False)
    scales = builder.constant(np.array([1, 1, 2, 2], dtype=np.float32))

    def merge(x: str, skip: str, channels: tuple[int, int]) -> str:
        return builder.csp(builder.node("Concat", x, skip, axis=1), channels, 3)

    def double(x: str) -> str:
        return builder.node("Resize", x, "", scales, mode="nearest")

    top = builder.conv(high, (1024, 512), 1)
    mid = builder.conv(merge(double(top), middle, (1024, 512)), (512, 256), 1)
    out8 = merge(double(mid), low, (512, 256))
    out16 = merge(builder.conv(out8, (256, 256), 3, stride=2), mid, (512, 512))
    out32 = merge(builder.conv(out16, (512, 512), 3, stride=2), top, (1024, 1024))
    rows = [_head(builder, *each) for each in ((out8, 256), (out16, 512), (out32, 1024))]
    joined = builder.node("Transpose", builder.node("Concat", *rows, axis=2), perm=[0, 2, 1])
    faint = builder.node("Mul", joined, builder.constant(np.float32(1e-6).reshape(1)))
    builder.node("Add", faint, builder.constant(_one_person(size)), output="output")
    builder.save(path, (size, size), batch, {"output": (_num_cells(size), 85)})


def _head(builder: GraphBuilder, x: str, channels: int) -> str:
    x = builder.conv(x, (channels, 256), 1)
    classes, boxes = x, x
    for _ in range(2):
        classes = builder.conv(classes, (256, 256), 3)
        boxes = builder.conv(boxes, (256, 256), 3)
    parts = [builder.conv(boxes, (256, 5), 1), builder.conv(classes, (256, 80), 1)]
    flat = builder.constant(np.array([0, 85, -1], dtype=np.int64))
    return builder.node("Reshape", builder.node("Concat", *parts, axis=1), flat)


def _num_cells(size: int) -> int:
    return sum((size // stride) ** 2 for stride in (8, 16, 32))


def _one_person(size: int) -> np.ndarray:
    """Rows (1, cells, 85) of nobody, but for one person in the middle, as YOLOX writes it."""
    rows = np.zeros((1, _num_cells(size), 85), dtype=np.float32)
    side = size // 32
    middle = _num_cells(size) - side * side + (side // 2) * side + side // 4
    rows[0, middle, :6] = (0.0, 0.0, np.log(side * 0.3), np.log(side * 0.8), 0.95, 0.95)
    return rows


def build_wholebody(path: Path, batch: int | str = "batch", size: tuple[int, int] = (384, 288)) -> None:
    """Write a graph with the layers of CSPNeXt-l and a SimCC head of two bins per pixel."""
    builder = GraphBuilder()
    high = builder.backbone("input", depthwise=True)[-1]
    cells = (size[0] // 32) * (size[1] // 32)
    points = builder.conv(high, (1024, 133), 7)
    flat = builder.node("Reshape", points, builder.constant(np.array([0, 133, -1], dtype=np.int64)))
    hidden = builder.node("MatMul", flat, builder.random(cells, 256))
    for name, side in (("simcc_x", size[1]), ("simcc_y", size[0])):
        builder.node("MatMul", hidden, builder.random(256, 2 * side), output=name)
    shapes = {"simcc_x": (133, 2 * size[1]), "simcc_y": (133, 2 * size[0])}
    builder.save(path, size, batch, shapes)


def main() -> None:
    """Write both graphs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    build_detector(folder / "detector.onnx")
    build_wholebody(folder / "wholebody.onnx")
    for path in sorted(folder.glob("*.onnx")):
        print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()

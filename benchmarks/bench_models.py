"""Synthetic models for benchmarks/bench_self.py, made with onnx.helper alone: no download, no framework."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class Network:
    """A graph in the making: every method adds a layer and gives the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(0)

    def weight(self, values: NDArray[np.float32]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def normal(self, *shape: int) -> NDArray[np.float32]:
        scale = math.sqrt(2 / math.prod(shape[1:]))
        return np.asarray(self.random.standard_normal(shape, dtype=np.float32) * np.float32(scale))

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], name=f"n{len(self.nodes)}", **attributes))
        return out

    def conv(self, x: str, before: int, after: int, size: int = 1, stride: int = 1) -> str:
        w = self.weight(self.normal(after, before, size, size))
        pads = [size // 2] * 4
        return self.node("Conv", [x, w], kernel_shape=[size, size], pads=pads, strides=[stride, stride])

    def normalise(self, x: str, channels: int) -> str:
        scale, var = (self.random.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(2))
        bias, mean = (self.random.normal(0, 0.1, channels).astype(np.float32) for _ in range(2))
        return self.node("BatchNormalization", [x, *(self.weight(v) for v in (scale, bias, mean, var))])

    def save(self, path: Path, x: list[int | str], y: list[int | str], last: str) -> None:
        self.nodes[-1].output[0] = "y"
        assert last == f"t{len(self.nodes) - 1}"
        graph = helper.make_graph(
            self.nodes,
            "benchmark",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
            self.weights,
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def chain(path: Path, nodes: int) -> None:
    """1x1 convolutions of 8 channels and ReLUs in turn."""
    net, x = Network(), "x"
    for k in range(nodes // 2):
        x = net.node("Relu", [net.conv(x, 3 if k == 0 else 8, 8)])
    net.save(path, ["batch", 3, 4, 4], ["batch", 8, 4, 4], x)


def dense(path: Path, layers: int) -> None:
    """Matrix products of 2048 x 2048 (16.8 MB each) and ReLUs in turn."""
    net, x = Network(), "x"
    for _ in range(layers):
        x = net.node("Relu", [net.node("MatMul", [x, net.weight(net.normal(2048, 2048))])])
    net.save(path, ["batch", 2048], ["batch", 2048], x)


def resnet50(path: Path) -> None:
    """ResNet-50 (He et al., CVPR 2016; stride in the 3x3 convolution) with random weights, BatchNorm not folded."""
    net = Network()
    x = net.node("Relu", [net.normalise(net.conv("x", 3, 64, 7, 2), 64)])
    x = net.node("MaxPool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = net.node("Relu", [net.normalise(net.conv(x, channels, width), width)])
            y = net.node("Relu", [net.normalise(net.conv(y, width, width, 3, stride), width)])
            y = net.normalise(net.conv(y, width, 4 * width), 4 * width)
            if not block:
                x = net.normalise(net.conv(x, channels, 4 * width, 1, stride), 4 * width)
            x, channels = net.node("Relu", [net.node("Add", [y, x])]), 4 * width
    x = net.node("Flatten", [net.node("GlobalAveragePool", [x])])
    x = net.node("Gemm", [x, net.weight(net.normal(1000, channels)), net.weight(net.normal(1000, 1)[:, 0])], transB=1)
    net.save(path, ["batch", 3, 224, 224], ["batch", 1000], x)


def mobilenet(path: Path) -> None:
    """MobileNetV2 (Sandler et al., CVPR 2018) with random weights, BatchNorm folded."""
    net = Network()

    def clipped(x: str) -> str:
        low, high = (net.weight(np.array(bound, np.float32)) for bound in (0, 6))
        return net.node("Clip", [x, low, high])

    def depthwise(x: str, channels: int, stride: int) -> str:
        kernel = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [stride, stride], "group": channels}
        return net.node("Conv", [x, net.weight(net.normal(channels, 1, 3, 3))], **kernel)

    x, channels = clipped(net.conv("x", 3, 32, 3, 2)), 32
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, width, blocks, first in stages:
        for block in range(blocks):
            stride, inner = first if not block else 1, channels * expansion
            y = x if expansion == 1 else clipped(net.conv(x, channels, inner))
            y = net.conv(clipped(depthwise(y, inner, stride)), inner, width)
            x, channels = net.node("Add", [y, x]) if stride == 1 and channels == width else y, width
    x = net.node("Flatten", [net.node("GlobalAveragePool", [clipped(net.conv(x, channels, 1280))])])
    x = net.node("Gemm", [x, net.weight(net.normal(1000, 1280)), net.weight(net.normal(1000, 1)[:, 0])], transB=1)
    net.save(path, ["batch", 3, 224, 224], ["batch", 1000], x)

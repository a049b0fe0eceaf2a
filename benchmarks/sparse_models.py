"""ResNet-50, MobileNetV2 and BERT-base layers with random weights: what counts for speed is their shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

RESNET50 = ((64, 256, 3, 1), (128, 512, 4, 2), (256, 1024, 6, 2), (512, 2048, 3, 2))
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""ResNet: width, outputs, blocks, stride; MobileNet: expansion, outputs, blocks, stride."""


class Builder:
    """Nodes and weights of a network, one call a layer; names of values are numbers."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"n{len(self.nodes)}", **attributes))
        return name

    def weight(self, array: NDArray[np.generic]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, shape: tuple[int, ...], fan: int) -> str:
        return self.weight((self.random.standard_normal(shape) * np.sqrt(1.5 / fan)).astype(np.float32))

    def conv(self, x: str, channels: int, count: int, kernel: int = 1, stride: int = 1, group: int = 1) -> str:
        depth = channels // group
        weight = self.normal((count, depth, kernel, kernel), depth * kernel * kernel)
        bias = self.weight((self.random.standard_normal(count) * 0.1).astype(np.float32))
        pad, size = kernel // 2, [kernel, kernel]
        return self.node("Conv", x, weight, bias, kernel_shape=size, strides=[stride] * 2, pads=[pad] * 4, group=group)

    def linear(self, x: str, depth: int, count: int) -> str:
        product = self.node("MatMul", x, self.normal((depth, count), depth))
        return self.node("Add", product, self.weight((self.random.standard_normal(count) * 0.1).astype(np.float32)))

    def model(self, shape: list[int], y: str, out: list[int]) -> ModelProto:
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), (y, out))]
        graph = helper.make_graph(self.nodes, "network", ends[:1], ends[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def resnet50() -> ModelProto:
    """4.1 GMACs at 224 x 224; 25.6 M parameters."""
    b = Builder()
    x = b.node("Relu", b.conv("x", 3, 64, 7, 2))
    x = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for width, count, blocks, first_stride in RESNET50:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            skip = b.conv(x, channels, count, 1, stride) if block == 0 else x
            x = b.node("Relu", b.conv(x, channels, width))
            x = b.node("Relu", b.conv(x, width, width, 3, stride))
            x = b.node("Relu", b.node("Add", b.conv(x, width, count), skip))
            channels = count
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model([1, 3, 224, 224], b.linear(x, channels, 1000), [1, 1000])


def mobilenet_v2() -> ModelProto:
    """0.3 GMACs at 224 x 224; 3.5 M parameters."""
    b = Builder()
    bounds = b.weight(np.array(0, np.float32)), b.weight(np.array(6, np.float32))
    x, channels = b.node("Clip", b.conv("x", 3, 32, 3, 2), *bounds), 32
    for expansion, count, blocks, first_stride in MOBILENET_V2:
        for block in range(blocks):
            skip, wide, stride = x, channels * expansion, first_stride if block == 0 else 1
            if expansion > 1:
                x = b.node("Clip", b.conv(x, channels, wide), *bounds)
            x = b.node("Clip", b.conv(x, wide, wide, 3, stride, wide), *bounds)
            x = b.conv(x, wide, count)
            x = b.node("Add", x, skip) if block else x
            channels = count
    x = b.node("Clip", b.conv(x, channels, 1280), *bounds)
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model([1, 3, 224, 224], b.linear(x, 1280, 1000), [1, 1000])


def bert(layers: int = 3, tokens: int = 128, width: int = 768, heads: int = 12) -> ModelProto:
    """Encoder layers of BERT-base without the embedding."""
    b = Builder()
    ones, zeros = b.weight(np.ones(width, np.float32)), b.weight(np.zeros(width, np.float32))
    split = b.weight(np.array([1, tokens, heads, width // heads], np.int64))
    join = b.weight(np.array([1, tokens, width], np.int64))
    half, one, root, scale = (b.weight(np.array(v, np.float32)) for v in (0.5, 1, np.sqrt(2), np.sqrt(width // heads)))

    def head(x: str, order: list[int]) -> str:
        return b.node("Transpose", b.node("Reshape", b.linear(x, width, width), split), perm=order)

    x = "x"
    for _ in range(layers):
        scores = b.node("Div", b.node("MatMul", head(x, [0, 2, 1, 3]), head(x, [0, 2, 3, 1])), scale)
        mixed = b.node("MatMul", b.node("Softmax", scores, axis=-1), head(x, [0, 2, 1, 3]))
        mixed = b.node("Reshape", b.node("Transpose", mixed, perm=[0, 2, 1, 3]), join)
        x = b.node("LayerNormalization", b.node("Add", x, b.linear(mixed, width, width)), ones, zeros, axis=-1)
        hidden = b.linear(x, width, 4 * width)
        erf = b.node("Add", b.node("Erf", b.node("Div", hidden, root)), one)
        gelu = b.node("Mul", b.node("Mul", hidden, erf), half)
        x = b.node("LayerNormalization", b.node("Add", x, b.linear(gelu, 4 * width, width)), ones, zeros, axis=-1)
    return b.model([1, tokens, width], x, [1, tokens, width])

"""One-layer networks with zeros in their weights, and what the sparse operators must give for them.

Nothing of pytest or onnxprune.model here: scripts run it with other versions of ONNX Runtime, which need not have them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]
TOLERANCE = 1e-5
"""Largest error, relative to the largest value of the output."""


@dataclass(frozen=True)
class Case:
    """A layer. kind: conv or matmul; shape: of the input; weight: of the weight, outputs first."""

    kind: str
    shape: tuple[int, ...]
    weight: tuple[int, ...]
    rows: int = 4
    sparsity: float = 0.8
    attributes: dict[str, Any] = field(default_factory=dict)
    add: bool = False
    activation: str = ""
    seed: int = 0

    def keep(self) -> NDArray[np.bool_]:
        """The mask, outputs first: whole blocks, some row blocks empty, the last one maybe incomplete."""
        rng = np.random.default_rng(self.seed)
        count, depth = self.weight[0], int(np.prod(self.weight[1:]))
        blocks = rng.random((-(-count // self.rows), depth)) >= self.sparsity
        blocks[rng.random(len(blocks)) < 0.1] = False
        return np.repeat(blocks, self.rows, axis=0)[:count].reshape(self.weight)

    def feed(self, seed: int = 0) -> dict[str, Array]:
        rng = np.random.default_rng((self.seed, seed))
        feed = {"x": rng.standard_normal(self.shape).astype(np.float32)}
        if self.add:
            feed["z"] = rng.standard_normal(self.output()).astype(np.float32)
        return feed

    def output(self) -> tuple[int, ...]:
        if self.kind != "conv":
            return (*self.shape[:-1], self.weight[0])
        sizes = []
        rank = len(self.shape) - 2
        for axis in range(rank):
            pads, reach = self.attributes.get("pads", [0] * 2 * rank), self.weight[2 + axis] - 1
            room = self.shape[2 + axis] + pads[axis] + pads[rank + axis] - 1
            room -= reach * self.attributes.get("dilations", [1] * rank)[axis]
            sizes.append(room // self.attributes.get("strides", [1] * rank)[axis] + 1)
        return (self.shape[0], self.weight[0], *sizes)

    def model(self, opset: int = 17) -> ModelProto:
        """The dense network; its weight `w` is not masked yet."""
        rng = np.random.default_rng((self.seed, 1))
        weight = rng.standard_normal(self.weight).astype(np.float32)
        bias = rng.standard_normal(self.weight[0]).astype(np.float32)
        if self.kind == "conv":
            nodes = [helper.make_node("Conv", ["x", "w", "b"], ["v0"], name="layer", **self.attributes)]
        else:
            weight = weight.T.copy()
            nodes = [helper.make_node("MatMul", ["x", "w"], ["m"], name="layer")]
            nodes.append(helper.make_node("Add", ["m", "b"], ["v0"]))
        tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
        last = "v0"
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)]
        if self.add:
            nodes.append(helper.make_node("Add", [last, "z"], ["v1"]))
            inputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, self.output()))
            last = "v1"
        if self.activation == "Relu":
            nodes.append(helper.make_node("Relu", [last], ["v2"]))
        elif self.activation == "Clip" and opset < 11:
            nodes.append(helper.make_node("Clip", [last], ["v2"], min=-0.5, max=2.0))
        elif self.activation == "Clip":
            tensors += [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("lo", -0.5), ("hi", 2.0))]
            nodes.append(helper.make_node("Clip", [last, "lo", "hi"], ["v2"]))
        nodes[-1].output[0] = "y"
        out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, self.output())]
        graph = helper.make_graph(nodes, "layer", inputs, out, tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def error(found: Array, expected: Array) -> float:
    """Largest difference, relative to the largest expected value."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    if expected.size == 0:
        return 0.0
    return float(np.abs(found - expected).max() / max(1e-3, float(np.abs(expected).max())))


def conv(shape: str, weight: str, rows: int = 4, **options: Any) -> Case:
    """`shape` and `weight` as in 1x16x8x8."""
    sizes = [tuple(map(int, text.split("x"))) for text in (shape, weight)]
    own = {key: options.pop(key) for key in ("sparsity", "add", "activation", "seed") if key in options}
    return Case("conv", sizes[0], sizes[1], rows, attributes=options, **own)


def matmul(shape: str, weight: str, rows: int = 4, **options: Any) -> Case:
    sizes = [tuple(map(int, text.split("x"))) for text in (shape, weight)]
    return Case("matmul", sizes[0], sizes[1], rows, **options)


GRID = {
    "pointwise": conv("1x16x14x14", "32x16x1x1"),
    "pointwise many rows": conv("1x24x14x14", "160x24x1x1", activation="Relu"),
    "pointwise packed": conv("1x80x30x30", "160x80x1x1", activation="Relu"),
    "pointwise packed, equal places": conv("2x10x16x16", "128x10x1x1", 2, add=True),
    "pointwise seven": conv("2x64x7x7", "48x64x1x1", add=True, activation="Relu"),
    "pointwise one pixel": conv("3x40x1x1", "12x40x1x1"),
    "pointwise single weights, slices": conv("1x600x9x9", "33x600x1x1", 1, add=True, activation="Clip"),
    "pointwise pairs": conv("1x32x30x30", "18x32x1x1", 2),
    "pointwise eights": conv("1x32x10x10", "24x32x1x1", 8),
    "incomplete block": conv("1x8x9x9", "13x8x1x1", 8, activation="Relu"),
    "strided pointwise": conv("1x24x14x14", "32x24x1x1", strides=[2, 2]),
    "padded pointwise": conv("1x8x5x5", "8x8x1x1", pads=[1, 0, 2, 1]),
    "three": conv("1x16x28x28", "16x16x3x3", pads=[1, 1, 1, 1]),
    "three strided": conv("2x32x15x13", "16x32x3x3", strides=[2, 2], pads=[1, 1, 1, 1], add=True, activation="Relu"),
    "uneven": conv("1x5x17x11", "11x5x5x2", 1, strides=[3, 2], pads=[2, 0, 1, 3], dilations=[1, 2]),
    "uneven blocks": conv("2x7x17x23", "10x7x2x5", 4, strides=[1, 2], pads=[0, 3, 2, 1], dilations=[3, 1]),
    "stem": conv("1x3x33x35", "16x3x7x7", strides=[2, 2], pads=[3, 3, 3, 3], sparsity=0.5, activation="Relu"),
    "no gap between rows": conv("1x4x6x5", "8x4x3x1", pads=[1, 0, 1, 0], add=True),
    "groups": conv("1x32x10x10", "32x8x3x3", group=4, pads=[1, 1, 1, 1], activation="Clip"),
    "pointwise groups": conv("2x24x6x6", "12x8x1x1", 2, group=3),
    "one axis": conv("2x12x50", "16x12x3", strides=[2], pads=[1, 2], dilations=[2], activation="Relu"),
    "one axis pointwise": conv("1x12x50", "16x12x1", add=True),
    "all zero": conv("1x8x6x6", "8x8x3x3", sparsity=1.0, pads=[1, 1, 1, 1]),
    "dense": conv("1x8x6x6", "8x8x3x3", sparsity=0.0, pads=[1, 1, 1, 1]),
    "long gaps": conv("1x2000x3x3", "8x2000x1x1", sparsity=0.999),
    "tokens": matmul("1x128x64", "96x64"),
    "one token": matmul("1x1x300", "50x300"),
    "one token, single weights": matmul("1x1x700", "50x700", 1, activation="Relu"),
    "two tokens": matmul("2x300", "51x300", 8, activation="Clip"),
    "seventeen tokens": matmul("17x100", "36x100", activation="Relu"),
    "odd": matmul("2x3x5x33", "7x33", 2),
    "single weights, slices": matmul("1x40x900", "70x900", 1, activation="Clip"),
    "many tokens": matmul("700x40", "24x40", 1),
    "no tokens": matmul("0x40", "24x40"),
}
OLD = ("three strided", "incomplete block", "groups", "all zero", "one axis", "two tokens", "single weights, slices")
"""Cases of the grid that are tried with old opsets, too: every operator, sums, Relu, Clip."""
OLD_OPSETS = (9, 10, 11, 12)

"""One-layer quantised networks in the spellings of quantisers: QDQ, QLinearConv, dynamic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]


@dataclass(frozen=True)
class QuantizedCase:
    """spelling: qdq, qlinear, dynamic, gemm (QDQ); shape: of the input; weight: outputs first."""

    spelling: str
    shape: tuple[int, ...]
    weight: tuple[int, ...]
    rows: int = 4
    sparsity: float = 0.8
    per_channel: bool = True
    relu: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def keep(self) -> NDArray[np.bool_]:
        """Blocks of rows by four inputs, as the file has the weight."""
        rng = np.random.default_rng(self.seed)
        count, depth = self.weight[:2]
        rest = int(np.prod(self.weight[2:]))
        blocks = rng.random((-(-count // self.rows), -(-depth // 4), rest)) >= self.sparsity
        keep = np.repeat(np.repeat(blocks, self.rows, axis=0)[:count], 4, axis=1)[:, :depth].reshape(self.weight)
        return keep if len(self.weight) > 2 else keep.T.copy()

    def feed(self, seed: int = 0) -> dict[str, Array]:
        rng = np.random.default_rng((self.seed, seed))
        return {"x": rng.standard_normal(self.shape).astype(np.float32)}

    def model(self, opset: int = 17) -> ModelProto:
        """From float x to float y, whatever is between."""
        rng = np.random.default_rng((self.seed, 1))
        count = self.weight[0]
        weight = rng.integers(-127, 128, self.weight).astype(np.int8)
        scale = rng.uniform(0.005, 0.02, count if self.per_channel else ()).astype(np.float32)
        bias = rng.integers(-2000, 2000, count).astype(np.int32)
        depth = int(np.prod(self.weight[1:])) * max(0.05, 1 - self.sparsity)
        tensors = {
            "w": weight if len(self.weight) > 2 else weight.T.copy(),
            "ws": scale,
            "wz": np.zeros_like(scale, np.int8),
            "b": bias,
            "bf": (bias * 0.001).astype(np.float32),
            "bs": (scale * np.float32(0.03)).astype(np.float32),
            "bz": np.zeros_like(scale, np.int32),
            "xs": np.array(0.03, np.float32),
            "xz": np.array(117, np.uint8),
            "ys": np.array(0.03 * np.sqrt(depth), np.float32),
            "yz": np.array(0 if self.relu else 131, np.uint8),
        }
        nodes = getattr(self, f"_{self.spelling}")()
        nodes[-1].output[0] = "y"
        used = {name for node in nodes for name in node.input}
        ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)]
        ends.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(self.shape)))
        kept = [numpy_helper.from_array(array, name) for name, array in tensors.items() if name in used]
        graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], kept)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)

    def _qdq(self) -> list[NodeProto]:
        node = helper.make_node
        last = "c"
        nodes = [
            *_quantized_input(),
            node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
            node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
            node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
            node("Conv", ["xd", "wd", "bd"], ["c"], name="layer", **self.attributes),
        ]
        if self.relu:
            nodes.append(node("Relu", ["c"], ["r"]))
            last = "r"
        return [
            *nodes,
            node("QuantizeLinear", [last, "ys", "yz"], ["yq"]),
            node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
        ]

    def _qlinear(self) -> list[NodeProto]:
        inputs = ["xq", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
        return [
            *_quantized_input(),
            helper.make_node("QLinearConv", inputs, ["yq"], name="layer", **self.attributes),
            helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
        ]

    def _dynamic(self) -> list[NodeProto]:
        node = helper.make_node
        return [
            node("DynamicQuantizeLinear", ["x"], ["xq", "ds", "dz"]),
            node("MatMulInteger", ["xq", "w", "dz", "wz"], ["i"], name="layer"),
            node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
            node("Mul", ["ds", "ws"], ["s"]),
            node("Mul", ["f", "s"], ["p"]),
            node("Add", ["p", "bf"], ["y"]),
        ]

    def _gemm(self) -> list[NodeProto]:
        node = helper.make_node
        return [
            *_quantized_input(),
            node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
            node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=1),
            node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
            node("Gemm", ["xd", "wd", "bd"], ["y"], name="layer"),
        ]


def _quantized_input() -> list[NodeProto]:
    return [helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"])]


def _case(spelling: str, shape: str, weight: str, rows: int = 4, **options: Any) -> QuantizedCase:
    sizes = [tuple(map(int, text.split("x"))) for text in (shape, weight)]
    own = {key: options.pop(key) for key in ("sparsity", "relu", "per_channel", "seed") if key in options}
    return QuantizedCase(spelling, sizes[0], sizes[1], rows, attributes=options, **own)


QUANTIZED = {
    "pointwise": _case("qdq", "1x32x14x14", "48x32x1x1"),
    "pointwise, one row": _case("qlinear", "2x16x7x7", "13x16x1x1", 1),
    "three": _case("qdq", "1x16x13x11", "24x16x3x3", relu=True, pads=[1, 1, 1, 1]),
    "three strided": _case("qlinear", "2x32x15x14", "16x32x3x3", strides=[2, 2], pads=[1, 1, 1, 1]),
    "odd": _case("qdq", "1x7x9x17", "11x7x2x3", 2, per_channel=False, pads=[0, 2, 1, 0], dilations=[2, 1]),
    "stem": _case("qlinear", "1x3x35x33", "16x3x7x7", sparsity=0.4, strides=[2, 2], pads=[3, 3, 3, 3]),
    "one axis": _case("qdq", "1x12x50", "16x12x3", pads=[1, 1]),
    "all zero": _case("qdq", "1x8x6x6", "8x8x1x1", sparsity=1.0),
    "dense": _case("qlinear", "1x64x6x6", "8x64x3x3", sparsity=0.0),
    "long gaps": _case("qdq", "1x4096x2x2", "8x4096x1x1", sparsity=0.998),
    "tokens": _case("dynamic", "1x40x64", "96x64"),
    "one token": _case("dynamic", "1x1x100", "30x100", per_channel=False),
    "uneven tokens": _case("dynamic", "3x5x33", "7x33", 1),
    "gemm": _case("gemm", "17x66", "20x66", 2),
}

"""Layers of quantised models: unsigned bytes come in, the weight is int8 with zero points of 0.

Read are the three spellings that quantisers write: DequantizeLinear before and QuantizeLinear behind a Conv, Gemm or
MatMul (QDQ), QLinearConv, and MatMulInteger with the scales behind it (dynamic quantisation).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.model.graph import Constant, Graph, Node
from onnxprune.sparse.layers import Declined, convolution_attributes, row_of


@dataclass(frozen=True)
class QuantizedLayer:
    """A layer as SparseQConv and SparseQMatMul want it.

    x, x_scale, x_zero, y_scale, y_zero: names of values ("" for a zero point that is left out); weight: int8, outputs
    first unless `transposed`; scale: of its rows, (n,); bias: (n,), in steps of x_scale * scale where bytes come out,
    as it is where floats come out; nodes: those that are replaced, the last one gives the output.
    """

    family: str
    x: str
    x_scale: str
    x_zero: str
    weight: Constant
    transposed: bool
    scale: NDArray[np.float32]
    bias: NDArray[Any]
    nodes: tuple[Node, ...]
    y_scale: str = ""
    y_zero: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


def quantized_weight(graph: Graph, node: Node) -> str:
    """Name of the quantised weight that a node multiplies with, "" if it has none."""
    slot = {"QLinearConv": 3, "MatMulInteger": 1, "Conv": 1, "Gemm": 1, "MatMul": 1}.get(node.op_type)
    if node.domain or slot is None or len(node.inputs) <= slot:
        return ""
    key = node.inputs[slot]
    if slot == 1 and node.op_type != "MatMulInteger":
        source = _dequantizer(graph, key)
        return source.inputs[0] if source else ""
    return key


def read_quantized(graph: Graph, node: Node) -> QuantizedLayer:
    """The layer of a node for which `quantized_weight` gives a name. Raises Declined."""
    if node.scope != 0:
        raise Declined("it is inside a subgraph")
    if node.op_type == "QLinearConv":
        return _qlinear_conv(graph, node)
    if node.op_type == "MatMulInteger":
        return _dynamic(graph, node)
    return _conv(graph, node) if node.op_type == "Conv" else _product(graph, node)


def _conv(graph: Graph, node: Node) -> QuantizedLayer:
    x, weight, scale = _operands(graph, node, axis=0)
    quantize = reader = _only_reader(graph, node.outputs[0])
    nodes = [node]
    if reader is not None and reader.op_type == "Relu":
        nodes.append(reader)
        quantize = _only_reader(graph, reader.outputs[0])
    if quantize is None or quantize.op_type != "QuantizeLinear" or len(quantize.inputs) < 3:
        raise Declined("its output is not quantised")
    y_zero = _number(graph, quantize.inputs[2], TensorProto.UINT8)
    if len(nodes) > 1 and y_zero != 0:
        raise Declined("the zero point behind its Relu is not 0")
    step = scale * np.float32(_number(graph, x.inputs[1], TensorProto.FLOAT))
    bias = np.rint(_float_bias(graph, node, len(scale)) / step)
    return QuantizedLayer(
        "SparseQConv", x.inputs[0], x.inputs[1], _zero_point(x), weight, False, scale,
        bias.clip(-(2**31), 2**31 - 1).astype(np.int32), (*nodes, quantize), quantize.inputs[1], quantize.inputs[2],
        _attributes(node, weight),
    )  # fmt: skip


def _qlinear_conv(graph: Graph, node: Node) -> QuantizedLayer:
    x, x_scale, x_zero, _, scale, zero, y_scale, y_zero, *rest = node.inputs
    weight = _weight(graph, node.inputs[3], zero)
    _number(graph, x_zero, TensorProto.UINT8)
    _number(graph, y_zero, TensorProto.UINT8)
    bias = _constant(graph, rest[0]).array() if rest and rest[0] else np.zeros(weight.shape[0], np.int32)
    return QuantizedLayer(
        "SparseQConv", x, x_scale, x_zero, weight, False, _scales(graph, scale, weight.shape[0]),
        bias, (node,), y_scale, y_zero, _attributes(node, weight),
    )  # fmt: skip


def _product(graph: Graph, node: Node) -> QuantizedLayer:
    if node.op_type == "Gemm" and (
        node.attribute("transA", 0) or node.attribute("alpha", 1.0) != 1 or node.attribute("beta", 1.0) != 1
    ):
        raise Declined("its input is transposed, or it is scaled")
    transposed = not (node.op_type == "Gemm" and node.attribute("transB", 0))
    x, weight, scale = _operands(graph, node, axis=1 if transposed else 0)
    if len(weight.shape) != 2:
        raise Declined("its weight is not a matrix")
    bias = _float_bias(graph, node, len(scale)) if node.op_type == "Gemm" else np.zeros(len(scale), np.float32)
    nodes: tuple[Node, ...] = (node,)
    if node.op_type == "MatMul":
        nodes, bias = _with_bias(graph, nodes, bias)
    return QuantizedLayer(
        "SparseQMatMul", x.inputs[0], x.inputs[1], _zero_point(x), weight, transposed, scale, bias, nodes
    )


def _dynamic(graph: Graph, node: Node) -> QuantizedLayer:
    """MatMulInteger, Cast, Mul by the product of the scales, and maybe Add of a bias."""
    source = graph.producer.get(node.inputs[0])
    quantize = graph.nodes[source] if source is not None else None
    if quantize is None or quantize.op_type != "DynamicQuantizeLinear" or len(node.inputs) < 3:
        raise Declined("its input does not come from DynamicQuantizeLinear")
    weight = _weight(graph, node.inputs[1], node.inputs[3] if len(node.inputs) > 3 else "")
    cast = _only_reader(graph, node.outputs[0])
    scaled = _only_reader(graph, cast.outputs[0]) if cast is not None and cast.op_type == "Cast" else None
    if cast is None or scaled is None or scaled.op_type != "Mul":
        raise Declined("its output is not scaled")
    other = next(key for key in scaled.inputs if key != cast.outputs[0])
    producer = graph.producer.get(other)
    scales = graph.nodes[producer] if producer is not None else None
    x_scale = quantize.outputs[1]
    if scales is None or scales.op_type != "Mul" or x_scale not in scales.inputs:
        raise Declined("its output is not scaled by the scales of its input and its weight")
    own = next(key for key in scales.inputs if key != x_scale)
    count = weight.shape[1]
    nodes, bias = _with_bias(graph, (node, cast, scaled), np.zeros(count, np.float32))
    return QuantizedLayer(
        "SparseQMatMul", node.inputs[0], x_scale, node.inputs[2], weight, True, _scales(graph, own, count), bias, nodes
    )


def _with_bias(
    graph: Graph, nodes: tuple[Node, ...], bias: NDArray[Any]
) -> tuple[tuple[Node, ...], NDArray[np.float32]]:
    add = _only_reader(graph, nodes[-1].outputs[0])
    if add is not None and add.op_type == "Add":
        other = next((key for key in add.inputs if key != nodes[-1].outputs[0]), "")
        row = row_of(graph, other, len(bias))
        if row is not None and len(graph.constants[other].shape) == 1:
            return (*nodes, add), row
    return nodes, bias


def _attributes(node: Node, weight: Constant) -> dict[str, Any]:
    attributes = convolution_attributes(node, weight)
    if attributes["group"] != 1:
        raise Declined("there are no sparse integer convolutions with groups")
    return attributes


def _operands(graph: Graph, node: Node, axis: int) -> tuple[Node, Constant, NDArray[np.float32]]:
    """DequantizeLinear of the input, the weight, and its scales, of a QDQ layer."""
    x, w = (_dequantizer(graph, node.inputs[slot]) for slot in (0, 1))
    if x is None or w is None:
        raise Declined("its input is not quantised")
    if _zero_point(x):
        _number(graph, x.inputs[2], TensorProto.UINT8)
    elif not _gives_unsigned_bytes(graph, x.inputs[0]):
        raise Declined("its input has no zero point, and may not be of unsigned bytes")
    _number(graph, x.inputs[1], TensorProto.FLOAT)
    weight = _weight(graph, w.inputs[0], _zero_point(w))
    count = weight.shape[axis]
    scale = _constant(graph, w.inputs[1])
    if scale.size > 1 and w.attribute("axis", 1) % len(weight.shape) != axis:
        raise Declined("the scales of its weight are not one per output")
    return x, weight, _scales(graph, w.inputs[1], count)


def _weight(graph: Graph, key: str, zero: str) -> Constant:
    weight = _constant(graph, key)
    if weight.dtype != TensorProto.INT8 or weight.node is not None or weight.size == 0 or len(weight.shape) < 2:
        raise Declined("its weight is not an int8 initializer")
    if zero and np.any(_constant(graph, zero).array()):
        raise Declined("the zero point of its weight is not 0")
    return weight


def _scales(graph: Graph, key: str, count: int) -> NDArray[np.float32]:
    scale = _constant(graph, key)
    if scale.dtype != TensorProto.FLOAT or scale.size not in (1, count):
        raise Declined("the scales of its weight are not one per output")
    return np.array(np.broadcast_to(scale.array().reshape(-1), (count,)), np.float32)


def _float_bias(graph: Graph, node: Node, count: int) -> NDArray[np.float32]:
    if len(node.inputs) < 3 or not node.inputs[2]:
        return np.zeros(count, np.float32)
    source = _dequantizer(graph, node.inputs[2])
    if source is None:
        row = row_of(graph, node.inputs[2], count)
        if row is None:
            raise Declined("its bias is computed")
        return row
    values = _constant(graph, source.inputs[0]).array().astype(np.float64)
    if values.shape != (count,) or (_zero_point(source) and np.any(_constant(graph, _zero_point(source)).array())):
        raise Declined("its bias is not one value per output")
    return np.asarray(values * _constant(graph, source.inputs[1]).array().reshape(-1), np.float32)


def _dequantizer(graph: Graph, key: str) -> Node | None:
    producer = graph.producer.get(key)
    node = graph.nodes[producer] if producer is not None else None
    return node if node is not None and node.op_type == "DequantizeLinear" and not node.domain else None


def _gives_unsigned_bytes(graph: Graph, key: str) -> bool:
    """Whether a QuantizeLinear says so; without a zero point, bytes may be signed since opset 21."""
    producer = graph.producer.get(key)
    node = graph.nodes[producer] if producer is not None else None
    if node is None or node.op_type not in ("QuantizeLinear", "DynamicQuantizeLinear") or node.domain:
        return False
    zero = _zero_point(node)
    if zero and node.op_type == "QuantizeLinear":
        return zero in graph.constants and graph.constants[zero].dtype == TensorProto.UINT8
    return node.attribute("output_dtype", 0) in (0, TensorProto.UINT8)


def _zero_point(node: Node) -> str:
    return node.inputs[2] if len(node.inputs) > 2 else ""


def _constant(graph: Graph, key: str) -> Constant:
    constant = graph.constants.get(key)
    if constant is None or key in graph.fixed:
        raise Declined("its scales, zero points or weights are not constants of the file")
    return constant


def _number(graph: Graph, key: str, dtype: int) -> float:
    """A constant of one element and this type."""
    constant = _constant(graph, key)
    if constant.size != 1 or constant.dtype != dtype:
        found = TensorProto.DataType.Name(constant.dtype)
        raise Declined(f"a scale or zero point is {found} {list(constant.shape)}; the kernels take one unsigned byte")
    return float(constant.array().reshape(-1)[0])


def _only_reader(graph: Graph, key: str) -> Node | None:
    readers = graph.consumers.get(key, [])
    if key in graph.fixed or len(readers) != 1:
        return None
    node = graph.nodes[readers[0][0]]
    return None if node.scope != 0 or node.domain else node

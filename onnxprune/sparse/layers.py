"""What a node computes, if it is a layer that a sparse operator can stand for; otherwise the reason why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.model.graph import Constant, Graph, Node

ONE = np.ones((), np.float32)


class Declined(Exception):
    """Why a node stays as it is, in words for a report."""


@dataclass(frozen=True)
class Layer:
    """A layer as the operators want it.

    weight: float32 [n, k] or [n, k, ...kernel], outputs first; transposed: the file has it the other way round;
    scale: float32 () or (n,), what its outputs are multiplied with before the bias, float32 (n,), is added;
    attributes: those of the sparse operator.
    """

    family: str
    weight: Constant
    transposed: bool
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    attributes: dict[str, Any] = field(default_factory=dict)

    def outputs_first(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array of the shape of the weight in the file, with outputs as its first axis."""
        return array.T if self.transposed else array

    def scaled(self) -> NDArray[np.float32]:
        """The weight with outputs first, times the scale."""
        array = self.outputs_first(self.weight.array())
        scaled: NDArray[np.float32] = array * self.scale.reshape(-1, *[1] * (array.ndim - 1))
        return scaled


def read_layer(graph: Graph, node: Node) -> Layer:
    """The layer of a Conv, Gemm or MatMul. Raises Declined."""
    if node.domain or node.op_type not in _READERS:
        raise Declined(f"there is no sparse {node.op_type}")
    if node.scope != 0:
        raise Declined("it is inside a subgraph")
    weight = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None or weight.key in graph.fixed or weight.node is not None:
        raise Declined("its weight is not an initializer that only this file sets")
    if weight.dtype != TensorProto.FLOAT:
        raise Declined(f"its weight is {TensorProto.DataType.Name(weight.dtype)}, not FLOAT")
    if weight.size == 0:
        raise Declined("its weight is empty")
    return _READERS[node.op_type](graph, node, weight)


def _conv(graph: Graph, node: Node, weight: Constant) -> Layer:
    attributes = convolution_attributes(node, weight)
    depthwise = weight.shape[1] == 1 and attributes["group"] > 1
    family = "DepthwiseConv" if depthwise else "SparseConv"
    return Layer(family, weight, False, ONE, _bias(graph, node, 2, weight.shape[0]), attributes)


def convolution_attributes(node: Node, weight: Constant) -> dict[str, Any]:
    """strides, pads, dilations and group with their defaults. Raises Declined for what the kernels do not know."""
    rank = len(weight.shape) - 2
    if rank not in (1, 2):
        raise Declined(f"there are no sparse convolutions over {rank} axes")
    padding = node.attribute("auto_pad", "NOTSET")
    if padding not in ("NOTSET", "VALID"):
        raise Declined(f"its padding {padding} depends on the size of the input")
    return {
        "strides": node.attribute("strides", [1] * rank),
        "pads": node.attribute("pads", [0] * 2 * rank) if padding == "NOTSET" else [0] * 2 * rank,
        "dilations": node.attribute("dilations", [1] * rank),
        "group": int(node.attribute("group", 1)),
    }


def _gemm(graph: Graph, node: Node, weight: Constant) -> Layer:
    if node.attribute("transA", 0):
        raise Declined("its input is transposed")
    if len(weight.shape) != 2:
        raise Declined("its weight is not a matrix")
    transposed = not node.attribute("transB", 0)
    bias = _bias(graph, node, 2, weight.shape[1 if transposed else 0])
    scale = np.array(node.attribute("alpha", 1.0), np.float32)
    return Layer("SparseMatMul", weight, transposed, scale, bias * np.float32(node.attribute("beta", 1.0)))


def _matmul(graph: Graph, node: Node, weight: Constant) -> Layer:
    if len(weight.shape) != 2:
        raise Declined("its weight is not a matrix")
    return Layer("SparseMatMul", weight, True, ONE, np.zeros(weight.shape[1], np.float32))


def _bias(graph: Graph, node: Node, slot: int, count: int) -> NDArray[np.float32]:
    if len(node.inputs) <= slot or not node.inputs[slot]:
        return np.zeros(count, np.float32)
    bias = row_of(graph, node.inputs[slot], count)
    if bias is None:
        raise Declined("its bias is computed, or is not one value per output")
    return bias


def row_of(graph: Graph, key: str, count: int) -> NDArray[np.float32] | None:
    """A constant that is added along the last axis, as (count,); None if `key` is something else."""
    constant = graph.constants.get(key)
    if constant is None or key in graph.fixed or constant.dtype != TensorProto.FLOAT:
        return None
    if constant.size not in (1, count) or (constant.shape and constant.shape[-1] != constant.size):
        return None
    return np.array(np.broadcast_to(constant.array().reshape(-1), (count,)), np.float32)


_READERS = {"Conv": _conv, "Gemm": _gemm, "MatMul": _matmul}

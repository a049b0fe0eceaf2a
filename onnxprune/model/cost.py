"""What a model costs: multiply-accumulates, parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from onnxprune.model.einsum import written_out
from onnxprune.model.graph import Graph, Node
from onnxprune.model.infer import Facts
from onnxprune.native.marks import DOMAIN

Sizes = tuple[int, ...]


def macs_of(node: Node, facts: Facts) -> int | None:
    """Multiply-accumulates of one node; 0 for operators without products of weights, None if a size is unknown."""
    counter = _SPARSE.get(_family(node)) if node.domain == DOMAIN else _COUNTERS.get(node.op_type)
    if counter is None:
        return 0
    try:
        return counter(node, lambda slot: _known(facts, node.inputs, slot), lambda k: _known(facts, node.outputs, k))
    except (_Unknown, IndexError):
        return None


def total(graph: Graph, facts: Facts) -> tuple[int, int]:
    """(multiply-accumulates, number of nodes that could not be counted). Every body is counted once."""
    counts = [macs_of(node, facts) for node in graph.nodes]
    return sum(c for c in counts if c is not None), sum(c is None for c in counts)


def uncounted(graph: Graph, facts: Facts) -> list[str]:
    """Labels of the nodes that could not be counted."""
    return [node.label for node in graph.nodes if macs_of(node, facts) is None]


def parameters(graph: Graph) -> int:
    """Elements of all initializers and Constant nodes. Of sparse weights: what is stored, without its places."""
    places = {
        node.inputs[slot]
        for node in graph.nodes
        if node.domain == DOMAIN and (slot := _STORED.get(_family(node), -2) + 1) > 0 and slot < len(node.inputs)
    }
    stored: int = sum(math.prod(sparse.values.dims) for sparse in graph.model.proto.graph.sparse_initializer)
    overridable = sum(constant.size for constant in graph.overridable.values())
    return stored + overridable + sum(c.size for key, c in graph.constants.items() if key not in places)


class _Unknown(Exception):
    pass


def _known(facts: Facts, keys: tuple[str, ...], slot: int) -> Sizes:
    shape = facts.sized(keys[slot])
    if shape is None or any(size is None for size in shape):
        raise _Unknown
    return tuple(int(size or 0) for size in shape)


Reader = Callable[[int], Sizes]


def _conv(node: Node, i: Reader, o: Reader) -> int:
    return math.prod(o(0)) * math.prod(i(1)[1:])


def _qlinear_conv(node: Node, i: Reader, o: Reader) -> int:
    return math.prod(o(0)) * math.prod(i(3)[1:])


def _conv_transpose(node: Node, i: Reader, o: Reader) -> int:
    return math.prod(i(0)) * math.prod(i(1)[1:])


def _gemm(node: Node, i: Reader, o: Reader) -> int:
    return math.prod(o(0)) * i(0)[0 if node.attribute("transA", 0) else 1]


def _matmul(node: Node, i: Reader, o: Reader) -> int:
    return math.prod(o(0)) * i(0)[-2 if node.attribute("transA", 0) and len(i(0)) > 1 else -1]


def _einsum(node: Node, i: Reader, o: Reader) -> int:
    shapes = [i(slot) for slot in range(len(node.inputs))]
    try:
        terms, _ = written_out(str(node.attribute("equation", "")), [len(shape) for shape in shapes])
    except ValueError:
        raise _Unknown from None
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values())


def _recurrent(node: Node, i: Reader, o: Reader) -> int:
    steps, batch = i(0)[0], i(0)[1]
    return steps * batch * (math.prod(i(1)) + math.prod(i(2)))


def _attention(node: Node, i: Reader, o: Reader) -> int:
    """Products of queries with keys and of scores with values; the packed form projects first."""
    if node.op_type == "Attention" and node.domain:
        batch, length, _ = i(0)
        return math.prod(i(0)) * i(1)[1] + 2 * batch * length * length * (i(1)[1] // 3)
    query, key, value = i(0), i(1), i(2)
    if len(query) == 4:
        return math.prod(query) * key[2] + math.prod(query[:3]) * key[2] * value[3]
    return math.prod(query) * key[1] + query[0] * query[1] * key[1] * value[2]


def _sparse_conv(node: Node, i: Reader, o: Reader) -> int:
    """Every stored weight once for every place of the output: what is skipped is not counted."""
    channels = int((node.attribute("weight_shape") or [1])[0])
    return math.prod(o(0)) // max(channels, 1) * math.prod(i(_STORED[_family(node)]))


def _sparse_matmul(node: Node, i: Reader, o: Reader) -> int:
    return math.prod(i(0)[:-1]) * math.prod(i(_STORED[_family(node)]))


def _family(node: Node) -> str:
    """A sparse operator without what is fused behind it."""
    return re.sub("(Add)?(Relu|Clip)?$", "", node.op_type)


_STORED = {"SparseConv": 1, "SparseMatMul": 1, "SparseQConv": 3, "SparseQMatMul": 3}
"""The input with the stored weights of onnxprune's operators; their places are the next one."""
_SPARSE: dict[str, Callable[[Node, Reader, Reader], int]] = {
    "SparseConv": _sparse_conv,
    "SparseMatMul": _sparse_matmul,
    "DepthwiseConv": _conv,
    "SparseQConv": _sparse_conv,
    "SparseQMatMul": _sparse_matmul,
}
_COUNTERS: dict[str, Callable[[Node, Reader, Reader], int]] = {
    "Conv": _conv,
    "FusedConv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _qlinear_conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "DynamicQuantizeLSTM": _recurrent,
    "DynamicQuantizeMatMul": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "MatMulNBits": _matmul,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Attention": _attention,
    "MultiHeadAttention": _attention,
}

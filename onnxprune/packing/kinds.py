"""Which initializers are weights, and of what: everything else is stored as it is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from onnx import TensorProto

from onnxprune.model.graph import Graph, Node

CONVOLUTION, CONNECTED, EMBEDDING = "convolution", "fully connected", "embedding"
KINDS = (CONVOLUTION, CONNECTED, EMBEDDING)

_LAST = -1
_SLOTS: dict[tuple[str, str], dict[int, tuple[str, int]]] = {
    ("", "Conv"): {1: (CONVOLUTION, 0)},
    ("", "ConvTranspose"): {1: (CONVOLUTION, 1)},
    ("", "Gemm"): {0: (CONNECTED, 0), 1: (CONNECTED, _LAST)},
    ("", "MatMul"): {0: (CONNECTED, 0), 1: (CONNECTED, _LAST)},
    ("", "LSTM"): {1: (CONNECTED, 1), 2: (CONNECTED, 1)},
    ("", "GRU"): {1: (CONNECTED, 1), 2: (CONNECTED, 1)},
    ("", "RNN"): {1: (CONNECTED, 1), 2: (CONNECTED, 1)},
    ("", "Gather"): {0: (EMBEDDING, 0)},
    ("com.microsoft", "Attention"): {1: (CONNECTED, _LAST)},
    ("com.microsoft", "FusedConv"): {1: (CONVOLUTION, 0)},
    ("com.microsoft", "FusedGemm"): {0: (CONNECTED, 0), 1: (CONNECTED, _LAST)},
    ("com.microsoft", "FusedMatMul"): {0: (CONNECTED, 0), 1: (CONNECTED, _LAST)},
}
"""Operator -> input -> what it is, and the axis of its output channels."""
_OURS = {"SparseConv": CONVOLUTION, "DepthwiseConv": CONVOLUTION, "SparseMatMul": CONNECTED}
"""Operators of our own by the start of their names: their values are input 1."""
_PASSING = {"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"}


@dataclass(frozen=True)
class Weight:
    """A tensor that may be approximated. `axis`: of its output channels; `kernel`: elements of a kernel, 1 if none."""

    kind: str
    axis: int
    kernel: int = 1


def weights(graph: Graph, excluded: Collection[int] = ()) -> dict[str, Weight | str]:
    """Every float32 constant of two dimensions and more (or of our sparse operators): a weight, or why it is none.

    A tensor with several readers is a weight if it is one to all of them. `excluded` are nodes that keep theirs.
    """
    found: dict[str, Weight | str] = {}
    tensors = {name: (tensor.dtype, tensor.shape) for name, tensor in graph.model.tensors.items()}
    nodes = {key: (item.dtype, item.shape) for key, item in graph.constants.items() if item.scope == 0}
    for name, (dtype, shape) in {**nodes, **tensors}.items():
        if dtype != TensorProto.FLOAT:
            continue
        use = _use(graph, name, tuple(shape), excluded)
        if isinstance(use, Weight) or len(shape) > 1:
            found[name] = use
    return found


def _use(graph: Graph, name: str, shape: tuple[int, ...], excluded: Collection[int]) -> Weight | str:
    fixed = graph.fixed.get(name)
    if fixed is not None and "override" not in fixed:
        return f"it is {fixed}"
    best: Weight | None = None
    pending = [(name, True)]
    while pending:
        key, direct = pending.pop()
        if graph.fixed.get(key) == "a graph output":
            return "it is a graph output"
        for index, slot in graph.consumers.get(key, ()):
            node = graph.nodes[index]
            if index in excluded:
                return "excluded"
            if slot == 0 and node.domain == "" and node.op_type in _PASSING:
                pending.extend((output, False) for output in node.outputs if output)
                continue
            use = _slot(graph, node, slot)
            if use is None:
                return f"{node.op_type} reads it, at input {slot}"
            kind, axis = use
            axis = axis % max(len(shape), 1) if direct else 0
            kernel = _product(shape[2:]) if kind == CONVOLUTION and len(shape) > 2 else 1
            if best is None or KINDS.index(kind) < KINDS.index(best.kind):
                best = Weight(kind, axis, kernel)
    return best or "nothing reads it"


def _slot(graph: Graph, node: Node, slot: int) -> tuple[str, int] | None:
    if node.domain == "onnxprune":
        kind = next((kind for start, kind in _OURS.items() if node.op_type.startswith(start)), None)
        return (kind, 0) if kind is not None and slot == 1 else None
    use = _SLOTS.get((node.domain, node.op_type), {}).get(slot)
    if node.op_type == "Gather" and node.inputs[1] in graph.constants:
        return None  # a table that is looked up in the same places always: coordinates, not an embedding
    if use is not None and node.op_type == "Gemm" and slot == 1 and node.attribute("transB", 0):
        return use[0], 0
    return use


def _product(sizes: tuple[int, ...]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result

"""What follows a layer and can be computed with it: a normalisation, a summand, a bias, Relu or Clip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.graph import Graph, Node
from onnxprune.model.infer import Facts, infer
from onnxprune.model.statics import free_sizes
from onnxprune.sparse.layers import Layer, row_of


@dataclass(frozen=True)
class Shapes:
    """Shapes of all values for two choices of the symbolic sizes; what is equal in both does not broadcast."""

    facts: tuple[Facts, Facts]

    @classmethod
    def of(cls, graph: Graph) -> Shapes:
        first = infer(graph)
        sizes = free_sizes(graph.model, first)
        return cls((first, infer(graph, {name: size + 1 if size == 1 else size for name, size in sizes.items()})))

    def equal(self, one: str, other: str) -> bool:
        """Whether two values surely have the same shape."""
        for facts in self.facts:
            shape = facts.shapes.get(one)
            if shape is None or None in shape or shape != facts.shapes.get(other):
                return False
        return True


@dataclass(frozen=True)
class Fused:
    """A layer with what follows it: `nodes` go, `output` is what the last of them computed."""

    layer: Layer
    nodes: tuple[Node, ...]
    summand: str = ""
    activation: str = ""
    bounds: tuple[float, float] | None = None

    @property
    def output(self) -> str:
        return self.nodes[-1].outputs[0]


def fuse(graph: Graph, shapes: Shapes, node: Node, layer: Layer, taken: set[int]) -> Fused:
    """Follow the output of `node` as far as it has one reader. Nodes in `taken` belong to others."""
    fused = Fused(layer, (node,))
    follower = _reader(graph, fused, taken)
    if follower is not None and follower.op_type == "BatchNormalization":
        fused = _normalised(graph, fused, follower)
        follower = _reader(graph, fused, taken)
    if follower is not None and follower.op_type == "Add":
        fused = _add(graph, shapes, fused, follower)
        follower = _reader(graph, fused, taken)
    if follower is not None and follower.op_type == "Relu":
        return replace(fused, nodes=(*fused.nodes, follower), activation="Relu")
    if follower is not None and follower.op_type == "Clip":
        bounds = _bounds(graph, follower)
        if bounds is not None:
            return replace(fused, nodes=(*fused.nodes, follower), activation="Clip", bounds=bounds)
    return fused


def _reader(graph: Graph, fused: Fused, taken: set[int]) -> Node | None:
    """The only node that reads the result so far, if there is one that may be fused."""
    key = fused.output
    readers = graph.consumers.get(key, [])
    if key in graph.fixed or len(readers) != 1:
        return None
    node = graph.nodes[readers[0][0]]
    return None if node.scope != 0 or node.domain or node.index in taken else node


def _normalised(graph: Graph, fused: Fused, node: Node) -> Fused:
    """A normalisation by stored statistics scales and shifts every channel; runtimes fold it into dense layers, too."""
    layer, count = fused.layer, len(fused.layer.bias)
    known = [row_of(graph, key, count) if key else None for key in node.inputs[1:5]]
    used = [key for key in node.outputs if key]
    plain = layer.family in ("SparseConv", "DepthwiseConv") and not node.attribute("training_mode", 0)
    if not plain or len(used) != 1 or len(known) != 4 or any(array is None for array in known):
        return fused
    gamma, beta, mean, variance = (array.astype(np.float64) for array in known if array is not None)
    with np.errstate(all="ignore"):  # a variance that is no variance, or numbers that float32 does not hold
        scale = gamma / np.sqrt(variance + node.attribute("epsilon", 1e-5))
        shifted = ((layer.bias - mean) * scale + beta).astype(np.float32)
        scale = (layer.scale * scale).astype(np.float32)
    if not (np.isfinite(scale).all() and np.isfinite(shifted).all()):
        return fused
    return replace(fused, layer=replace(layer, scale=scale, bias=shifted), nodes=(*fused.nodes, node))


def _add(graph: Graph, shapes: Shapes, fused: Fused, add: Node) -> Fused:
    other = next((key for key in add.inputs if key != fused.output), "")
    layer, nodes = fused.layer, (*fused.nodes, add)
    if layer.family == "SparseMatMul":
        row = row_of(graph, other, len(layer.bias)) if other else None
        if row is None or not shapes.equal(fused.output, add.outputs[0]):  # a bias of high rank raises the rank
            return fused
        return replace(fused, layer=replace(layer, bias=layer.bias + row), nodes=nodes)
    if layer.family == "SparseConv" and other and other not in graph.constants and shapes.equal(fused.output, other):
        return replace(fused, summand=other, nodes=nodes)
    return fused


def _bounds(graph: Graph, clip: Node) -> tuple[float, float] | None:
    low: float | None
    high: float | None
    if graph.model.opset() < 11:
        low, high = clip.attribute("min", -np.inf), clip.attribute("max", np.inf)
    else:
        low, high = (_number(graph, clip, slot, limit) for slot, limit in ((1, -np.inf), (2, np.inf)))
    return None if low is None or high is None or low > high else (low, high)


def _number(graph: Graph, node: Node, slot: int, absent: float) -> float | None:
    if len(node.inputs) <= slot or not node.inputs[slot]:
        return absent
    key = node.inputs[slot]
    constant = graph.constants.get(key)
    if constant is None or key in graph.fixed or constant.size != 1:
        return None
    values: NDArray[Any] = constant.array().reshape(-1)
    return float(values[0])

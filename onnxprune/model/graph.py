"""The graph as a flat list of nodes with resolved value names, bodies of If/Loop/Scan included.

A *key* names a value uniquely over all scopes: the plain name at the top level, `name@scope` inside a body.
Body nodes come before the node that owns the body, so one pass over `nodes` sees every value after its producer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from onnxprune.model.load import Model
from onnxprune.model.random import draws
from onnxprune.model.structure import graphs_of

WEIGHT_TYPES = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.DOUBLE,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT4,
        TensorProto.UINT4,
        TensorProto.INT16,
        TensorProto.UINT16,
        TensorProto.INT32,
    }
)
"""Element types of constants that may be cut; 64-bit integers are positions, sizes and indices."""


LOOPS = frozenset({"Loop", "Scan"})
"""Operators that run their body again and again."""


@dataclass(frozen=True)
class Constant:
    """A value known from the file. `scope` 0 is the top level; `node` is set for `Constant` nodes."""

    key: str
    name: str
    shape: tuple[int, ...]
    dtype: int
    array: Callable[[], NDArray[Any]]
    scope: int = 0
    node: int | None = None

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Node:
    """One operator call. `inputs` and `outputs` are keys; an absent optional one is the empty string."""

    index: int
    proto: NodeProto
    scope: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def op_type(self) -> str:
        return self.proto.op_type

    @property
    def domain(self) -> str:
        return "" if self.proto.domain == "ai.onnx" else self.proto.domain

    @cached_property
    def label(self) -> str:
        """What people call this node: its name, or operator and first output where it has none."""
        return self.proto.name or f"{self.op_type}:{self.proto.output[0] if self.proto.output else self.index}"

    @cached_property
    def attributes(self) -> Mapping[str, AttributeProto]:
        return {a.name: a for a in self.proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute's Python value; strings are decoded, lists are lists."""
        found = self.attributes.get(name)
        if found is None or found.ref_attr_name:
            return default
        value = onnx.helper.get_attribute_value(found)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return (
            list(value) if found.type in (AttributeProto.INTS, AttributeProto.FLOATS, AttributeProto.STRINGS) else value
        )


@dataclass(frozen=True)
class Border:
    """Keys of what enters and leaves the body of a Loop or a Scan, whose nodes are in `scope`."""

    scope: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass
class Graph:
    """All nodes and constants of a model, and who produces and consumes which key."""

    model: Model
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    overridable: dict[str, Constant] = field(default_factory=dict)
    """Initializers that are graph inputs, too: what the file holds is only a default, and nothing may rely on it."""
    producer: dict[str, int] = field(default_factory=dict)
    fixed: dict[str, str] = field(default_factory=dict)
    """Keys whose every axis stays, with the reason: graph inputs and outputs, body inputs and outputs, ..."""
    scopes: list[GraphProto] = field(default_factory=list)
    borders: dict[int, Border] = field(default_factory=dict)
    """Of Loop and Scan nodes, by their index."""
    folded: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    """Values of computed keys, as far as `folding.folded` keeps them."""

    @cached_property
    def consumers(self) -> dict[str, list[tuple[int, int]]]:
        """key -> [(node index, input slot)]"""
        result: dict[str, list[tuple[int, int]]] = {}
        for node in self.nodes:
            for slot, key in enumerate(node.inputs):
                if key:
                    result.setdefault(key, []).append((node.index, slot))
        return result

    @cached_property
    def computed(self) -> frozenset[str]:
        """Keys that come from constants alone, by operators of ONNX that always do the same, without bodies."""
        found: set[str] = set()
        for node in self.nodes:
            given = [key for key in node.inputs if key]
            known = bool(given) and all(key in self.constants or key in found for key in given)
            if known and not node.domain and not draws(node.proto) and not list(graphs_of(node.proto)):
                found.update(key for key in node.outputs if key)
        return frozenset(found)


def build(model: Model) -> Graph:
    """Flatten `model`. Recursion is as deep as bodies are nested, never as the graph is long."""
    graph = Graph(model)
    _Builder(graph).run()
    return graph


class _Builder:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names: list[dict[str, str]] = []

    def run(self) -> None:
        model, proto = self.graph.model, self.graph.model.proto.graph
        self.graph.scopes.append(proto)
        top: dict[str, str] = {}
        self.names.append(top)
        overridable = {i.name for i in proto.input} if model.proto.ir_version >= 4 else set()
        for name, tensor in model.tensors.items():
            top[name] = name
            constant = Constant(name, name, tuple(tensor.shape), tensor.dtype, tensor.array)
            if name in overridable:
                self.graph.fixed[name] = "an initializer that callers may override (it is also a graph input)"
                self.graph.overridable[name] = constant
            else:
                self.graph.constants[name] = constant
        for value in proto.input:
            top[value.name] = value.name
            if value.name not in self.graph.constants:
                self.graph.fixed.setdefault(value.name, "a graph input")
        for sparse in proto.sparse_initializer:
            top[sparse.values.name] = sparse.values.name
            self.graph.fixed[sparse.values.name] = "a sparse initializer"
        for name in _trained(model.proto) & set(self.graph.constants):
            self.graph.fixed[name] = "an initializer that training_info names"
        self._nodes(proto, 0)
        for value in proto.output:
            self.graph.fixed.setdefault(top.get(value.name, value.name), "a graph output")

    def _nodes(self, proto: GraphProto, scope: int) -> None:
        for node in proto.node:
            inside = [self._body(body) for body in graphs_of(node)]
            inputs = tuple(self._resolve(name) for name in node.input)
            outputs = tuple(self._define(name, scope) for name in node.output)
            index = len(self.graph.nodes)
            entry = Node(index, node, scope, inputs, outputs)
            self.graph.nodes.append(entry)
            if entry.domain == "" and node.op_type in LOOPS and len(inside) == 1:
                self.graph.borders[index] = inside[0]
            for key in outputs:
                if key:
                    self.graph.producer[key] = index
            if node.op_type == "Constant" and entry.domain == "" and outputs:
                self._constant(entry)

    def _body(self, body: GraphProto) -> Border:
        scope = len(self.graph.scopes)
        self.graph.scopes.append(body)
        self.names.append({})
        for value in body.input:
            self.graph.fixed[self._define(value.name, scope)] = "an input of a subgraph"
        for tensor in body.initializer:
            key = self._define(tensor.name, scope)
            self.graph.constants[key] = _from_proto(key, tensor, scope)
        for sparse in body.sparse_initializer:
            self.graph.fixed[self._define(sparse.values.name, scope)] = "a sparse initializer"
        self._nodes(body, scope)
        for value in body.output:
            self.graph.fixed[self._resolve(value.name)] = "an output of a subgraph"
        ends = tuple(tuple(self._resolve(value.name) for value in values) for values in (body.input, body.output))
        self.names.pop()
        return Border(scope, *ends)

    def _define(self, name: str, scope: int) -> str:
        if not name:
            return ""
        key = name if scope == 0 else f"{name}@{scope}"
        self.names[-1][name] = key
        return key

    def _resolve(self, name: str) -> str:
        if not name:
            return ""
        for names in reversed(self.names):
            if name in names:
                return names[name]
        return name

    def _constant(self, node: Node) -> None:
        key, name = node.outputs[0], node.proto.output[0]
        if "value" in node.attributes and not node.attributes["value"].ref_attr_name:
            found = _from_proto(key, node.attributes["value"].t, node.scope)
            self.graph.constants[key] = replace(found, name=name, node=node.index)
            return
        for attribute, (kind, dtype) in _LITERALS.items():
            if attribute in node.attributes and not node.attributes[attribute].ref_attr_name:
                array = np.array(node.attribute(attribute), kind)
                self.graph.constants[key] = Constant(
                    key, name, array.shape, dtype, _giver(array), node.scope, node.index
                )


def _giver(array: NDArray[Any]) -> Callable[[], NDArray[Any]]:
    return lambda: array


_LITERALS: dict[str, tuple[type[np.generic], int]] = {
    "value_float": (np.float32, TensorProto.FLOAT),
    "value_floats": (np.float32, TensorProto.FLOAT),
    "value_int": (np.int64, TensorProto.INT64),
    "value_ints": (np.int64, TensorProto.INT64),
}
"""Attributes of `Constant` that hold numbers instead of a tensor."""


def _trained(proto: onnx.ModelProto) -> set[str]:
    """Names that the training graphs of a model read or bind."""
    found: set[str] = set()
    for training in proto.training_info:
        for binding in (*training.initialization_binding, *training.update_binding):
            found.update((binding.key, binding.value))
        for graph in (training.initialization, training.algorithm):
            found.update(name for node in graph.node for name in node.input)
    return found


def _from_proto(key: str, tensor: TensorProto, scope: int) -> Constant:
    return Constant(
        key, tensor.name, tuple(tensor.dims), tensor.data_type, lambda: onnx.numpy_helper.to_array(tensor), scope
    )

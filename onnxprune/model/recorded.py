"""What a file says besides its nodes: shapes of values, annotations, constants. After an edit it must say what is so.

onnx's full check, strict shape inference and quantisers refuse a file whose recorded shapes contradict its weights or
its nodes; `value_info` may name any value, initializers included, in every body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableSequence
from dataclasses import dataclass
from typing import Any

from onnx import GraphProto, ModelProto, NodeProto, TensorShapeProto, ValueInfoProto

from onnxprune.model.infer import Shape
from onnxprune.model.load import Model
from onnxprune.model.names import bodies, taken
from onnxprune.model.structure import graphs_of
from onnxprune.model.tensors import LazyTensor

Resized = Mapping[str, tuple[Shape, Shape]]
"""By key: the shape before and after an edit, for the sizes that were assumed where inputs leave them open."""
Tensors = Mapping[str, LazyTensor]
Dims = tuple[int, ...]
INITIALIZERS_APART = 4
"""Before this version of the file format all initializers were inputs of the graph, too."""


def tidied(model: Model, before: Model) -> Model:
    """`model`, made of `before`, without what lost its use; nodes stay."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    return model.replace(proto, tidy(proto, model.tensors, before.proto, nodes=False))


def tidy(
    proto: ModelProto, tensors: Tensors, before: ModelProto, resized: Resized | None = None, *, nodes: bool = True
) -> Tensors:
    """Bring what `proto`, made of `before`, says in line with its nodes and its `tensors` (the top-level initializers).
    Edits `proto` in place; gives the tensors that are left.

    Initializers and, with `nodes`, Constant nodes that lost their last reader leave; those that had none before stay.
    Recorded shapes are those of the constants as they are now, and follow `resized`; a symbol or another number on an
    axis that lost indices is left open. What is said of values that are gone leaves.
    """
    left = _read(before) - _read(proto)
    tensors = _without(proto, tensors, left, nodes=nodes)
    _remove(proto.graph.initializer, [tensor.name not in tensors for tensor in proto.graph.initializer])
    gone = taken(before) - taken(proto, tensors)
    notes = proto.graph.quantization_annotation
    _remove(notes, [note.tensor_name in gone for note in notes])
    sizes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    _Shapes(gone, resized or {}).correct(proto.graph, sizes)
    return tensors


def _read(proto: ModelProto) -> set[str]:
    """Names that somebody reads: nodes, outputs, training, annotations. Bodies may not hide names of outer graphs."""
    found: set[str] = set()
    for graph in bodies(proto.graph):
        found.update(name for node in graph.node for name in node.input)
        found.update(value.name for value in graph.output)
        for note in graph.quantization_annotation:
            found.update(entry.value for entry in note.quant_parameter_tensor_names)
    for training in proto.training_info:
        for binding in (*training.initialization_binding, *training.update_binding):
            found.update((binding.key, binding.value))
        for graph in (training.initialization, training.algorithm):
            found.update(name for node in graph.node for name in node.input)
    return found


def _without(proto: ModelProto, tensors: Tensors, left: set[str], *, nodes: bool) -> Tensors:
    """Constants named in `left` leave, in all bodies. Initializers that callers may set are the model's signature."""
    if not left:
        return tensors
    inputs = {value.name for value in proto.graph.input}
    apart = proto.ir_version >= INITIALIZERS_APART
    for graph in bodies(proto.graph):
        _remove(graph.node, [nodes and _is_constant(node) and node.output[0] in left for node in graph.node])
        if graph is not proto.graph:
            _remove(graph.initializer, [tensor.name in left for tensor in graph.initializer])
    dropped = {name for name in tensors if name in left and not (apart and name in inputs)}
    if not apart:
        _remove(proto.graph.input, [value.name in dropped for value in proto.graph.input])
    return {name: tensor for name, tensor in tensors.items() if name not in dropped}


def _is_constant(node: NodeProto) -> bool:
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1


def _remove(entries: MutableSequence[Any], which: list[bool]) -> None:
    for position in reversed([index for index, wanted in enumerate(which) if wanted]):
        del entries[position]


@dataclass
class _Shapes:
    """Corrects recorded shapes. `gone`: names of values that are no longer there."""

    gone: set[str]
    resized: Resized
    count: int = 0

    def correct(
        self, graph: GraphProto, sizes: Mapping[str, Dims], outer: Mapping[str, Dims | str] | None = None
    ) -> None:
        """`sizes`: of the initializers of `graph`. `outer`: what names of outer graphs are, a size or a key."""
        scope, self.count = self.count, self.count + 1
        known: dict[str, Dims | str] = dict(outer or {})
        known.update((name, name if scope == 0 else f"{name}@{scope}") for name in _defined(graph))
        known.update(sizes)
        known.update(_constants(graph))
        ends = (*graph.input, *graph.output) if scope else ()  # those of the model are its signature
        for value in (*graph.value_info, *ends):
            self._value(value, known.get(value.name, ""))
        _remove(graph.value_info, [value.name in self.gone for value in graph.value_info])
        for node in graph.node:
            for body in graphs_of(node):
                inner = {tensor.name: tuple(tensor.dims) for tensor in body.initializer}
                self.correct(body, inner, known)

    def _value(self, value: ValueInfoProto, what: Dims | str) -> None:
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
            return
        dims = value.type.tensor_type.shape.dim
        if isinstance(what, tuple):
            if len(what) == len(dims):
                for dim, size in zip(dims, what, strict=True):
                    if dim.HasField("dim_value"):
                        dim.dim_value = size
        elif what in self.resized:
            old, new = self.resized[what]
            if len(old) == len(dims):
                for dim, a, b in zip(dims, old, new, strict=True):
                    _follow(dim, a, b)


def _follow(dim: TensorShapeProto.Dimension, old: int | None, new: int | None) -> None:
    if old == new:
        return
    if new is not None and dim.HasField("dim_value") and old in (None, dim.dim_value):
        dim.dim_value = new
    else:  # it names a size of its own, which is another one now
        dim.Clear()


def _defined(graph: GraphProto) -> Iterator[str]:
    for value in graph.input:
        yield value.name
    for node in graph.node:
        yield from node.output


def _constants(graph: GraphProto) -> Iterator[tuple[str, Dims]]:
    """The shapes of sparse initializers and of the tensors in Constant nodes."""
    for sparse in graph.sparse_initializer:
        yield sparse.values.name, tuple(sparse.dims)
    for node in graph.node:
        if not _is_constant(node):
            continue
        for attribute in node.attribute:
            if attribute.name == "value":
                yield node.output[0], tuple(attribute.t.dims)

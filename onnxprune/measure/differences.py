"""What distinguishes two models: signature, metadata, nodes, initializers. Values are compared piece by piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, TypeProto, ValueInfoProto

from onnxprune.model import LazyTensor, Model, metadata
from onnxprune.model.graph import Constant, Graph, Node, build
from onnxprune.model.tensors import dtype_name
from onnxprune.results import Difference, ModelSummary, NodeDifference, TensorDifference

_PIECE = 1 << 20
_SHOWN = 60


def difference(a: Model, b: Model, summary_a: ModelSummary, summary_b: ModelSummary) -> Difference:
    """Compare two models. Nodes are matched by name (or first output), initializers by name."""
    graph_a, graph_b = build(a), build(b)
    tensors, types = _tensors(a, b, graph_a, graph_b)
    return Difference(
        summary_a,
        summary_b,
        tuple(_signature(a, b)),
        (*_metadata(a, b), *types),
        tuple(_nodes(graph_a, graph_b)),
        tuple(tensors),
    )


# ---- signature and metadata --------------------------------------------------------------------------------------
def _signature(a: Model, b: Model) -> Iterator[str]:
    """Inputs, outputs, operator sets, functions."""
    for what, read in (("input", _inputs), ("output", _outputs)):
        first, second = read(a), read(b)
        yield from _entries(what, first, second)
        shared_a = [name for name in first if name in second]
        if shared_a != [name for name in second if name in first]:
            yield f"the order of {what}s: {', '.join(first)} in a, {', '.join(second)} in b"
    yield from _entries("operator set", _opsets(a), _opsets(b))
    if a.proto.ir_version != b.proto.ir_version:
        yield f"IR version: {a.proto.ir_version} in a, {b.proto.ir_version} in b"
    yield from _entries("function", _functions(a), _functions(b), opaque=True)


def _inputs(model: Model) -> dict[str, str]:
    return {value.name: _type(value) for value in model.proto.graph.input}


def _outputs(model: Model) -> dict[str, str]:
    return {value.name: _type(value) for value in model.proto.graph.output}


def _opsets(model: Model) -> dict[str, str]:
    return {entry.domain or "ai.onnx": str(entry.version) for entry in model.proto.opset_import}


def _functions(model: Model) -> dict[str, str]:
    return {f"{f.domain}:{f.name}:{f.overload}".rstrip(":"): _bytes(f) for f in model.proto.functions}


def _type(value: ValueInfoProto) -> str:
    """Element type and dimensions as people write them: "FLOAT [batch, 3, ?, 224]"."""
    kind = value.type.WhichOneof("value")
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return f"{kind} {_bytes(value.type)}" if kind else "no type"
    tensor: TypeProto.Tensor | TypeProto.SparseTensor = getattr(value.type, kind)
    if not tensor.HasField("shape"):
        return f"{dtype_name(tensor.elem_type)} of any shape"
    sizes = (d.dim_param or (str(d.dim_value) if d.HasField("dim_value") else "?") for d in tensor.shape.dim)
    return f"{dtype_name(tensor.elem_type)} [{', '.join(sizes)}]"


def _metadata(a: Model, b: Model) -> Iterator[str]:
    """Everything around the graph that changes no result."""
    yield from _entries("metadata", metadata(a), metadata(b))
    for name in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        yield from _entries(name, {"": str(getattr(a.proto, name))}, {"": str(getattr(b.proto, name))})
    for name in ("name", "doc_string"):
        first, second = getattr(a.proto.graph, name), getattr(b.proto.graph, name)
        yield from _entries(f"graph {name}", {"": first}, {"": second})
    annotated_a, annotated_b = _annotations(a.proto.graph), _annotations(b.proto.graph)
    changed = sum(1 for name in {**annotated_a, **annotated_b} if annotated_a.get(name) != annotated_b.get(name))
    if changed:
        yield f"annotations of values (type, shape, quantization): {changed} differ"
    if [_bytes(t) for t in a.proto.training_info] != [_bytes(t) for t in b.proto.training_info]:
        yield "training information differs"


def _annotations(graph: GraphProto) -> dict[str, str]:
    found = {value.name: _type(value) for value in graph.value_info}
    return found | {f"quantization of {q.tensor_name}": _bytes(q) for q in graph.quantization_annotation}


def _entries(what: str, a: Mapping[str, str], b: Mapping[str, str], *, opaque: bool = False) -> Iterator[str]:
    """Lines for keys that are in one of two maps only, or whose values differ. `opaque`: do not show values."""
    for key in {**a, **b}:
        title = f"{what} {key!r}" if key else what
        if key not in b:
            yield f"{title}: only in a"
        elif key not in a:
            yield f"{title}: only in b"
        elif a[key] != b[key]:
            yield f"{title}: differs" if opaque else f"{title}: {_short(a[key])} in a, {_short(b[key])} in b"


def _short(text: str) -> str:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
    return shown or "nothing"


def _bytes(message: Any) -> str:
    """A protobuf message as comparable text."""
    data: bytes = message.SerializeToString(deterministic=True)
    return data.hex()


# ---- nodes -------------------------------------------------------------------------------------------------------
def _nodes(a: Graph, b: Graph) -> Iterator[NodeDifference]:
    first, second = _labelled(a), _labelled(b)
    for key in {**first, **second}:
        one, other = first.get(key), second.get(key)
        if one is None or other is None:
            only = one or other
            assert only is not None
            yield NodeDifference(only.label, only.op_type, f"only in {'a' if other is None else 'b'}")
            continue
        changes = [*_node_changes(one, other)]
        if changes:
            yield NodeDifference(one.label, one.op_type, "; ".join(changes))
    order_a = [key for key in first if key in second]
    if order_a != [key for key in second if key in first]:
        yield NodeDifference("(graph)", "", "the order of the nodes")


def _labelled(graph: Graph) -> dict[tuple[str, int], Node]:
    """Nodes by label and number of occurrence: labels need not be unique."""
    seen: Counter[str] = Counter()
    result: dict[tuple[str, int], Node] = {}
    for node in graph.nodes:
        result[node.label, seen[node.label]] = node
        seen[node.label] += 1
    return result


def _node_changes(a: Node, b: Node) -> Iterator[str]:
    for what, first, second in (
        ("operator", f"{a.domain}:{a.op_type}", f"{b.domain}:{b.op_type}"),
        ("doc_string", a.proto.doc_string, b.proto.doc_string),
    ):
        if first != second:
            yield f"{what} {_short(first)} -> {_short(second)}"
    for what, names_a, names_b in (("input", a.inputs, b.inputs), ("output", a.outputs, b.outputs)):
        for slot, (first, second) in enumerate(zip_longest(names_a, names_b, fillvalue="")):
            if first != second:
                yield f"{what} {slot}: {_short(first)} -> {_short(second)}"
    for name in sorted({*a.attributes, *b.attributes}):
        one, other = a.attributes.get(name), b.attributes.get(name)
        if one is None or other is None:
            yield f"attribute {name} only in {'a' if other is None else 'b'}"
        elif not _is_body(one) and _bytes(one) != _bytes(other):
            yield f"{name} {_short(_value(a, name))} -> {_short(_value(b, name))}"
    if {p.key: p.value for p in a.proto.metadata_props} != {p.key: p.value for p in b.proto.metadata_props}:
        yield "metadata of the node"


def _is_body(attribute: AttributeProto) -> bool:
    """Bodies are compared node by node, as the graph lists their nodes too."""
    return attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def _value(node: Node, name: str) -> str:
    attribute = node.attributes[name]
    if attribute.type in (AttributeProto.TENSOR, AttributeProto.TENSORS, AttributeProto.SPARSE_TENSOR):
        tensor = attribute.t
        return f"{dtype_name(tensor.data_type)} tensor {list(tensor.dims)}"
    return str(node.attribute(name, attribute.ref_attr_name))


# ---- initializers ------------------------------------------------------------------------------------------------
def _tensors(a: Model, b: Model, graph_a: Graph, graph_b: Graph) -> tuple[list[TensorDifference], list[str]]:
    """Differing initializers of all scopes, and a line for each whose element type differs."""
    first, second = dict(_all_tensors(a, graph_a)), dict(_all_tensors(b, graph_b))
    found: list[TensorDifference] = []
    types: list[str] = []
    for name in {**first, **second}:
        one, other = first.get(name), second.get(name)
        if one is None or other is None:
            found.append(TensorDifference(name, _shape(one), _shape(other)))
            continue
        if one.dtype != other.dtype:
            types.append(f"type of initializer {name!r}: {dtype_name(one.dtype)} in a, {dtype_name(other.dtype)} in b")
        if tuple(one.shape) != tuple(other.shape):
            found.append(TensorDifference(name, tuple(one.shape), tuple(other.shape)))
            continue
        largest = _largest(one.array, other.array)
        if largest != 0.0 or one.dtype != other.dtype:
            found.append(TensorDifference(name, tuple(one.shape), tuple(other.shape), largest))
    sparse_a = {t.values.name: _bytes(t) for t in a.proto.graph.sparse_initializer}
    sparse_b = {t.values.name: _bytes(t) for t in b.proto.graph.sparse_initializer}
    return found, [*types, *_entries("sparse initializer", sparse_a, sparse_b, opaque=True)]


def _all_tensors(model: Model, graph: Graph) -> Iterator[tuple[str, LazyTensor | Constant]]:
    """Initializers of the graph and of its bodies, by key. `Constant` nodes are compared as nodes."""
    yield from model.tensors.items()
    yield from ((key, c) for key, c in graph.constants.items() if key not in model.tensors and c.node is None)


def _shape(tensor: LazyTensor | Constant | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _largest(first: Callable[[], Any], second: Callable[[], Any]) -> float | None:
    """max |a - b|; NaN equals NaN; infinity where only one is finite. None for texts that differ."""
    one, other = np.asarray(first()).reshape(-1), np.asarray(second()).reshape(-1)
    if one.dtype.kind in "OSU" or other.dtype.kind in "OSU":
        return 0.0 if one.dtype.kind == other.dtype.kind and bool((one == other).all()) else None
    largest = 0.0
    for start in range(0, one.size, _PIECE):
        largest = max(largest, _piece(one[start : start + _PIECE], other[start : start + _PIECE]))
    return largest


def _piece(one: Any, other: Any) -> float:
    if one.dtype == other.dtype and one.tobytes() == other.tobytes():
        return 0.0
    kind = np.complex128 if "c" in (one.dtype.kind, other.dtype.kind) else np.float64
    one, other = one.astype(kind), other.astype(kind)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(one - other)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    apart = np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
    return float(apart.max(initial=0.0))

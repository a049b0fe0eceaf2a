"""To and from onnx-graphsurgeon.

Its export drops metadata_props, doc strings, the model's domain and version, training_info and quantization
annotations. A graph made by `to_graph` remembers the model it came from, and `from_graph` puts back whatever still has
a place: what belongs to a node is found by the node's first output, everything else by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, NodeProto

_ORIGIN = "onnxprune_origin"


def to_graph(complete: ModelProto, origin: ModelProto) -> gs.Graph:
    """A graphsurgeon graph of a model with all payloads; `origin` is what is remembered of it."""
    graph = gs.import_onnx(complete)
    setattr(graph, _ORIGIN, origin)
    return graph


def from_graph(graph: gs.Graph) -> ModelProto:
    """The model of a graphsurgeon graph."""
    proto: ModelProto = gs.export_onnx(graph, do_type_check=False)
    origin: ModelProto | None = getattr(graph, _ORIGIN, None)
    if origin is not None:
        _carry_model(origin, proto)
    return proto


def _carry_model(old: ModelProto, new: ModelProto) -> None:
    for name in ("domain", "model_version", "doc_string"):
        if old.HasField(name) and not new.HasField(name):
            setattr(new, name, getattr(old, name))
    for name in ("metadata_props", "training_info", "configuration"):
        if not getattr(new, name):
            getattr(new, name).extend(getattr(old, name))
    functions = {(item.domain, item.name): item for item in old.functions}
    for function in new.functions:
        source = functions.get((function.domain, function.name))
        if source is not None:
            _carry_notes(source, function)
            _carry_nodes(source.node, function.node)
    _carry_graph(old.graph, new.graph)


def _carry_graph(old: GraphProto, new: GraphProto) -> None:
    """One graph and, through its nodes, all inside it. As deep as protobuf nests, which is a hundred at most."""
    _carry_notes(old, new)
    values = {item.name: item for item in (*old.value_info, *old.input, *old.output)}
    for item in (*new.value_info, *new.input, *new.output):
        if item.name in values:
            _carry_notes(values[item.name], item)
    tensors = {item.name: item for item in old.initializer}
    for tensor in new.initializer:
        if tensor.name in tensors:
            _carry_notes(tensors[tensor.name], tensor)
    if not new.quantization_annotation:
        present = {item.name for item in (*new.value_info, *new.input, *new.output, *new.initializer)}
        present.update(name for node in new.node for name in (*node.input, *node.output))
        kept = (item for item in old.quantization_annotation if item.tensor_name in present)
        new.quantization_annotation.extend(kept)
    _carry_nodes(old.node, new.node)


def _carry_nodes(old: Iterable[NodeProto], new: Iterable[NodeProto]) -> None:
    sources = {_key(node): node for node in old}
    for node in new:
        source = sources.get(_key(node))
        if source is None:
            continue
        _carry_notes(source, node)
        if source.overload and not node.overload:
            node.overload = source.overload
        graphs = {attribute.name: attribute.g for attribute in source.attribute if attribute.HasField("g")}
        for attribute in node.attribute:
            if attribute.HasField("g") and attribute.name in graphs:
                _carry_graph(graphs[attribute.name], attribute.g)


def _key(node: NodeProto) -> tuple[str, str, str]:
    return node.domain, node.op_type, next((name for name in node.output if name), "")


def _carry_notes(old: Any, new: Any) -> None:
    if old.doc_string and not new.doc_string:
        new.doc_string = old.doc_string
    if not new.metadata_props:
        new.metadata_props.extend(old.metadata_props)

"""Taking residual branches out of a model: their sums become their shortcuts."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import GraphProto, NodeProto, helper

from onnxprune.model.graph import Graph, build
from onnxprune.model.load import Model
from onnxprune.model.splice import splice
from onnxprune.trace.branches.vanish import orphans, vanishing


def remove(model: Model, sums: Mapping[str, int]) -> Model:
    """`model` where every sum, named by its output, is its input of the slot it maps to. The source is not changed.

    Readers of the sum read the shortcut; where the name must stay (a graph output), an Identity gives it.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = build(Model(proto, model.tensors, model.path, model.external_files, model.notes))
    slots = {graph.producer[key]: slot for key, slot in sums.items()}
    gone = vanishing(graph, slots)
    left = set(orphans(graph, gone)) & set(model.tensors)
    lost = {key for index in gone for key in graph.nodes[index].outputs}
    shortcut, named = _shortcuts(graph, slots)
    for node in graph.nodes:
        if node.index not in gone:
            for slot, key in enumerate(node.inputs):
                if key in shortcut:
                    node.proto.input[slot] = shortcut[key]
    splice(graph, named, gone)
    _forget(proto.graph, lost - {node.output[0] for nodes in named.values() for node in nodes}, left)
    return model.replace(proto, {name: tensor for name, tensor in model.tensors.items() if name not in left})


def _shortcuts(graph: Graph, slots: Mapping[int, int]) -> tuple[dict[str, str], dict[int, list[NodeProto]]]:
    """What replaces every sum, and per node of a sum whose name must stay the node that gives it."""
    shortcut: dict[str, str] = {}
    named: dict[int, list[NodeProto]] = {}
    for index in sorted(slots):  # in order: a shortcut may be a sum itself
        node = graph.nodes[index]
        s = node.inputs[slots[index]]
        s = shortcut.get(s, s)
        if node.outputs[0] in graph.fixed:
            named[index] = [helper.make_node("Identity", [s], [node.outputs[0]], name=node.proto.name)]
        else:
            shortcut[node.outputs[0]] = s
    return shortcut, named


def _forget(graph: GraphProto, values: set[str], tensors: set[str]) -> None:
    """Drop what the graph says of values and tensors that are no longer there."""
    for entries, names in (
        (graph.value_info, [v.name for v in graph.value_info]),
        (graph.quantization_annotation, [a.tensor_name for a in graph.quantization_annotation]),
        (graph.input, [i.name if i.name in tensors else "" for i in graph.input]),
    ):
        for position in reversed(range(len(names))):
            if names[position] in values or names[position] in tensors:
                del entries[position]

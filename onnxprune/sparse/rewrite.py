"""Sparse operators in place of dense ones, in a copy of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from onnxprune.errors import ModelError
from onnxprune.model import LazyTensor, Model
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.names import fresh, taken
from onnxprune.model.recorded import tidy
from onnxprune.model.splice import splice
from onnxprune.native.marks import DOMAIN
from onnxprune.sparse.bodies import LEAST_OPSET, spelled_bounds, spelled_weight
from onnxprune.sparse.functions import VERSION, Operator, function
from onnxprune.sparse.fuse import Fused, Shapes, fuse
from onnxprune.sparse.layers import Declined, Layer, read_layer
from onnxprune.sparse.masks import Mask, dense_zeros
from onnxprune.sparse.patterns import FLOAT_ROWS, INTEGER_ROWS, Pattern
from onnxprune.sparse.quantized import QuantizedLayer, quantized_weight, read_quantized
from onnxprune.sparse.storage import encode, encode_integers

_FEEDERS = frozenset({"DequantizeLinear", "QuantizeLinear", "Mul"})
LEAST_IR = 8
"""Functions came with this version of the file format."""
INITIALIZERS_APART = 4
"""Before this one all initializers were inputs of the graph, too; since then, those that are may be overridden."""


@dataclass(frozen=True)
class Rewritten:
    """operators: label of a node -> operator that replaced it; declined: label -> why it stays dense.

    stored: initializer of the stored values -> (weight, whether the file had it outputs last). depthwise: weights of
    depthwise layers that became operators.
    """

    model: Model
    operators: Mapping[str, str] = field(default_factory=dict)
    declined: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    depthwise: tuple[str, ...] = ()


def rewrite(model: Model, masks: Mapping[str, Mask], *, depthwise: Collection[str] = ()) -> Rewritten:
    """Replace the layers whose weights have masks (by initializer name) by sparse operators and their functions.

    Weights are float32 in plain models, int8 in quantised ones. Removed ones are zero in the result wherever they are
    used, also in layers that stay dense. `depthwise` names weights of depthwise convolutions that become operators too,
    dense: beside sparse layers they need no change of layout. Raises UsageError for masks that do not fit, ModelError
    for an opset below 9.
    """
    if model.opset() < LEAST_OPSET:
        raise ModelError(
            f"sparse operators need opset {LEAST_OPSET} or newer; the model has {model.opset()}",
            hint="onnx.version_converter.convert_version makes it newer",
        )
    masked = dense_zeros(model, masks)
    graph = build(masked)
    work = _Rewriting(graph, Shapes.of(graph), dict(masked.tensors))
    for node in graph.nodes:
        integers = quantized_weight(graph, node)
        if integers in masks:
            try:
                work.replace_quantized(read_quantized(graph, node), masks[integers])
            except Declined as reason:
                work.declined[node.label] = str(reason)
            continue
        weight = node.inputs[1] if len(node.inputs) > 1 else ""
        if weight not in masks and weight not in depthwise:
            continue
        try:
            layer = read_layer(graph, node)
            wanted = "DepthwiseConv" if weight in depthwise else layer.family
            if layer.family != wanted or (weight not in depthwise and layer.family == "DepthwiseConv"):
                raise Declined("it is depthwise" if layer.family == "DepthwiseConv" else "it is not depthwise")
            work.replace(fuse(graph, work.shapes, node, layer, work.dropped), masks.get(weight))
        except Declined as reason:
            work.declined[node.label] = str(reason)
    return work.finish(model.proto)


class _Rewriting:
    def __init__(self, graph: Graph, shapes: Shapes, tensors: dict[str, LazyTensor]) -> None:
        self.graph, self.shapes, self.tensors = graph, shapes, tensors
        self.opset = graph.model.opset()
        self.dropped: set[int] = set()
        self.inserted: dict[int, list[NodeProto]] = {}
        self.used: dict[str, Operator] = {}
        self.operators: dict[str, str] = {}
        self.declined: dict[str, str] = {}
        self.stored: dict[str, tuple[str, bool]] = {}
        self.depthwise: list[str] = []
        self.names = taken(graph.model.proto, tensors)

    def replace(self, fused: Fused, mask: Mask | None) -> None:
        layer, first = fused.layer, fused.nodes[0]
        array = layer.scaled()
        operator = Operator(layer.family, bool(fused.summand), fused.activation)
        attributes = {**layer.attributes, "weight_shape": list(array.shape)}
        if fused.bounds is not None:
            attributes["low"], attributes["high"] = fused.bounds
            attributes |= spelled_bounds(*fused.bounds, self.opset)
        stem = first.proto.output[0]
        inputs = [first.proto.input[0]]
        if mask is None:
            inputs.append(layer.weight.name if layer.scale.ndim == 0 else self._add(f"{stem}_weight", array))
            self.depthwise.append(layer.weight.name)
        else:
            stored = encode(array, None, _storable(mask.pattern, layer))
            attributes["block"] = stored.rows
            attributes |= spelled_weight(attributes, stored.gaps, self.opset)
            inputs += [self._add(f"{stem}_values", stored.values), self._add(f"{stem}_gaps", stored.gaps)]
            self.stored[inputs[1]] = (layer.weight.name, layer.transposed)
        inputs.append(self._add(f"{stem}_bias", layer.bias))
        if fused.summand:
            inputs.append(fused.summand)
        last = fused.nodes[-1]
        node = helper.make_node(
            operator.name, inputs, list(last.proto.output), name=first.proto.name, domain=DOMAIN, **attributes
        )
        self._insert(node, operator, fused.nodes)

    def replace_quantized(self, layer: QuantizedLayer, mask: Mask) -> None:
        """Integer blocks are four inputs wide, and as many rows high as kernels have that fit the mask's."""
        array = layer.weight.array()
        array = array.T if layer.transposed else array
        stored = encode_integers(array, mask.pattern.stored_rows(INTEGER_ROWS))
        first, last = layer.nodes[0], layer.nodes[-1]
        stem = first.proto.output[0]
        zero = layer.x_zero or self._add(f"{stem}_x_zero", np.zeros((), np.uint8))
        inputs = [layer.x, layer.x_scale, zero]
        inputs += [self._add(f"{stem}_values", stored.values), self._add(f"{stem}_gaps", stored.gaps)]
        self.stored[inputs[3]] = (layer.weight.name, layer.transposed)
        inputs.append(self._add(f"{stem}_scale", layer.scale))
        inputs += [layer.y_scale, layer.y_zero] if layer.y_scale else []
        inputs.append(self._add(f"{stem}_bias", layer.bias))
        attributes = {**layer.attributes, "weight_shape": list(array.shape), "block": stored.rows}
        attributes |= spelled_weight(attributes, stored.gaps, self.opset)
        operator = Operator(layer.family)
        node = helper.make_node(
            operator.name, inputs, list(last.proto.output), name=first.proto.name, domain=DOMAIN, **attributes
        )
        self._insert(node, operator, layer.nodes)

    def _insert(self, node: NodeProto, operator: Operator, replaced: Sequence[Node]) -> None:
        self.inserted[replaced[-1].index] = [node]
        self.dropped.update(old.index for old in replaced)
        self.used[operator.name] = operator
        self.operators[replaced[0].label] = operator.name

    def _add(self, wish: str, array: NDArray[np.generic]) -> str:
        name = fresh(wish, self.names)
        self.tensors[name] = LazyTensor.from_array(name, array)
        return name

    def finish(self, before: ModelProto) -> Rewritten:
        proto = self.graph.model.proto
        if not self.used:
            return Rewritten(self.graph.model, {}, self.declined)
        self._drop_unread()
        splice(self.graph, self.inserted, self.dropped)
        self._import(proto)
        model = self.graph.model.replace(proto, tidy(proto, self.tensors, before, nodes=False))
        return Rewritten(model, self.operators, self.declined, self.stored, tuple(self.depthwise))

    def _drop_unread(self) -> None:
        """Nodes that only fed what was replaced, such as the DequantizeLinear of a weight, go too."""
        read = {name for nodes in self.inserted.values() for node in nodes for name in node.input}
        for node in reversed(self.graph.nodes):
            if node.index in self.dropped or node.scope != 0 or node.op_type not in _FEEDERS:
                continue
            readers = [index for key in node.outputs for index, _ in self.graph.consumers.get(key, ())]
            used = set(readers) - self.dropped or set(node.outputs) & (read | set(self.graph.fixed))
            if readers and not used:
                self.dropped.add(node.index)

    def _import(self, proto: ModelProto) -> None:
        if not any(entry.domain == DOMAIN for entry in proto.opset_import):
            proto.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
        present = {entry.name for entry in proto.functions if entry.domain == DOMAIN}
        proto.functions.extend(function(self.used[name], self.opset) for name in sorted(set(self.used) - present))
        if proto.ir_version < INITIALIZERS_APART:
            inputs = [value for value in proto.graph.input if value.name not in self.tensors]
            del proto.graph.input[:]
            proto.graph.input.extend(inputs)
        proto.ir_version = max(proto.ir_version, LEAST_IR)


def _storable(pattern: Pattern, layer: Layer) -> Pattern:
    """The blocks to store: the largest that kernels have of which those of the pattern consist (4x1 for 4x4)."""
    groups = int(layer.attributes.get("group", 1))
    return Pattern(pattern.stored_rows(FLOAT_ROWS, len(layer.bias) // groups if groups > 1 else 0))

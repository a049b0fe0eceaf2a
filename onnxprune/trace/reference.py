"""The masked reference: the original network in which removed indices do not count.

Wherever indices end (trace closings), the input is multiplied by a 0/1 mask first; an average is rescaled to the kept
indices; a normalisation is written out with statistics over them; a residual branch is multiplied by 0 or 1 where it is
added. Masks are inputs of the reference, so that one session serves the plan and its deliberately wrong mutations.
Where an axis merges what is removed with sizes that are open (a group of channels with their pixels), the mask goes the
way of the data: it is reshaped in the graph. The reference shares nothing with the cut but the trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.names import fresh_prefix, taken
from onnxprune.model.splice import splice
from onnxprune.model.tensors import LazyTensor
from onnxprune.trace.branches import Branch
from onnxprune.trace.groups import Trace
from onnxprune.trace.ops.atoms import IntArray
from onnxprune.trace.ops.context import Closing
from onnxprune.trace.ops.elementwise import BINARY, UNARY

PREFIX = "onnxprune.reference."
MOVED = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that only move numbers, of one input."""


@dataclass(frozen=True)
class Mask:
    """An input of the reference. `labels` are unit numbers; `kind` says how they become numbers."""

    name: str
    labels: IntArray
    kind: str
    shape: tuple[int, ...]
    dtype: int

    def value(self, keep: NDArray[np.bool_]) -> NDArray[Any]:
        """The mask for the units that stay."""
        alive = keep[self.labels]
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(self.dtype))
        if self.kind in ("max", "min"):
            off = -np.inf if self.kind == "max" else np.inf
            return np.where(alive, 0, off).reshape(self.shape).astype(kind)
        scale = alive.size / max(int(alive.sum()), 1) if self.kind == "mean" else 1.0
        return (alive * scale).reshape(self.shape).astype(kind)


@dataclass
class MaskedModel:
    """A reference: `model` with the additional inputs `masks`."""

    model: Model
    masks: list[Mask] = field(default_factory=list)

    def feed(self, keep: NDArray[np.bool_], besides: NDArray[np.bool_] | None = None) -> dict[str, NDArray[Any]]:
        """The masks for the units that stay; with `besides` those alone that are others for these units."""
        if besides is None:
            return {mask.name: mask.value(keep) for mask in self.masks}
        changed = keep != besides
        return {mask.name: mask.value(keep) for mask in self.masks if changed[mask.labels].any()}


def build_reference(trace: Trace, outputs: Sequence[str] = ()) -> MaskedModel:
    """The reference of `trace`; `outputs` are additional values (top-level names) that it gives."""
    model = trace.graph.model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    builder = _Builder(trace, build(Model(proto, model.tensors, model.path, model.external_files)))
    closings = [closing for closing in trace.closings if closing.labels.any()]
    for closing in closings:
        if closing.kind != "norm":
            builder.mask_input(closing)
    for unit, branch in trace.removable_branches:
        builder.mask_branch(unit, branch)
    closed = {closing.node for closing in closings}
    for index, function in trace.state.references.items():
        if index in closed:
            function(_NodeReference(builder, trace.graph.nodes[index]))
            builder.dropped.add(index)
    splice(builder.graph, builder.before, builder.dropped)
    add_outputs(proto, trace, outputs)
    for mask in builder.masks:
        proto.graph.input.append(helper.make_tensor_value_info(mask.name, mask.dtype, mask.shape))
    return MaskedModel(model.replace(proto, {**model.tensors, **builder.tensors}), builder.masks)


def add_outputs(proto: onnx.ModelProto, trace: Trace, names: Sequence[str]) -> None:
    """Append values to the outputs of a model."""
    known = {o.name for o in proto.graph.output}
    for name in names:
        if name not in known:
            dtype = trace.facts.dtypes.get(name, TensorProto.FLOAT)
            shape = trace.facts.shapes.get(name)
            dims = None if shape is None else [None] * len(shape)
            proto.graph.output.append(helper.make_tensor_value_info(name, dtype, dims))


class _Builder:
    def __init__(self, trace: Trace, graph: Graph) -> None:
        self.trace = trace
        self.graph = graph
        self.before: dict[int, list[NodeProto]] = {}
        self.dropped: set[int] = set()
        self.masks: list[Mask] = []
        self.prefix = fresh_prefix(PREFIX, taken(graph.model.proto, graph.model.tensors))
        self.tensors: dict[str, LazyTensor] = {}
        self._known: dict[tuple[bytes, str, tuple[int, ...], int], str] = {}
        self._count = 0

    def fresh(self) -> str:
        self._count += 1
        return f"{self.prefix}{self._count}"

    def mask(self, labels: IntArray, kind: str, shape: tuple[int, ...], dtype: int) -> str:
        """Name of a mask input; equal ones are shared. `labels` are unit numbers."""
        identity = (labels.tobytes(), kind, shape, dtype)
        if identity not in self._known:
            mask = Mask(f"{self.prefix}mask{len(self.masks)}", labels, kind, shape, dtype)
            self.masks.append(mask)
            self._known[identity] = mask.name
        return self._known[identity]

    def mask_input(self, closing: Closing) -> None:
        if closing.kind == "integers":
            self._mask_integers(closing)
            return
        key = self.graph.nodes[closing.node].inputs[closing.slot]
        rank = len(self.trace.facts.shapes[key])
        shape = tuple(closing.labels.size if a == closing.axis else 1 for a in range(rank))
        dtype = self.trace.facts.dtypes.get(key, TensorProto.FLOAT)
        carried = self.carried(closing.node, key, closing.axis, dtype)
        if carried is not None:
            self._insert_carried(closing, carried, dtype)
            return
        mask = self.mask(closing.labels, closing.kind, shape, dtype)
        self._insert("Add" if closing.kind in ("max", "min") else "Mul", closing.node, closing.slot, mask)

    def _mask_integers(self, closing: Closing) -> None:
        """The zero point takes the place of what is removed. Behind DynamicQuantizeLinear it has already."""
        node = self.graph.nodes[closing.node]
        key = node.inputs[closing.slot]
        maker = self.graph.producer.get(key)
        if maker is not None and self.graph.nodes[maker].op_type == "DynamicQuantizeLinear":
            return
        mask = self.carried(closing.node, key, closing.axis, TensorProto.FLOAT)
        if mask is None:
            rank = len(self.trace.facts.shapes[key])
            shape = tuple(closing.labels.size if a == closing.axis else 1 for a in range(rank))
            mask = self.mask(closing.labels, "sum", shape, TensorProto.FLOAT)
        alive = self.write(closing.node, "Cast", [mask], to=TensorProto.BOOL)
        read = node.proto.input
        wide = self.write(closing.node, "Cast", [read[closing.slot]], to=TensorProto.INT32)
        masked = self.write(closing.node, "Where", [alive, wide, self._zero(closing)])
        read[closing.slot] = self.write(closing.node, "Cast", [masked], to=self.trace.facts.dtypes[key])

    def _zero(self, closing: Closing) -> str:
        """The zero point of what ends as int32: one number, or one for each index of the first and the last axis."""
        node = self.graph.nodes[closing.node]
        if closing.zero is None or closing.zero >= len(node.inputs) or not node.inputs[closing.zero]:
            return self.constant(np.array(0, np.int32))
        zero = self.write(closing.node, "Cast", [node.proto.input[closing.zero]], to=TensorProto.INT32)
        shape = self.trace.facts.shapes[node.inputs[closing.zero]]
        if all(size == 1 for size in shape):
            return zero
        return self.write(closing.node, "Reshape", [zero, self.constant(np.array([shape[0], 1, -1], np.int64))])

    def mask_branch(self, unit: int, branch: Branch) -> None:
        """What a residual branch adds, times one number."""
        slot = 1 - branch.shortcut
        dtype = self.trace.facts.dtypes.get(branch.branch_of(self.trace.graph), TensorProto.FLOAT)
        self._insert("Mul", branch.add, slot, self.mask(np.array([unit], np.int64), "sum", (), dtype))

    # ---- masks of any size -------------------------------------------------------------------------------------
    def carried(self, index: int, key: str, axis: int, dtype: int) -> str | None:
        """A 0/1 tensor of the shape of `key`, or one that broadcasts to it, written before node `index`.

        None where the axis has one size, so that an input will do, or where the mask's way is not understood.
        """
        labelled = self._labelled(key)
        if labelled != [axis] or not self.trace.state.statics.varies(key, axis):
            return None
        return self._carry(index, key, dtype)

    def _labelled(self, key: str) -> list[int]:
        return [axis for axis, labels in enumerate(self.trace.axes(key)) if labels is not None and labels.any()]

    def _carry(self, index: int, key: str, dtype: int) -> str | None:
        graph, axes, labelled = self.trace.graph, self.trace.axes(key), self._labelled(key)
        if not any(self.trace.state.statics.varies(key, axis) for axis in labelled):
            found: str | None = None
            for axis in labelled:
                labels = axes[axis]
                assert labels is not None
                shape = tuple(labels.size if a == axis else 1 for a in range(len(axes)))
                mask = self.mask(labels, "sum", shape, dtype)
                found = mask if found is None else self.write(index, "Mul", [found, mask])
            return found
        node = graph.nodes[graph.producer[key]] if key in graph.producer else None
        if node is None or node.domain:
            return None
        if node.op_type in MOVED:
            inner = self._carry(index, node.inputs[0], dtype)
            if inner is None:
                return None
            whole = self.write(index, "Expand", [inner, self.write(index, "Shape", [node.proto.input[0]])])
            copy = NodeProto()
            copy.CopyFrom(node.proto)
            copy.input[0], copy.output[0] = whole, self.fresh()
            copy.name = result = str(copy.output[0])
            self.add(index, copy)
            return result
        same = [k for k in node.inputs if k and node.op_type in {*UNARY, *BINARY} and self._equal(k, key)]
        return self._carry(index, same[0], dtype) if same else None

    def _equal(self, key: str, other: str) -> bool:
        """Whether two values have the same indices on all axes."""
        a, b = ([() if x is None else x.tolist() for x in self.trace.axes(k)] for k in (key, other))
        return a == b

    def _insert_carried(self, closing: Closing, mask: str, dtype: int) -> None:
        """Between an input and its reader, as the closing's kind wants it."""
        node = self.graph.nodes[closing.node]
        data = node.proto.input[closing.slot]
        if closing.kind in ("max", "min"):
            off = self.constant(np.array(-np.inf if closing.kind == "max" else np.inf, np.float32), dtype)
            alive = self.write(closing.node, "Cast", [mask], to=TensorProto.BOOL)
            node.proto.input[closing.slot] = self.write(closing.node, "Where", [alive, data, off])
            return
        if closing.kind == "mean":
            mask = self.write(closing.node, "Div", [mask, self.mean(closing.node, mask, [closing.axis])])
        node.proto.input[closing.slot] = self.write(closing.node, "Mul", [data, mask])

    def mean(self, index: int, value: str, axes: list[int]) -> str:
        if self.trace.graph.model.opset() < 18:
            return self.write(index, "ReduceMean", [value], axes=axes)
        return self.write(index, "ReduceMean", [value, self.constant(np.array(axes, np.int64))])

    def constant(self, value: NDArray[Any], dtype: int | None = None) -> str:
        name = self.fresh()
        self.tensors[name] = LazyTensor.from_array(name, value, dtype)
        return name

    def write(self, index: int, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node before node `index`, and the name of its output."""
        name = self.fresh()
        self.add(index, helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def _insert(self, operator: str, index: int, slot: int, mask: str) -> None:
        """An operator with a mask between an input and its reader."""
        node, name = self.graph.nodes[index], self.fresh()
        self.add(index, helper.make_node(operator, [node.proto.input[slot], mask], [name], name=name))
        node.proto.input[slot] = name

    def add(self, index: int, node: NodeProto) -> None:
        self.before.setdefault(index, []).append(node)


class _NodeReference:
    """What a rule's reference function writes with; see ops.context.Reference."""

    def __init__(self, builder: _Builder, node: Node) -> None:
        self._builder = builder
        self.node = node
        self._dtype = builder.trace.facts.dtypes.get(node.inputs[0], TensorProto.FLOAT)

    def mask(self, labels: IntArray, rank: int, axis: int) -> str:
        shape = tuple(labels.size if a == axis else 1 for a in range(rank))
        carried = self._builder.carried(self.node.index, self.node.inputs[0], axis, self._dtype)
        if carried is not None and rank > 1:
            return carried
        return self._builder.mask(self._builder.trace.table[labels], "sum", shape, self._dtype)

    def add(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        inputs = list(inputs)
        if op_type == "ReduceMean" and self._builder.trace.graph.model.opset() < 18:
            attributes["axes"] = self._builder.tensors[inputs.pop()].array().tolist()
        return self._builder.write(self.node.index, op_type, inputs, **attributes)

    def constant(self, value: NDArray[Any]) -> str:
        return self._builder.constant(value)

    def number(self, value: float) -> str:
        return self._builder.constant(np.array(value, np.float32), self._dtype)

    def finish(self, name: str, output: int = 0) -> None:
        if output < len(self.node.proto.output) and self.node.proto.output[output]:
            target = self.node.proto.output[output]
            node = helper.make_node("Identity", [name], [target], name=f"{target}.reference")
            self._builder.add(self.node.index, node)

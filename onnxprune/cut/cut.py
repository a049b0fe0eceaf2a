"""From a trace and the units that stay to a smaller model.

Constants are compressed along their labelled axes; rules rewrite attributes and literal inputs; sizes computed by the
graph follow by themselves, are corrected where they hold literals, and keep their old values where they are used as
data (sizes.py). Residual branches leave last, as nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.cut.constants import variants
from onnxprune.cut.sizes import OldSizes, Sizes
from onnxprune.cut.surgeon import Surgeon
from onnxprune.model.graph import Node
from onnxprune.model.infer import Facts, Shape, partial_of, propagate
from onnxprune.model.load import Model
from onnxprune.model.partial import Partial
from onnxprune.trace.branches import remove
from onnxprune.trace.groups import Trace
from onnxprune.trace.ops.atoms import IntArray, Labels
from onnxprune.trace.ops.context import Literal, NotUnderstood
from onnxprune.trace.ops.elementwise import BINARY, UNARY

Bools = NDArray[np.bool_]
STANDS_EMPTY = frozenset({*UNARY, *BINARY, "Split", "Slice", "Gather", "Concat", "Transpose", "Shape", "Size"})


class CutError(Exception):
    """A node cannot be rewritten for this choice: `node` must keep its indices, because of the message."""

    def __init__(self, message: str, node: int) -> None:
        super().__init__(message)
        self.node = node


class _Kept:
    """What the rules ask while they rewrite."""

    def __init__(self, trace: Trace, keep: Bools) -> None:
        self._table, self._keep = trace.table, keep

    def mask(self, labels: IntArray) -> Bools:
        return np.asarray(self._keep[self._table[labels]], bool)

    def count(self, labels: Labels, size: int) -> int:
        return size if labels is None else int(self.mask(labels).sum())


def planned_shapes(trace: Trace, keep: Bools) -> dict[str, Shape]:
    """Shape of every value after the cut."""
    kept = _Kept(trace, keep)
    shapes = dict(trace.facts.shapes)
    for key, axes in trace.state.axes.items():
        shape = shapes.get(key)
        if shape is not None and any(labels is not None for labels in axes):
            shapes[key] = tuple(
                size if labels is None else kept.count(labels, labels.size)
                for labels, size in zip(axes, shape, strict=True)
            )
    return shapes


def cut(trace: Trace, keep: Bools) -> Model:
    """The model without the units that `keep` (unit_count,) drops. The source is not changed.

    Raises CutError where a rule cannot express the result.
    """
    model = trace.graph.model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    surgeon = Surgeon(model, proto)
    kept = _Kept(trace, keep)
    shapes = planned_shapes(trace, keep)
    _refuse_empty(trace, shapes)
    for constant, cuts in variants(trace, keep):
        surgeon.replace_constant(constant, cuts)
    after = Facts(dict(shapes), dict(trace.facts.dtypes))
    propagate(trace.graph, after, fill=False)
    sizes = Sizes(trace, kept)
    old = OldSizes(trace, sizes, surgeon)
    handled = _literals(trace, kept, after, surgeon, sizes, old)
    handled |= _rewrites(trace, kept, surgeon)
    _freeze(trace, surgeon, handled, sizes, old)
    before = trace.facts.shapes
    smaller = surgeon.finish({key: (before[key], shapes[key]) for key in before if shapes[key] != before[key]})
    if proto.ir_version < 4:
        _declare_initializers(smaller.proto)
    sums = {trace.graph.nodes[index].outputs[0]: slot for index, slot in trace.removed_sums(keep).items()}
    return remove(smaller, sums) if sums else smaller


def _refuse_empty(trace: Trace, shapes: Mapping[str, Shape]) -> None:
    """A group keeps an index at least, but a part of it (of a Slice, a Split) may lose its last one. Data movement
    and element-wise operators stand that; for others ONNX Runtime does not define it, and a Conv of nothing never ends.
    """
    before = trace.facts.shapes
    empty = {key for key in trace.state.axes if 0 in shapes.get(key, ()) and 0 not in before.get(key, ())}
    for node in trace.graph.nodes if empty else ():
        if node.op_type not in STANDS_EMPTY and not empty.isdisjoint(node.inputs):
            raise CutError(f"{node.op_type} would be left without an index on one of its axes", node.index)


def _literals(
    trace: Trace, kept: _Kept, after: Facts, surgeon: Surgeon, sizes: Sizes, old: OldSizes
) -> set[tuple[int, int]]:
    """Correct the size inputs that do not come out right by themselves, element by element.

    An element that the cut should not change, but does because it was computed from a size that shrinks, gets its old
    value back.
    """
    for literal in trace.state.literals:
        required = literal.required(kept)
        node = trace.graph.nodes[literal.node]
        if literal.slot >= len(node.inputs) or not node.inputs[literal.slot]:
            _size_attribute(literal, node, required, surgeon)
            continue
        key = node.inputs[literal.slot]
        if key in trace.graph.constants:
            constant = trace.graph.constants[key].array()
            wrong = {p: size for p, size in enumerate(required) if size is not None and int(constant[p]) != size}
            if wrong:
                surgeon.patch_sizes(node, literal.slot, constant, wrong, len(required))
            continue
        restored, wrong = _wrong_sizes(trace, literal, required, after, sizes)
        if restored:
            surgeon.read(node, literal.slot, old.name(key))
        if wrong:
            surgeon.patch_sizes(node, literal.slot, None, wrong, len(required))
    return {(literal.node, literal.slot) for literal in trace.state.literals}


def _wrong_sizes(
    trace: Trace, literal: Literal, required: Sequence[int | None], after: Facts, sizes: Sizes
) -> tuple[bool, dict[int, int]]:
    """Of a computed size input: whether the elements are wanted as they were before the cut, and which of them are to
    be written down.
    """
    key = trace.graph.nodes[literal.node].inputs[literal.slot]
    count = len(required)
    now = _listed(partial_of(trace.graph, after, key), count)
    before = _listed(sizes.old(key), count)
    changed = sizes.changed[key].ravel().tolist() if key in sizes.changed else [False] * count
    drifted = [p for p, size in enumerate(required) if size is None and changed[p]]
    static = trace.state.statics.holds(key).ravel() if drifted and sizes.old(key) is not None else np.zeros(count, bool)
    drifted = [p for p in drifted if now[p] is None or now[p] != before[p] or not static[p]]
    restored = any(before[p] is None or not static[p] for p in drifted)
    untouched = literal.required(_Everything())
    wrong: dict[int, int] = {} if restored else {p: int(before[p] or 0) for p in drifted}
    for position, size in enumerate(required):
        if size is None:
            continue
        comes = before[position] if restored else now[position]
        if comes is None and not restored and changed[position]:
            wrong[position] = size
        elif comes is None:  # only what the cut changes needs a correction
            wrong.update({position: size} if untouched[position] != size else {})
        elif comes != size:
            wrong[position] = size
    return restored, wrong


def _listed(part: Partial | None, count: int) -> list[int | None]:
    """The elements of a list of sizes, None for those that are not known."""
    if part is None or part.value.size != count:
        return [None] * count
    return [None if size is None else int(size) for size in part.elements()]


class _Everything:
    """Nothing is cut."""

    def mask(self, labels: IntArray) -> Bools:
        return np.ones(labels.shape, bool)

    def count(self, labels: Labels, size: int) -> int:
        return size if labels is None else labels.size


def _size_attribute(literal: Literal, node: Node, required: object, surgeon: Surgeon) -> None:
    """Reshape before opset 5 keeps its target in an attribute."""
    old = node.attribute("shape")
    if isinstance(old, list) and isinstance(required, list):
        new = [given if size is None else size for given, size in zip(old, required, strict=True)]
        if new != old:
            surgeon.edit(literal.node).set_attribute("shape", new)


def _rewrites(trace: Trace, kept: _Kept, surgeon: Surgeon) -> set[tuple[int, int]]:
    handled: set[tuple[int, int]] = set()
    for index, functions in trace.state.rewrites.items():
        edit = surgeon.edit(index, kept.mask, kept.count)
        for function in functions:
            try:
                function(edit)
            except NotUnderstood as refusal:
                raise CutError(str(refusal), index) from refusal
        handled |= {(index, slot) for slot in edit.replaced}
    return handled


def _freeze(trace: Trace, surgeon: Surgeon, handled: set[tuple[int, int]], sizes: Sizes, old: OldSizes) -> None:
    """A size that the cut changes, used as data (the scale 1/sqrt(d) of attention), keeps its old value.

    It is written down where it is the same for all symbolic sizes, and computed from the old sizes elsewhere.
    """
    for node in trace.graph.nodes if sizes.changed else ():
        if sizes.arithmetic(node):
            continue
        for slot, key in enumerate(node.inputs):
            if key not in sizes.changed or (node.index, slot) in handled:
                continue
            value = sizes.constant(key)
            if value is not None:
                surgeon.freeze(node, slot, value)
            else:
                surgeon.read(node, slot, old.name(key))
    for scope, body in enumerate(trace.graph.scopes):
        for output in body.output:
            key = output.name if scope == 0 else f"{output.name}@{scope}"
            if key in sizes.changed:
                surgeon.rename(key, old.name(key))


def _declare_initializers(proto: onnx.ModelProto) -> None:
    """Before IR version 4, initializers are graph inputs as well, with shapes of their own."""
    sizes = {t.name: t.dims for t in proto.graph.initializer}
    for value in proto.graph.input:
        if value.name in sizes and value.type.tensor_type.elem_type != TensorProto.UNDEFINED:
            del value.type.tensor_type.shape.dim[:]
            for size in sizes[value.name]:
                value.type.tensor_type.shape.dim.add().dim_value = size

"""Sizes that the graph computes: which elements of them the cut changes, and how to have them as they were.

Shape and Size see smaller tensors after the cut, and so does all arithmetic behind them. Where such a number is a size,
it is to follow (see cut.py). Where it is data, it must be what it was: a constant if it is the same for all symbolic
sizes, and otherwise computed once more from shapes in which the axes that were cut have their old sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxprune.cut.surgeon import Surgeon
from onnxprune.model.arithmetic import completed_inputs, partial_of
from onnxprune.model.graph import Node
from onnxprune.model.infer import Facts, propagate
from onnxprune.model.partial import Partial, controls, evaluate_partial
from onnxprune.trace.groups import Trace
from onnxprune.trace.ops.context import Kept

Bools = NDArray[np.bool_]
Array = NDArray[Any]


class Sizes:
    """`before`: what is known of them without the cut. `changed`: key -> which elements the cut may change."""

    def __init__(self, trace: Trace, kept: Kept) -> None:
        self._trace, self._kept = trace, kept
        facts = trace.facts
        self.before = Facts(dict(facts.shapes), dict(facts.dtypes))
        propagate(trace.graph, self.before, fill=False)  # tracing may have found shapes that inference did not
        self.changed: dict[str, Bools] = {}
        for node in trace.graph.nodes:
            self._follow(node)

    def arithmetic(self, node: Node) -> bool:
        """Whether a node does nothing but compute sizes from sizes."""
        outputs = [key for key in node.outputs if key]
        return bool(outputs) and all(key in self.before.values or key in self.before.partial for key in outputs)

    def old(self, key: str) -> Partial | None:
        """What is known of a value before the cut."""
        return partial_of(self._trace.graph, self.before, key)

    def constant(self, key: str) -> Array | None:
        """The value before the cut, if it is known and the same for all symbolic sizes."""
        found = self.old(key)
        known = found is not None and found.whole and partial_of(self._trace.graph, self._trace.facts, key) is not None
        return found.value if found is not None and known and self._trace.state.statics.holds(key).all() else None

    def lost(self, key: str) -> Bools:
        """Per axis of a value: whether the cut takes indices from it."""
        axes = self._trace.state.axes.get(key, ())
        return np.array([x is not None and self._kept.count(x, x.size) != x.size for x in axes], bool)

    def _follow(self, node: Node) -> None:
        if node.domain or not self.arithmetic(node):
            return
        if node.op_type in ("Shape", "Size"):
            lost = self.lost(node.inputs[0])
            part = slice(node.attribute("start", 0), node.attribute("end"))
            changed = [np.array(lost.any()) if node.op_type == "Size" else lost[part]]
        elif any(key in self.changed for key in node.inputs):
            changed = self._through(node)
        else:
            return
        for key, mask in zip(node.outputs, changed, strict=False):
            if key and mask.any():
                self.changed[key] = mask

    def _through(self, node: Node) -> list[Bools]:
        """Which elements of the outputs depend on changed ones. Where the elements taken are not known: all."""
        graph = self._trace.graph
        whole = [np.ones(self._shape(key), bool) for key in node.outputs]
        inputs = completed_inputs(graph, self.before, node, [self.old(key) for key in node.inputs])
        if inputs is None:
            return whole
        same: list[Partial | None] = []
        deciding = controls(node, len(inputs))
        for slot, (key, part) in enumerate(zip(node.inputs, inputs, strict=True)):
            if part is None:
                same.append(None)
            elif slot in deciding and (key in self.changed or not part.whole):
                return whole
            else:
                same.append(Partial(part.value, ~self.changed.get(key, np.zeros(part.value.shape, bool))))
        found = evaluate_partial(node, same, graph.model.opset())
        return whole if found is None else [~part.known for part in found]

    def _shape(self, key: str) -> tuple[int, ...]:
        part = self.old(key) if key else None
        return () if part is None else part.value.shape


class OldSizes:
    """Writes the arithmetic that gives the changed values of `sizes` as they were before the cut."""

    def __init__(self, trace: Trace, sizes: Sizes, surgeon: Surgeon) -> None:
        self._graph, self._sizes, self._surgeon = trace.graph, sizes, surgeon
        self._shapes = trace.facts.shapes
        self._names: dict[str, str] = {}

    def name(self, key: str) -> str:
        """The name of a value that is what `key`, a changed one, was."""
        todo = [key]
        while todo:
            current = todo[-1]
            node = self._graph.nodes[self._graph.producer[current]]
            inputs = () if node.op_type in ("Shape", "Size") else node.inputs
            missing = [k for k in inputs if k in self._sizes.changed and k not in self._names]
            if missing and current not in self._names:
                todo.extend(missing)
                continue
            todo.pop()
            if current not in self._names:
                self._write(node)
        return self._names[key]

    def _write(self, node: Node) -> None:
        if node.op_type in ("Shape", "Size"):
            self._names[node.outputs[0]] = self._measured(node)
            return
        copy = NodeProto()
        copy.CopyFrom(node.proto)
        for slot, key in enumerate(node.inputs):
            if key in self._names and key in self._sizes.changed:
                copy.input[slot] = self._names[key]
        for position, key in enumerate(node.outputs):
            if key:
                copy.output[position] = self._names[key] = self._surgeon.fresh(f"{node.proto.output[position]}.before")
        copy.name = next(name for name in copy.output if name)
        self._surgeon.insert(node.index, [copy])

    def _measured(self, node: Node) -> str:
        """Shape or Size of a tensor as if the axes that were cut had kept their sizes."""
        source, data = node.proto.input[0], node.inputs[0]
        whole = self._surgeon.fresh(f"{node.proto.output[0]}.cut")
        copy = helper.make_node("Shape", [source], [whole], name=whole)
        if node.op_type == "Shape":
            copy.attribute.extend(node.proto.attribute)
        self._surgeon.insert(node.index, [copy])
        part = slice(node.attribute("start", 0), node.attribute("end")) if node.op_type == "Shape" else slice(None)
        lost, shape = self._sizes.lost(data)[part], self._shapes[data][part]
        sizes = {axis: int(shape[axis] or 0) for axis in np.flatnonzero(lost).tolist()}
        patched = self._surgeon.patched(node.index, whole, sizes, len(lost))
        if node.op_type == "Shape":
            return patched
        total = self._surgeon.fresh(f"{node.proto.output[0]}.before")
        self._surgeon.insert(node.index, [helper.make_node("ReduceProd", [patched], [total], name=total, keepdims=0)])
        return total

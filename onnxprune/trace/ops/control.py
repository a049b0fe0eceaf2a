"""Operators with bodies. The nodes inside are traced like all others.

Values captured from outside are ordinary inputs of the nodes that use them, so channels live across the border of an
If. What a Loop or a Scan carries round is one value: where it begins, where it enters the body, where it leaves it, and
what comes out at the end lose the same. Outputs of the branches of an If stay (graph.py declares them fixed).
"""

from __future__ import annotations

from onnxprune.model.borders import carried
from onnxprune.model.graph import Border
from onnxprune.trace.ops.atoms import Labels
from onnxprune.trace.ops.context import Op
from onnxprune.trace.ops.registry import rule

ROUND = "{} carries it round, and it is of another size there"
NOT_THERE = "{} carries it round together with an axis that cannot shrink"
OLDEST_SCAN = 9
"""Before, Scan had an axis of batches in front."""


@rule("If", "Loop", "Scan")
def body(op: Op) -> None:
    border = op.state.graph.borders.get(op.node.index)
    states = [] if border is None else carried(op.node, border)
    if border is None or (op.type == "Scan" and op.opset < OLDEST_SCAN):
        _pin_inputs(op, list(range(len(op.node.inputs))))
        return
    for state in states:
        op.set(state.output, _same(op, op.axes(state.slot), [state.enters, state.leaves]))
    first = 2 if op.type == "Loop" else 0
    _walked(op, border, first + len(states))
    _gathered(op, border, len(states))
    inside = f"@{border.scope}"  # what a body hands out as it was outside has reasons of its own
    op.state.crossing.update(key for key in (*border.inputs, *border.outputs) if key.endswith(inside))
    _pin_inputs(op, list(range(first)))


def _pin_inputs(op: Op, slots: list[int]) -> None:
    for slot in slots:
        if op.has(slot):
            for axis in range(len(op.state.facts.shapes.get(op.node.inputs[slot]) or ())):
                if op.constant(slot) is None:
                    op.pin(op.label(slot, axis), f"{op.type} takes it into its body")


def _same(op: Op, outside: list[Labels], inside: list[str]) -> list[Labels]:
    """The labels of a value outside, tied to those of values inside that are the same; None where one cannot shrink."""
    found = list(outside)
    for key in inside:
        axes = op.state.axes.get(key, [None] * len(found))
        if len(axes) != len(found):
            for labels in (*axes, *found):
                op.pin(labels, ROUND.format(op.type))
            found = [None] * len(found)
            continue
        for axis, labels in enumerate(axes):
            known = found[axis]
            if known is not None and labels is not None and known.size != labels.size:
                op.pin(known, ROUND.format(op.type))
                op.pin(labels, ROUND.format(op.type))
                found[axis] = None
            elif known is None and labels is None:
                continue
            else:
                found[axis] = op.tie(known, labels, NOT_THERE.format(op.type))
    return found


def _walked(op: Op, border: Border, first: int) -> None:
    """Inputs that a Scan takes slice by slice."""
    for position, slot in enumerate(range(first, len(op.node.inputs))):
        axes = op.axes(slot)
        given = op.attribute("scan_input_axes") or [0] * len(op.node.inputs)
        axis = int(given[position]) % max(len(axes), 1)
        op.pin(axes[axis], f"{op.type} walks along it")
        _same(op, [*axes[:axis], *axes[axis + 1 :]], [border.inputs[slot]])


def _gathered(op: Op, border: Border, states: int) -> None:
    """Outputs that are put together from those of every round."""
    skipped = 1 if op.type == "Loop" else 0
    given = op.attribute("scan_output_axes") or [0] * len(op.node.outputs)
    for position, output in enumerate(range(states, len(op.node.outputs))):
        axes = list(op.state.axes.get(border.outputs[skipped + output], []))
        if not axes:
            continue
        axis = int(given[position]) % (len(axes) + 1) if op.type == "Scan" else 0
        op.set(output, [*axes[:axis], None, *axes[axis:]])


@rule("Shape", "Size")
def measure(op: Op) -> None:
    """Sizes follow the cut by themselves; where a size is used as data, the cut freezes it to its old value."""


@rule("Constant")
def constant(op: Op) -> None:
    """Labels belong to its uses."""


@rule("RandomNormalLike", "RandomUniformLike", "EyeLike")
def like(op: Op) -> None:
    for axis in range(len(op.shape(0))):
        op.pin(op.label(0, axis), f"{op.type} makes a tensor of its size")

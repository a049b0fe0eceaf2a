"""Operators with bodies. The nodes inside are traced like all others; what crosses the border stays.

Values captured from outside are ordinary inputs of the nodes that use them, so channels live across the border of an
If; carried state, scanned inputs and outputs of a body do not shrink (graph.py declares them fixed).
"""

from __future__ import annotations

from onnxprune.trace.ops.context import Op
from onnxprune.trace.ops.registry import rule


@rule("If", "Loop", "Scan")
def body(op: Op) -> None:
    for slot in range(len(op.node.inputs)):
        if op.has(slot):
            for axis in range(len(op.state.facts.shapes.get(op.node.inputs[slot]) or ())):
                if op.constant(slot) is None:
                    op.pin(op.label(slot, axis), f"{op.type} takes it into its body")


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

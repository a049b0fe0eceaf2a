"""Operators whose output may jump when their input changes in the last bit: sorting, rounding, comparing.

Behind them, two correct computations need not agree; the values that enter the first of them must. What they *decide*
may be taken from one network into another (decisions.py): then all that comes behind can be compared as well.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from onnx import TensorProto

from onnxprune.model.graph import Node
from onnxprune.trace.groups import Trace

DISCONTINUOUS = frozenset(
    [
        "TopK",
        "NonMaxSuppression",
        "ArgMax",
        "ArgMin",
        "NonZero",
        "Round",
        "Floor",
        "Ceil",
        "Sign",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Equal",
        "Hardmax",
        "Unique",
        "Multinomial",
        "Bernoulli",
    ]
)


@dataclass
class Jumps:
    """What a change reaches of them.

    before: floating-point values (top level) that enter the first ones. behind: all keys that depend on one. `decided`:
    first output of each at the top level -> {slot: key} of the floating-point values by which it decides; `undecided`:
    keys that depend on one in a body.
    """

    before: dict[str, None] = field(default_factory=dict)
    behind: set[str] = field(default_factory=set)
    decided: dict[str, dict[int, str]] = field(default_factory=dict)
    undecided: set[str] = field(default_factory=set)

    def outputs(self, trace: Trace, *, decided: bool) -> set[str]:
        """Outputs that need not agree: all that are behind one, or, if they are given their decisions, the others."""
        return {o.name for o in trace.graph.model.proto.graph.output} & (self.undecided if decided else self.behind)


def jumps(trace: Trace, changed: Collection[int] | None = None) -> Jumps:
    """What a cut can reach, or a change of the nodes `changed`. Where neither is upstream, both models compute the
    same.
    """
    closing = changed
    if closing is None:
        closing = {c.node for c in trace.closings if c.labels.any()} | {b.add for _, b in trace.removable_branches}
    reached: set[str] = set()
    found = Jumps()
    for node in trace.graph.nodes:
        if node.outputs and all(k in trace.facts.values for k in node.outputs if k):
            continue
        inputs = [k for k in node.inputs if k]
        outputs = [k for k in node.outputs if k]
        if node.index in closing or any(k in reached for k in inputs):
            reached.update(outputs)
        here = _jumps(trace, node) and any(k in reached for k in inputs)
        if here and node.scope == 0:
            found.before.update(dict.fromkeys(k for k in inputs if k not in found.behind and _computed(trace, k)))
            slots = {slot: key for slot, key in enumerate(node.inputs) if key and _computed(trace, key)}
            found.decided.update({outputs[0]: slots} if slots else {})
        if here or any(k in found.behind for k in inputs):
            found.behind.update(outputs)
        if (here and node.scope) or any(k in found.undecided for k in inputs):
            found.undecided.update(outputs)
    return found


def _jumps(trace: Trace, node: Node) -> bool:
    if not any(node.outputs):
        return False
    truncates = node.op_type == "Cast" and _is_float(trace, node.inputs[0]) and not _is_float(trace, node.outputs[0])
    return truncates or node.op_type in DISCONTINUOUS


def _computed(trace: Trace, key: str) -> bool:
    """A floating-point value of the top level that is computed."""
    return key in trace.graph.producer and key not in trace.graph.constants and "@" not in key and _is_float(trace, key)


def _is_float(trace: Trace, key: str) -> bool:
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    return trace.facts.dtypes.get(key) in kinds

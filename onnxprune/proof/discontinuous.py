"""Operators whose output may jump when their input changes in the last bit: sorting, rounding, comparing.

Behind them, two correct computations need not agree; the values that enter the first of them must.
"""

from __future__ import annotations

from collections.abc import Collection

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
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "RandomUniformLike",
    ]
)


def before_discontinuities(trace: Trace, changed: Collection[int] | None = None) -> list[str]:
    """Floating-point values (top level) that enter the first discontinuous operators which a change can reach: a cut,
    or that of the nodes `changed`.
    """
    return list(_walk(trace, changed)[0])


def behind_discontinuities(trace: Trace, changed: Collection[int] | None = None) -> set[str]:
    """Outputs that depend on such an operator."""
    return {o.name for o in trace.graph.model.proto.graph.output} & _walk(trace, changed)[1]


def _walk(trace: Trace, changed: Collection[int] | None) -> tuple[dict[str, None], set[str]]:
    """(values before, keys behind). Where nothing that changes is upstream, both models compute the same."""
    closing = changed
    if closing is None:
        closing = {c.node for c in trace.closings if c.labels.any()} | {b.add for _, b in trace.removable_branches}
    reached: set[str] = set()
    behind: set[str] = set()
    before: dict[str, None] = {}
    for node in trace.graph.nodes:
        if node.outputs and all(k in trace.facts.values for k in node.outputs if k):
            continue
        inputs = [k for k in node.inputs if k]
        if node.index in closing or any(k in reached for k in inputs):
            reached.update(k for k in node.outputs if k)
        jumps = _jumps(trace, node) and any(k in reached for k in inputs)
        if jumps and node.scope == 0:
            before.update(dict.fromkeys(k for k in inputs if k not in behind and _computed_float(trace, k)))
        if jumps or any(k in behind for k in inputs):
            behind.update(k for k in node.outputs if k)
    return before, behind


def _jumps(trace: Trace, node: Node) -> bool:
    truncates = node.op_type == "Cast" and _is_float(trace, node.inputs[0]) and not _is_float(trace, node.outputs[0])
    return truncates or node.op_type in DISCONTINUOUS


def _computed_float(trace: Trace, key: str) -> bool:
    return key in trace.graph.producer and key not in trace.graph.constants and "@" not in key and _is_float(trace, key)


def _is_float(trace: Trace, key: str) -> bool:
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    return trace.facts.dtypes.get(key) in kinds

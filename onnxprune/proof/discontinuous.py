"""Operators whose output may jump when their input changes in the last bit: sorting, rounding, comparing.

Behind them, two correct computations need not agree; the values that enter the first of them must.
"""

from __future__ import annotations

from onnx import TensorProto

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


def before_discontinuities(trace: Trace) -> list[str]:
    """Floating-point values (top level) that enter the first discontinuous operators."""
    tainted: set[str] = set()
    found: dict[str, None] = {}
    for node in trace.graph.nodes:
        if node.outputs and all(k in trace.facts.values for k in node.outputs if k):
            continue
        jumps = node.op_type in DISCONTINUOUS or (
            node.op_type == "Cast" and _is_float(trace, node.inputs[0]) and not _is_float(trace, node.outputs[0])
        )
        inputs = [k for k in node.inputs if k]
        if jumps:
            for key in inputs:
                computed = key in trace.graph.producer and key not in trace.graph.constants
                if computed and node.scope == 0 and key not in tainted and _is_float(trace, key):
                    found[key] = None
        if jumps or any(k in tainted for k in inputs):
            tainted.update(k for k in node.outputs if k)
    return [k for k in found if "@" not in k]


def _is_float(trace: Trace, key: str) -> bool:
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    return trace.facts.dtypes.get(key) in kinds


def behind_discontinuities(trace: Trace) -> set[str]:
    """Outputs that depend on a discontinuous operator."""
    tainted: set[str] = set()
    for node in trace.graph.nodes:
        if node.outputs and all(k in trace.facts.values for k in node.outputs if k):
            continue
        if node.op_type in DISCONTINUOUS or any(k in tainted for k in node.inputs):
            tainted.update(k for k in node.outputs if k)
    return {o.name for o in trace.graph.model.proto.graph.output} & tainted

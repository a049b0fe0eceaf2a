"""How much two correct computations of one network may differ. Printed with every proof.

Rounding in a sum of K terms grows like sqrt(K) * eps, over a chain of L sums like L: relative to the largest output,

    tolerance = SAFETY * eps(type) * sqrt(K) * L,   at least FLOOR, at most CEILING.

Quantised networks differ by whole steps of their coarsest quantiser instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from onnxprune.trace.groups import Trace

SAFETY, FLOOR, CEILING = 4.0, 3e-5, 5e-2
QUANTISED = 5e-2
EPSILON: dict[int, float] = {TensorProto.FLOAT16: 2.0**-10, TensorProto.BFLOAT16: 2.0**-7}
QUANTISERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})


@dataclass(frozen=True)
class Tolerance:
    """`relative` to the largest absolute output; `policy` says how it came about."""

    relative: float
    policy: str


def tolerance(trace: Trace) -> Tolerance:
    """The policy for this network."""
    if any(node.op_type in QUANTISERS for node in trace.graph.nodes):
        return Tolerance(QUANTISED, "quantised network: 5 % of the largest output")
    length, depth, epsilon = 1, 0, 2.0**-23
    for node in trace.graph.nodes:
        for key in node.inputs:
            constant = trace.graph.constants.get(key)
            if constant is not None and len(constant.shape) >= 2 and node.op_type in ("Conv", "MatMul", "Gemm"):
                length = max(length, constant.size // max(constant.shape[0], 1))
            epsilon = max(epsilon, EPSILON.get(trace.facts.dtypes.get(key, 0), 0.0))
        depth += node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "LSTM", "GRU")
    value = float(np.clip(SAFETY * epsilon * np.sqrt(length) * max(depth, 1), FLOOR, CEILING))
    return Tolerance(value, f"{SAFETY:g} * {epsilon:.2g} * sqrt({length} terms) * {max(depth, 1)} layers")

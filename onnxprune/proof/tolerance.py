"""How much two correct computations of one network may differ. Printed with every proof.

Rounding in a sum of K terms grows like sqrt(K) * eps, over a chain of L sums like L: relative to the largest output,

    tolerance = SAFETY * eps(type) * sqrt(K) * L,   at least FLOOR, at most CEILING.

Quantised networks differ by whole steps of their coarsest quantiser instead. And a small output may have few digits:
the runtime's sigmoid of 1e-5 is a multiple of 2^-25, and off by four of these at times. SAFETY times as much is no
difference. (An output of no more than that says nothing; a proof in which no wrong plan shows looks at values inside.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.trace.groups import Trace

SAFETY, FLOOR, CEILING = 4.0, 3e-5, 5e-2
STEPS = 4
QUANTISED = 5e-2
EPSILON: dict[int, float] = {TensorProto.FLOAT16: 2.0**-10, TensorProto.BFLOAT16: 2.0**-7}
QUANTISERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})


@dataclass(frozen=True)
class Tolerance:
    """`relative` to the largest absolute output; `policy` says how it came about."""

    relative: float
    policy: str

    def least(self, step: float) -> float:
        """The largest value that an output in steps of this size must have for `relative` to be more than a few."""
        return SAFETY * STEPS * step / self.relative


def step_of(*arrays: NDArray[Any]) -> float:
    """The power of two of which all these floating-point numbers are multiples, as far as that is the last place of
    numbers about 1 (2 eps, at most); 0 for other types.

    A sum that cancels, or 1/2 plus something in (-1/2, 1/2), keeps the last place of what was added.
    """
    if any(array.dtype.kind != "f" for array in arrays):
        return 0.0
    values = np.concatenate([array.ravel().astype(np.float64) for array in arrays])
    values = values[np.isfinite(values) & (values != 0)]
    if not values.size:
        return 0.0
    fraction, exponent = np.frexp(values)
    digits = (np.abs(fraction) * 2.0**53).astype(np.int64)
    last = np.frexp((digits & -digits).astype(np.float64))[1] - 54  # places of the last digit behind the first
    most = 2 * max(float(np.finfo(array.dtype).eps) for array in arrays)
    return float(min(2.0 ** int((exponent + last).min()), most))


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

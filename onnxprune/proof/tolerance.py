"""How much two correct computations of one network may differ. Printed with every proof.

Rounding in a sum of K terms grows like sqrt(K) * eps, over a chain of L sums like L: relative to the largest output,

    tolerance = SAFETY * eps(type) * sqrt(K) * L,   at least FLOOR, at most CEILING.

Quantised networks differ by whole steps of their coarsest quantiser instead, as long as they round (`unrounded`). And a
small output may have few digits: the runtime's sigmoid of 1e-5 is a multiple of 2^-25, and off by four of these at
times. SAFETY times as much is no difference. What such an output comes from is compared as well then, up to the layer
that gives it.

What is allowed may be much more than what is found: types of few digits, quantisers. A wrong plan that is off by less
than that, but by FACTOR times as much as the right one, is told apart as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.model.folding import source
from onnxprune.model.graph import Node
from onnxprune.model.integers import ROUNDS
from onnxprune.trace.groups import Trace

SAFETY, FLOOR, CEILING = 4.0, 3e-5, 5e-2
FACTOR = 10.0
STEPS = 4
MOST = 2  # eps: the largest step
CHUNK = 1 << 20
QUANTISED = 5e-2
EPSILON: dict[int, float] = {TensorProto.FLOAT16: 2.0**-10, TensorProto.BFLOAT16: 2.0**-7}
QUANTISERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
ROUNDING = QUANTISERS | {
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearConv",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMatMul",
    "QLinearMul",
    "QLinearSigmoid",
    "QLinearSoftmax",
}
PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "LSTM", "GRU", "MatMulNBits"})


@dataclass(frozen=True)
class Tolerance:
    """`relative` to the largest absolute output; `policy` says how it came about."""

    relative: float
    policy: str

    def tells(self, right: float, wrong: float) -> bool:
        """Whether a wrong plan shows: it is off by more than is allowed, or by FACTOR times what the right one is."""
        return not wrong <= self.relative or wrong >= max(FACTOR * right, FLOOR)

    def least(self, x: NDArray[Any], y: NDArray[Any]) -> float:
        """What two outputs are relative to if their largest value is less: they have too few digits for `relative`."""
        if any(array.dtype.kind != "f" for array in (x, y)):
            return 0.0
        few = SAFETY * STEPS / self.relative
        largest = np.abs(x, where=np.isfinite(x), out=np.zeros_like(x)).max(initial=0.0)
        return few * step_of(x, y) if largest < few * MOST * np.finfo(x.dtype).eps else 0.0


def step_of(*arrays: NDArray[Any]) -> float:
    """The power of two of which all these floating-point numbers are multiples, as far as that is the last place of
    numbers about 1 (2 eps, at most); 0 if there are none but zeros.

    A sum that cancels, or 1/2 plus something in (-1/2, 1/2), keeps the last place of what was added.
    """
    place: float = np.inf
    for array in arrays:
        flat = array.ravel()
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK].astype(np.float64)
            place = min(place, _last_place(part[np.isfinite(part) & (part != 0)]))
    most = MOST * max(float(np.finfo(array.dtype).eps) for array in arrays)
    return float(min(2.0**place, most)) if np.isfinite(place) else 0.0


def _last_place(values: NDArray[np.float64]) -> float:
    """The exponent of the power of two of which all these numbers, none of them zero, are multiples."""
    if not values.size:
        return np.inf
    fraction, exponent = np.frexp(values)
    digits = (np.abs(fraction) * 2.0**53).astype(np.int64)
    last = np.frexp((digits & -digits).astype(np.float64))[1] - 54  # places of the last digit behind the first
    return float((exponent + last).min())


def rounds(node: Node) -> bool:
    """Whether an operator rounds what it computes to integers."""
    return node.op_type in ROUNDING or (node.op_type == "MatMulNBits" and node.attribute("accuracy_level", 0) == ROUNDS)


def tolerance(trace: Trace, *, rounded: bool = True) -> Tolerance:
    """The policy for this network; not `rounded`: its quantisers do not round what it computes."""
    if rounded and any(rounds(node) for node in trace.graph.nodes):
        return Tolerance(QUANTISED, "quantised network: 5 % of the largest output")
    outputs = (trace.facts.dtypes.get(value.name, 0) for value in trace.graph.model.proto.graph.output)
    length, depth, epsilon = 1, 0, max([2.0**-23, *(EPSILON.get(dtype, 0.0) for dtype in outputs)])
    for node in trace.graph.nodes:
        for key in node.inputs:
            path = source(trace.graph, key) if node.op_type in ("Conv", "MatMul", "Gemm", "MatMulNBits") else None
            constant = None if path is None else trace.graph.constants[path[0].inputs[0] if path else key]
            if constant is not None and len(constant.shape) >= 2:
                length = max(length, constant.size // max(constant.shape[0], 1))
            epsilon = max(epsilon, EPSILON.get(trace.facts.dtypes.get(key, 0), 0.0))
        depth += node.op_type in PRODUCTS
    value = float(np.clip(SAFETY * epsilon * np.sqrt(length) * max(depth, 1), FLOOR, CEILING))
    return Tolerance(value, f"{SAFETY:g} * {epsilon:.2g} * sqrt({length} terms) * {max(depth, 1)} layers")

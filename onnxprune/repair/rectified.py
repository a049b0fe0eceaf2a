"""Least squares that knows the activation behind the layer.

Where a clipping activation phi (Relu, Clip) follows, errors that it hides do not count. With X the inputs, t the
targets, and S(t) = {y: phi(y) = phi(t)}, an interval that contains t, minimise

    sum |x W - S(t)|^2,   the squared distance to the interval,

which bounds |phi(x W) - phi(t)|^2 because phi is 1-Lipschitz. It is minimised by turns: the nearest point of S(t) to
the prediction becomes the target, then least squares; the error never rises and G stays the same (Zhang et al.,
Accelerating Very Deep Convolutional Networks, 2016, treat the nonlinearity with the same aim).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.moments import Moments, Rows
from onnxprune.capture.solve import solve
from onnxprune.model.graph import Graph, Node
from onnxprune.model.grids import grid_of

FloatArray = NDArray[np.float64]
TURNS = 8


@dataclass(frozen=True)
class Clipping:
    """phi(y) = min(max(y, low), high)."""

    low: float
    high: float

    def __call__(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(y, self.low, self.high)

    def nearest(self, goal: NDArray[np.float32], prediction: NDArray[np.float32]) -> NDArray[np.float32]:
        """The point y with phi(y) = phi(goal) that is nearest to the prediction."""
        hidden = np.where(goal <= self.low, np.minimum(prediction, self.low), goal)
        return np.where(goal >= self.high, np.maximum(prediction, self.high), hidden)


def clipping_behind(graph: Graph, key: str) -> Clipping | None:
    """The clipping activation that is the only reader of a value, or None.

    A quantiser is one if all that it has is on one side of 0: it stands for the Relu that was in front of it.
    """
    readers = graph.consumers.get(key, [])
    if len(readers) != 1 or key in {o.name for o in graph.model.proto.graph.output}:
        return None
    node = graph.nodes[readers[0][0]]
    if node.op_type == "QuantizeLinear" and readers[0][1] == 0:
        return _range(graph, node)
    if node.op_type == "Relu":
        return Clipping(0.0, np.inf)
    if node.op_type != "Clip" or readers[0][1] != 0:
        return None
    bounds = [float(node.attribute("min", -np.inf)), float(node.attribute("max", np.inf))]
    for slot in (1, 2):
        name = node.inputs[slot] if len(node.inputs) > slot else ""
        if name and name not in graph.constants:
            return None
        if name:
            bounds[slot - 1] = float(graph.constants[name].array())
    return Clipping(*bounds)


def _range(graph: Graph, quantize: Node) -> Clipping | None:
    grid = grid_of(graph, quantize)
    if grid is None or grid.scale.ndim:
        return None
    low, high = (float(grid.scale) * (bound - float(grid.zero_point)) for bound in grid.bounds)
    return Clipping(low, high) if low == 0 or high == 0 else None


def rectified(
    moments: Moments, rows: Rows, start: FloatArray, phi: Clipping, anchor: FloatArray, ridge: float, with_bias: bool
) -> FloatArray:
    """(..., d + 1, o): the solution `start`, improved by turns; pulled towards `anchor` by `ridge` as in `solve`."""
    weight = start
    for _ in range(TURNS):
        target = wanted(rows, weight, phi)
        cross = (rows.x.swapaxes(-1, -2) @ target).astype(np.float64)
        part = Moments(moments.gram, cross, moments.target, moments.target_sum, moments.positions)
        found = solve(part, anchor, ridge, with_bias)
        if found is None:
            break
        weight = found
    return weight


def wanted(rows: Rows, weight: FloatArray, phi: Clipping) -> NDArray[np.float32]:
    """(..., p, o): per position the admissible target that is nearest to the prediction."""
    prediction = rows.x @ weight.astype(np.float32)
    if rows.shift is None:
        return phi.nearest(rows.t, prediction)
    return phi.nearest(rows.t + rows.shift, prediction + rows.shift) - rows.shift


def error_behind(rows: Rows, weight: FloatArray, phi: Clipping) -> float:
    """Mean squared error behind the activation, summed over outputs."""
    shift = np.float32(0) if rows.shift is None else rows.shift
    difference = phi(rows.x @ weight.astype(np.float32) + shift) - phi(rows.t + shift)
    flat, positions = difference.reshape(-1), max(int(rows.x.shape[-2]), 1)
    return float(np.einsum("i,i->", flat, flat, dtype=np.float64)) / positions

"""What a channel is on average, from the weights alone or as measured on samples.

A BatchNormalization gives its output mean beta and standard deviation |gamma| per channel (that is what its running
statistics were measured for); a filter whose weights are all zero gives a constant. From there, element-wise functions
act on a normal distribution of that mean and deviation (Gauss-Hermite quadrature), sums add up, pooling keeps means.
Where nothing is known, nothing is claimed; with samples, nothing has to be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit

from onnxprune.capture.walker import Walker
from onnxprune.model.folding import folded, is_computed
from onnxprune.model.graph import Graph, Node
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

FloatArray = NDArray[np.float64]
_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Moments:
    """Per index of the channel axis: mean and variance; NaN where unknown. `axis` is the channel axis."""

    axis: int
    mean: FloatArray
    variance: FloatArray


Function = Callable[[Node, FloatArray], FloatArray]

_FUNCTIONS: dict[str, Function] = {
    "Relu": lambda n, x: np.maximum(x, 0),
    "LeakyRelu": lambda n, x: np.where(x < 0, x * n.attribute("alpha", 0.01), x),
    "Elu": lambda n, x: np.where(x < 0, n.attribute("alpha", 1.0) * np.expm1(np.minimum(x, 0)), x),
    "Sigmoid": lambda n, x: expit(x),
    "HardSigmoid": lambda n, x: np.clip(n.attribute("alpha", 0.2) * x + n.attribute("beta", 0.5), 0, 1),
    "HardSwish": lambda n, x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Tanh": lambda n, x: np.tanh(x),
    "Softplus": lambda n, x: np.logaddexp(x, 0),
    "Gelu": lambda n, x: 0.5 * x * (1 + erf(x / np.sqrt(2))),
    "Identity": lambda n, x: x,
    "Dropout": lambda n, x: x,
}
_AVERAGES = frozenset({"AveragePool", "GlobalAveragePool"})


def moments(trace: Trace) -> dict[str, Moments]:
    """What is known of every value, by one pass over the nodes."""
    known: dict[str, Moments] = {}
    for node in trace.graph.nodes:
        found = _moments(trace, node, known)
        if found is not None:
            known[node.outputs[0]] = found
    return known


def measured(
    trace: Trace, keys: Collection[str], batches: list[dict[str, NDArray[Any]]], threads: Threads = 0
) -> dict[str, Moments]:
    """Of the values `keys` of the original network over the samples, in the channels of axis 1."""
    walker = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    order = [key for node in trace.graph.nodes for key in node.outputs if key in keys]
    inputs = [key for key in keys if key not in trace.graph.producer]
    found: dict[str, Moments] = {}
    for key in [*inputs, *order]:
        walker.reach([key])
        values = [value.astype(np.float64) for value in walker.values(key) if value.ndim > 1 and value.size]
        if values:
            rows = [np.moveaxis(value, 1, -1).reshape(-1, value.shape[1]) for value in values]
            count = sum(len(part) for part in rows)
            mean = np.sum([part.sum(axis=0) for part in rows], axis=0) / count
            variance = np.sum([((part - mean) ** 2).sum(axis=0) for part in rows], axis=0) / count
            found[key] = Moments(1, mean, variance)
        walker.drop_dead()
    return found


def _moments(trace: Trace, node: Node, known: dict[str, Moments]) -> Moments | None:
    graph = trace.graph
    first = known.get(node.inputs[0]) if node.inputs else None
    if node.op_type == "BatchNormalization":
        return _normalised(graph, node, first)
    if node.op_type in ("Conv", "Gemm"):
        return _dead_filters(graph, node)
    if node.op_type == "Clip":
        return None if first is None else _clip(trace, node, first)
    if first is None:
        return None
    if node.op_type in _FUNCTIONS:
        return _through(first, lambda x: _FUNCTIONS[node.op_type](node, x))
    if node.op_type in _AVERAGES:
        return first
    if node.op_type == "MaxPool":
        return Moments(first.axis, np.where(first.variance == 0, first.mean, np.nan), first.variance)
    if node.op_type == "Add" and len(node.inputs) == 2:
        second = known.get(node.inputs[1])
        if second is not None and second.axis == first.axis and second.mean.shape == first.mean.shape:
            return Moments(first.axis, first.mean + second.mean, first.variance + second.variance)
    if node.op_type in ("Flatten", "Reshape", "Squeeze"):
        return _relabelled(trace, node, first)
    return None


def _normalised(graph: Graph, node: Node, before: Moments | None) -> Moments | None:
    parameters = [graph.constants.get(k) for k in node.inputs[1:5]]
    if any(p is None for p in parameters) or len(parameters) < 4:
        return None
    gamma, beta, mean, variance = (p.array().astype(np.float64) for p in parameters if p is not None)
    result_mean, result_variance = beta.copy(), gamma**2
    if before is not None:  # a constant channel is not what the running statistics describe
        dead = before.variance == 0
        scale = gamma / np.sqrt(variance + node.attribute("epsilon", 1e-5))
        result_mean[dead] = ((before.mean - mean) * scale + beta)[dead]
        result_variance[dead] = 0
    return Moments(1, result_mean, result_variance)


def _dead_filters(graph: Graph, node: Node) -> Moments | None:
    if not is_computed(graph, node.inputs[1]):
        return None
    weight = folded(graph, node.inputs[1])
    rows = np.moveaxis(weight, 0 if node.op_type == "Conv" or node.attribute("transB", 0) else 1, 0)
    dead = ~rows.reshape(len(rows), -1).any(axis=1)
    bias = np.zeros(len(rows))
    if len(node.inputs) > 2 and node.inputs[2]:
        if not is_computed(graph, node.inputs[2]):
            return None
        found = folded(graph, node.inputs[2]).astype(np.float64)
        if found.size != 1 and (found.size != len(rows) or found.shape[-1] != len(rows)):
            return None  # another bias for each row of a Gemm
        bias = np.broadcast_to(found.ravel(), (len(rows),))
    return Moments(1, np.where(dead, bias, np.nan), np.where(dead, 0.0, np.nan))


def _through(before: Moments, function: Callable[[FloatArray], Any]) -> Moments:
    """Mean and variance of f(x), x normal: by quadrature; exact for constants."""
    with np.errstate(invalid="ignore"):
        x = before.mean[:, None] + np.sqrt(before.variance)[:, None] * _POINTS[None, :]
        y = np.asarray(function(x), np.float64)
        mean = y @ _WEIGHTS
        variance = np.maximum((y - mean[:, None]) ** 2 @ _WEIGHTS, 0)
    return Moments(before.axis, mean, np.where(before.variance == 0, 0, variance))


def _clip(trace: Trace, node: Node, before: Moments) -> Moments | None:
    bounds = [node.attribute("min", -np.inf), node.attribute("max", np.inf)]
    for position, slot in enumerate((1, 2)):
        if len(node.inputs) > slot and node.inputs[slot]:
            constant = trace.graph.constants.get(node.inputs[slot])
            if constant is None:
                return None
            bounds[position] = float(constant.array().ravel()[0])
    return _through(before, lambda x: np.clip(x, bounds[0], bounds[1]))


def _relabelled(trace: Trace, node: Node, before: Moments) -> Moments | None:
    """Merging channels with space keeps each index's unit: means follow the units."""
    source_axes, target_axes = trace.axes(node.inputs[0]), trace.axes(node.outputs[0])
    if len(source_axes) <= before.axis:
        return None
    labels = source_axes[before.axis]
    targets = [(a, x) for a, x in enumerate(target_axes) if x is not None]
    if labels is None or len(targets) != 1 or labels.size != before.mean.size:
        return None
    mean, variance = (np.full(trace.unit_count, np.nan) for _ in range(2))
    mean[labels], variance[labels] = before.mean, before.variance
    mean[0] = variance[0] = np.nan
    axis, target = targets[0]
    return Moments(axis, mean[target], variance[target])

"""Consumers made of random layers, and what leaving costs by brute force."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.consumers import Consumer
from onnxprune.choose.score.registry import FloatArray

RIDGE = 1e-4


def consumer_of(
    inputs: FloatArray, weight: FloatArray, unit: Sequence[int], target: FloatArray | None = None, name: str = "layer"
) -> Consumer:
    """The second moments of `inputs` (positions, d); the target is what the layer gives, unless given."""
    y = inputs @ weight if target is None else target
    count = len(inputs)
    power = float(np.square(y - y.mean(0)).mean(0).sum())
    return Consumer(name, inputs.T @ inputs / count, inputs.T @ y / count, weight, np.asarray(unit, np.int64), power)


def random_inputs(n: int, b: int, extra: int, seed: int, bias: bool = True) -> tuple[FloatArray, list[int]]:
    """Correlated, rectified features of n units of b, then `extra` of no unit, then perhaps the constant."""
    rng = np.random.default_rng(seed)
    d = n * b + extra
    mixed = rng.standard_normal((4 * d + 20, d)) @ (rng.standard_normal((d, d)) / np.sqrt(d) + np.eye(d))
    x = np.maximum(mixed, 0.0)
    unit = [i // b for i in range(n * b)] + [-1] * extra
    return (np.c_[x, np.ones(len(x))], [*unit, -1]) if bias else (x, unit)


def random_consumer(n: int, b: int, outputs: int, seed: int, *, extra: int = 0, bias: bool = True) -> Consumer:
    x, unit = random_inputs(n, b, extra, seed, bias)
    rng = np.random.default_rng(seed + 1000)
    weight = rng.standard_normal((x.shape[1], outputs))
    return consumer_of(x, weight, unit, x @ weight + 0.1 * rng.standard_normal((len(x), outputs)))


def optimum(consumer: Consumer, gone: Sequence[int], ridge: float = RIDGE) -> float:
    """min over W with the rows of `gone` zero of the ridge least squares, less a constant, relative to the power.

    Written out from the definition: lambda = ridge * mean square of a feature, except on the constant.
    """
    d = len(consumer.unit)
    has_bias = consumer.unit[-1] == -1 and consumer.gram[-1, -1] == 1.0
    penalised = np.array([True] * (d - 1) + [not has_bias])
    pull = np.diag(penalised * ridge * consumer.gram.diagonal()[penalised].mean())
    keep = ~np.isin(consumer.unit, gone)
    hessian = (consumer.gram + pull)[np.ix_(keep, keep)]
    right = (consumer.cross + pull @ consumer.weight)[keep]
    return -float(np.sum(right * np.linalg.solve(hessian, right))) / consumer.power


def removed_output(consumers: Sequence[Consumer], gone: Sequence[int]) -> float:
    """Mean square of what the units contribute together, relative, summed over the consumers."""
    total = 0.0
    for consumer in consumers:
        rows = np.isin(consumer.unit, gone)
        weight = consumer.weight[rows]
        total += float(np.trace(weight.T @ consumer.gram[np.ix_(rows, rows)] @ weight)) / consumer.power
    return total


def renumbered(consumer: Consumer, permutation: NDArray[np.int64]) -> Consumer:
    """The same layer with unit u called permutation[u]."""
    unit = np.where(consumer.unit >= 0, permutation[consumer.unit], -1)
    return Consumer(consumer.name, consumer.gram, consumer.cross, consumer.weight, unit, consumer.power)

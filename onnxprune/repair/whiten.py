"""Coordinates in which a gradient step does as much in every direction of a layer's inputs.

For y = W'x with inputs of second moment A = E[x x'], moving W by D changes y by tr(D' A D). Behind a ReLU a few
directions of x, the mean first of all, are far stronger than the others: a step that suits them is too short for the
others, and the noise of small batches does most harm in them. In the coordinates V,

    W = P V,   P = (A / m + (RIDGE + d / n) I)^-1/2,   m = mean of A's diagonal,   dL/dV = P dL/dW,

it is nearly the same in all directions (Desjardins et al., Natural Neural Networks, NIPS 2015; the input half of
K-FAC, Martens & Grosse, ICML 2015). The bias is the row of one more feature, a constant as large as the others are on
average, so that coordinates do not depend on the unit of x. Where the samples have few positions n for the d features,
what looks weak may only be unseen. Only the RANK strongest directions are told apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from onnxprune.capture.features import Linear, input_rows, positions_of
from onnxprune.capture.training import observer
from onnxprune.model.graph import Graph
from onnxprune.repair.least_squares import fittable
from onnxprune.results.kept.memory import NOTHING, Memory
from onnxprune.results.providers import Threads

Array = NDArray[Any]
Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]
RANK, RIDGE = 128, 0.05
ROWS, SHARDS = 2048, 64  # positions that A is measured on, and the feeds that they come from
LEAST = 1e-12  # of a mean square: inputs that are all zero


class Coordinates(Protocol):
    """Of some tensors together."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def evidence(self) -> float | None:
        """Positions that the samples have for each feature; None if there is no such thing."""

    def read(self, weights: Weights) -> Floats:
        """V."""

    def slope(self, gradients: Weights) -> Floats:
        """dL/dV from the gradients of the tensors."""

    def write(self, values: Floats) -> dict[str, Floats]:
        """The tensors at V."""


@dataclass(frozen=True)
class Own:
    """A tensor's own elements, where nothing better is known."""

    name: str
    evidence: None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def read(self, weights: Weights) -> Floats:
        return np.array(weights[self.name])

    def slope(self, gradients: Weights) -> Floats:
        found: Floats = gradients[self.name]
        return found

    def write(self, values: Floats) -> dict[str, Floats]:
        return {self.name: values}


@dataclass(frozen=True)
class Metric:
    """The symmetric matrix rest * I + basis * (gains - rest) * basis', of orthonormal columns, or a stack of these.

    basis (..., d, r), gains (..., r), rest (...).
    """

    basis: Floats
    gains: Floats
    rest: Floats

    def times(self, x: Floats) -> Floats:
        """The product with x (..., d, o)."""
        inside = (self.gains - self.rest[..., None])[..., None] * (self.basis.swapaxes(-1, -2) @ x)
        return np.asarray(self.rest[..., None, None] * x + self.basis @ inside, np.float32)

    def inverse(self) -> Metric:
        one = np.float32(1)
        return Metric(self.basis, one / self.gains, one / self.rest)


@dataclass(frozen=True)
class Whitened:
    """Weight, and bias if there is one, of a layer: V is (d, o) or a stack (groups, d, o), d counting the constant.

    `constant`: the feature that the bias belongs to; `metric` is P. `shapes` are those in the file.
    """

    layer: Linear
    bias: str | None
    constant: np.float32
    metric: Metric
    shapes: Mapping[str, tuple[int, ...]]
    evidence: float

    @property
    def names(self) -> tuple[str, ...]:
        return (self.layer.weight,) if self.bias is None else (self.layer.weight, self.bias)

    def read(self, weights: Weights) -> Floats:
        return self.metric.inverse().times(self._joined(weights, 1 / float(self.constant)))

    def slope(self, gradients: Weights) -> Floats:
        # the matrix is alpha times the weight of the file: `matrix` multiplies a gradient by what it is to divide by
        return self.metric.times(self._joined(gradients, float(self.constant), self.layer.alpha**-2))

    def write(self, values: Floats) -> dict[str, Floats]:
        whole = self.metric.times(values)
        matrix = whole if self.bias is None else whole[..., :-1, :]
        name = self.layer.weight
        found = {name: np.ascontiguousarray(self.layer.unmatrix(matrix, self.shapes[name]), np.float32)}
        if self.bias is not None:
            found[self.bias] = (whole[..., -1, :] * self.constant).reshape(self.shapes[self.bias])
        return found

    def _joined(self, tensors: Weights, unit: float, scale: float = 1.0) -> Floats:
        matrix = self.layer.matrix(tensors[self.layer.weight], np.float32)
        if scale != 1.0:
            matrix = matrix * np.float32(scale)
        if self.bias is None:
            return matrix
        row = tensors[self.bias].reshape(*matrix.shape[:-2], 1, matrix.shape[-1]) * np.float32(unit)
        return np.concatenate([matrix, row], axis=-2)


@dataclass(frozen=True)
class Measured:
    """What the samples say of a layer: the mean size of its inputs, P, and positions for each feature."""

    constant: np.float32
    metric: Metric
    evidence: float


def coordinates(
    graph: Graph,
    names: Sequence[str],
    feeds: Sequence[Mapping[str, Array]],
    memory: Memory = NOTHING,
    key: Any = None,
    *,
    threads: Threads = 1,
) -> list[Coordinates]:
    """Of the float32 initializers `names` of `graph`, each in one of them; A is measured on `feeds`, or in the `memory`
    of an earlier run with the same `key`.
    """
    layers = _layers(graph, set(names))
    shapes = {name: tuple(graph.model.tensors[name].shape) for name in names}
    known = memory.call("whitening", key, lambda: _measured(graph, layers, shapes, feeds, threads), (Measured, Metric))
    found: list[Coordinates] = []
    covered: set[str] = set()
    for layer, one in zip(layers, known, strict=True):
        bias = layer.bias if layer.bias in shapes else None
        found.append(Whitened(layer, bias, one.constant, one.metric, shapes, one.evidence))
        covered.update(found[-1].names)
    return [*found, *(Own(name) for name in names if name not in covered)]


def _measured(
    graph: Graph,
    layers: Sequence[Linear],
    shapes: Collection[str],
    feeds: Sequence[Mapping[str, Array]],
    threads: Threads,
) -> list[Measured]:
    """Of each layer."""
    some = feeds[:: max(1, len(feeds) // SHARDS)][:SHARDS]
    found = []
    for layer, (rows, count) in zip(layers, _inputs(graph, layers, some, threads), strict=True):
        square = float(np.mean(np.square(rows), dtype=np.float64))
        constant = np.float32(np.sqrt(square)) if square > LEAST else np.float32(1)
        evidence = count * len(feeds) / (rows.shape[-1] * len(some))
        ridge = RIDGE + 1 / evidence
        metric = whitening(_with_constant(rows, constant) if layer.bias in shapes else rows, ridge)
        found.append(Measured(constant, metric, evidence))
    return found


def _layers(graph: Graph, names: set[str]) -> list[Linear]:
    """The layers that have a weight among `names`, and what bias they have, for themselves."""
    found = [fittable(graph, node) for node in graph.nodes if node.scope == 0]
    return [layer for layer in found if layer is not None and layer.weight in names]


def _inputs(
    graph: Graph, layers: Sequence[Linear], feeds: Sequence[Mapping[str, Array]], threads: Threads = 1
) -> list[tuple[Floats, int]]:
    """Per layer sampled rows of its inputs, (positions, d) or (groups, positions, d), and how many there were."""
    keys = list(dict.fromkeys(key for layer in layers for key in (layer.x, layer.y) if key in graph.producer))
    session = observer(graph.model, keys, threads)
    rng = np.random.default_rng(0)
    parts: list[list[Floats]] = [[] for _ in layers]
    counts = [0] * len(layers)
    for feed in feeds:
        values = {**feed, **dict(zip(keys, session.run(None, dict(feed)), strict=True))}
        for number, (layer, found) in enumerate(zip(layers, parts, strict=True)):
            count = positions_of(layer, values[layer.y])
            counts[number] += count
            picked = np.sort(rng.choice(count, min(count, -(-ROWS // len(feeds))), replace=False))
            found.append(layer.stacked(np.asarray(input_rows(layer, values[layer.x], picked), np.float32)))
    return [(np.concatenate(found, axis=-2), count) for found, count in zip(parts, counts, strict=True)]


def _with_constant(rows: Floats, constant: np.float32) -> Floats:
    return np.concatenate([rows, np.full((*rows.shape[:-1], 1), constant, np.float32)], axis=-1)


def whitening(rows: Floats, ridge: float) -> Metric:
    """P from rows x (..., positions, d); `ridge` is all that is added to the diagonal."""
    strengths, basis = _strongest(rows.astype(np.float64))
    size = rows.shape[-1]
    total = np.mean(np.square(rows), axis=-2, dtype=np.float64).sum(axis=-1)
    mean = np.maximum(total / size, LEAST)
    rest = np.maximum(total - strengths.sum(axis=-1), 0.0) / max(size - strengths.shape[-1], 1)
    gains = 1 / np.sqrt(strengths / mean[..., None] + ridge)
    return Metric(basis.astype(np.float32), gains.astype(np.float32), (rest / mean + ridge).astype(np.float32) ** -0.5)


def _strongest(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest eigenvalues of X'X / positions (..., r) and their vectors (..., d, r), r at most RANK.

    From X'X or, where there are fewer positions than features, from XX'.
    """
    count, size = rows.shape[-2:]
    rank = min(RANK, count, size)
    if rows.ndim == 3:
        values, vectors = np.linalg.eigh(rows.swapaxes(-1, -2) @ rows / count)
        return np.maximum(values[..., -rank:], 0.0), vectors[..., -rank:]
    short = min(count, size)
    gram = (rows.T @ rows if size <= count else rows @ rows.T) / count
    values, vectors = eigh(gram, subset_by_index=[short - rank, short - 1])
    values = np.maximum(values, 0.0)
    if size <= count:
        return values, vectors
    there = values > LEAST * max(float(values[-1]), LEAST)
    return values[there], rows.T @ vectors[:, there] / np.sqrt(values[there] * count)

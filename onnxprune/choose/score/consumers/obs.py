"""Greedy block Optimal Brain Surgeon on all consumers of a group at once.

A consumer fits W of E(W) = |Y - X W|^2 / positions + lambda |W - W0|^2, lambda = ridge * mean(diag G) except on the
bias, so H = G + lambda I and W = H^-1 (R + lambda W0). If the rows of unit q must become zero and all others may
follow, E grows by exactly

    cost_q = tr(W_q' D_q^-1 W_q),    D_q = (H^-1)_qq    (b x b for a unit of b features)

and what remains is the optimum without q: with the Cholesky factor D_q = L L' and U = (H^-1)_:q L^-T,

    W <- W - U L^-1 W_q,    H^-1 <- H^-1 - U U'.

The costs of several consumers, each divided by the power of its layer, add up. Rows of no unit (other groups, the
bias) take part in H^-1 but are never read again, so only the rows of the units are kept.

Nothing is approximated. What makes it fast: of H^-1 only the diagonal blocks and W are kept up to date; the panels U
wait until `_PANEL` columns are there, then are subtracted by one product, and the rows of units that left are dropped.
Until then a column of H^-1 is the stored one minus the waiting panels' share. Time 2 d^3 (the inverse) + d^2 o,
memory about 3 d^2 float64 beside the moments.

A feature that is always zero has no say: its weights count as zero, so that a dead unit leaves at no cost. Units of
unequal size are padded with features of no weight that nothing is correlated with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from onnxprune.choose.score.consumers.greedy import remove_all
from onnxprune.choose.score.consumers.layout import features_of_units
from onnxprune.choose.score.consumers.moments import Consumer, Removal
from onnxprune.choose.score.consumers.registry import consumer_criterion
from onnxprune.choose.score.registry import FloatArray
from onnxprune.errors import ModelError

RIDGE = 1e-4
MOST_FACTORS = 7  # powers of ten by which the ridge may grow
_PANEL = 192


@consumer_criterion(
    "obs",
    source="Hassibi & Stork, 1993; L-OBS, NIPS 2017; Frantar & Alistarh, OBC, NeurIPS 2022; ZipLM, NeurIPS 2023",
)
def obs(
    consumers: Sequence[Consumer], n: int, *, blocks: NDArray[np.int64] | None = None, ridge: float = RIDGE
) -> Removal:
    """What the consumers' outputs lose if a unit leaves and the weights of all others follow (OBS)."""
    return remove_all(_Group(consumers, n, ridge), consumers, n, blocks)


def refit_errors(consumers: Sequence[Consumer], order: NDArray[np.int64], *, ridge: float = RIDGE) -> FloatArray:
    """(n + 1,) errors as in `Removal` for units that leave in a given order, the weights of all others following."""
    group = _Group(consumers, len(order), ridge)
    steps = np.zeros(len(order) + 1)
    for k, unit in enumerate(order, start=1):
        steps[k] = group.cost(int(unit))
        group.remove(int(unit))
    return np.asarray(np.cumsum(steps), dtype=np.float64)


def ridge_system(consumer: Consumer, ridge: float) -> tuple[FloatArray, FloatArray]:
    """H = G + lambda I (d, d) and R + lambda W0 (d, o); lambda is zero for the bias. Fresh arrays."""
    weight = np.where(consumer.gram.diagonal()[:, None] > 0.0, consumer.weight, 0.0)
    penalty = np.ones(len(weight))
    if consumer.bias is not None:
        penalty[consumer.bias] = 0.0
    mean = float(consumer.gram.diagonal() @ penalty) / max(float(penalty.sum()), 1.0)
    penalty *= ridge * mean if mean > 0.0 else 1.0
    hessian = consumer.gram.copy()
    hessian[np.diag_indices_from(hessian)] += penalty
    return hessian, consumer.cross + penalty[:, None] * weight


class _Group:
    """The layers that read a group: costs add up, a unit leaves all of them."""

    def __init__(self, consumers: Sequence[Consumer], n: int, ridge: float) -> None:
        self.layers = [_Layer(consumer, ridge) for consumer in consumers if (consumer.unit >= 0).any()]
        self.n = n

    def costs(self) -> FloatArray:
        total = np.zeros(self.n)
        for layer in self.layers:
            total[layer.units] += layer.costs(slice(None))
        return total

    def cost(self, unit: int) -> float:
        """What a single unit costs now."""
        found = [(layer, layer.find(unit)) for layer in self.layers]
        return float(sum(layer.costs(slice(q, q + 1))[0] for layer, q in found if q is not None))

    def remove(self, unit: int) -> None:
        for layer in self.layers:
            layer.remove(unit)


class _Layer:
    """W and H^-1 of one consumer, on the rows of its m units of b features each.

    `units` (m,): global numbers. `weight` (m, b, o) and `diagonal` (m, b, b) are up to date;
    `inverse` (m b, m b) minus `panels` @ `panels`' is H^-1.
    """

    def __init__(self, consumer: Consumer, ridge: float) -> None:
        self.relative = consumer.relative
        self.units, rows = features_of_units(consumer.unit)
        inverse, weight = _solved(consumer, ridge)
        real = rows.ravel() >= 0
        inverse, weight = inverse[np.ix_(rows.ravel(), rows.ravel())], weight[rows.ravel()]
        if not real.all():
            inverse[~real] = inverse[:, ~real] = weight[~real] = 0.0
            inverse[~real, ~real] = 1.0
        m, b = rows.shape
        self.inverse, self.weight = inverse, weight.reshape(m, b, -1)
        self.diagonal = inverse.reshape(m, b, m, b)[np.arange(m), :, np.arange(m)]
        self.alive = np.ones(m, dtype=bool)
        self.panels = np.empty((m * b, max(_PANEL // b, 1) * b), order="F")
        self.waiting = 0

    def find(self, unit: int) -> int | None:
        """Where a unit is in the arrays; None if this layer does not read it."""
        position = int(np.searchsorted(self.units, unit))
        return position if position < len(self.units) and self.units[position] == unit else None

    def costs(self, which: slice) -> FloatArray:
        """tr(W_q' D_q^-1 W_q) / power of units in the arrays; zero for those that have left."""
        weight, diagonal = self.weight[which], self.diagonal[which]
        if weight.shape[1] == 1:
            out = np.einsum("mbo,mbo->m", weight, weight) / diagonal[:, 0, 0]
        else:
            out = np.einsum("mij,mij->m", np.linalg.inv(diagonal), weight @ weight.transpose(0, 2, 1))
        return np.asarray(np.maximum(out, 0.0) * self.relative, dtype=np.float64)

    def remove(self, unit: int) -> None:
        """Eliminate the rows of a unit, if it is here."""
        q = self.find(unit)
        if q is None:
            return
        m, b, outputs = self.weight.shape
        rows = slice(q * b, (q + 1) * b)
        panels = self.panels[:, : self.waiting]
        column = self.inverse[rows] - panels[rows] @ panels.T
        whiten = np.linalg.inv(_root(self.diagonal[q]))
        panel = (whiten @ column).T
        step = whiten @ self.weight[q]
        flat = self.weight.reshape(m * b, outputs)
        flat -= panel @ step
        blocks = panel.reshape(m, b, b)
        self.diagonal -= blocks @ blocks.transpose(0, 2, 1)
        self.panels[:, self.waiting : self.waiting + b] = panel
        self.waiting += b
        self.alive[q] = False
        self.weight[q], self.diagonal[q] = 0.0, np.eye(b)
        if self.waiting == self.panels.shape[1]:
            self._apply()

    def _apply(self) -> None:
        """Subtract the waiting panels from the stored inverse, and drop what has left."""
        b = self.weight.shape[1]
        rows = np.repeat(self.alive, b)
        panels = np.ascontiguousarray(self.panels[rows, : self.waiting])
        self.inverse = self.inverse[np.ix_(rows, rows)]
        self.inverse -= panels @ panels.T
        self.units, self.weight = self.units[self.alive], self.weight[self.alive]
        self.diagonal, self.alive = self.diagonal[self.alive], self.alive[self.alive]
        self.panels = np.empty((len(panels), self.panels.shape[1]), order="F")
        self.waiting = 0


def _solved(consumer: Consumer, ridge: float) -> tuple[FloatArray, FloatArray]:
    """H^-1 (d, d) and W (d, o), with a larger ridge where the moments ask for it.

    Moments are sums of products in float32. Where a layer's inputs hardly vary, what tells them from the constant is
    less than the rounding of these, and H is not definite.
    """
    for factor in 10.0 ** np.arange(MOST_FACTORS):
        try:
            return _solve(*ridge_system(consumer, ridge * float(factor)))
        except np.linalg.LinAlgError:
            continue
    raise ModelError(
        f"the second moments of the inputs of {consumer.name!r} cannot be inverted",
        hint="its activations may overflow on the samples: check how they are normalised, or take --criterion l1",
    )


def _root(block: FloatArray) -> FloatArray:
    """L with L L' = block (b, b), also where rounding has made it lose its definiteness."""
    try:
        return np.asarray(np.linalg.cholesky(block), np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(block)
        least = 1e-12 * max(float(np.abs(values).max()), 1e-300)
        return np.asarray(vectors * np.sqrt(np.maximum(values, least)), np.float64)


def _solve(hessian: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """H^-1 (d, d) and H^-1 R (d, o), by Cholesky. Overwrites H."""
    factor = linalg.cholesky(hessian.T, lower=True, overwrite_a=True, check_finite=False)
    weight = linalg.cho_solve((factor, True), right, check_finite=False)
    inverse, info = linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
    if info != 0:
        raise np.linalg.LinAlgError("the second moments are singular")
    diagonal = inverse.diagonal().copy()
    inverse = inverse.T + inverse  # the other triangle is zero
    inverse[np.diag_indices_from(inverse)] = diagonal
    return inverse, weight

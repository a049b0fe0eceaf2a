"""All solutions of a LASSO: min 1/2 x'Ax - b'x + lambda |x|_1 from the lambda where x = 0 down to 0.

Between two events the solution is linear in lambda: with the active set S and signs s,
x_S = u - lambda v, u = A_SS^-1 b_S, v = A_SS^-1 s, and the correlations c = b - A x = p + lambda r of the others stay
within +-lambda. Next event: the largest smaller lambda at which a correlation reaches its bound (that one enters) or an
x reaches zero (that one leaves). u, v, p, r come from A and b at every event, so errors do not pile up.
Of columns that are equal (or dependent) the ones that would add nothing never enter.
(Osborne, Presnell, Turlach 2000; Efron et al., Least Angle Regression, 2004.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.registry import FloatArray

_SAME = 1e-9  # share of lambda below which two events are one
_END = 1e-9  # share of the first lambda that counts as zero
_REFRESH = 64  # changes of the active set after which its inverse is computed anew
_RIDGE = 1e-9  # share of the mean diagonal of A, so that dependent columns do not make it singular


@dataclass(frozen=True)
class Path:
    """`vanishing` (n,): the largest lambda at which x_i is not zero; 0 if it is always zero. `last` (n,): x at the end.

    `knots`, if asked for: (lambda, (n, 2)) per event, x = column 0 - lambda * column 1 from there to the next.
    """

    vanishing: FloatArray
    last: FloatArray
    knots: tuple[tuple[float, FloatArray], ...] = ()


def lasso_path(matrix: FloatArray, right: FloatArray, *, record: bool = False) -> Path:
    """The whole path for A (n, n), positive semidefinite, and b (n,). At most 8 n events; time n^3."""
    n = len(right)
    matrix = matrix + np.eye(n) * (_RIDGE * float(matrix.diagonal().mean()) if n else 0.0)
    first = float(np.abs(right).max(initial=0.0))
    vanishing, last, signs = np.zeros(n), np.zeros(n), np.zeros(n)
    active, price, moved, knots = _Active(matrix), first, -1, []
    for _ in range(8 * n + 1):
        line = np.zeros((n, 2))
        line[active.members] = active.inverse @ np.stack([right[active.members], signs[active.members]], axis=1)
        product = matrix @ line
        last = line[:, 0]
        if record:
            knots.append((price, line))
        inside = np.zeros(n, dtype=bool)
        inside[active.members] = True
        entering, sign, enter_at = _entering(right - product[:, 0], product[:, 1], inside, price, moved)
        leaving, leave_at = _leaving(line, signs, price)
        if max(enter_at, leave_at) <= _END * first:
            break
        if enter_at >= leave_at:
            price, moved = min(enter_at, price), entering
            vanishing[moved] = max(vanishing[moved], price)
            signs[moved] = sign
            active.add(moved)
        else:
            price, moved = leave_at, leaving
            signs[moved] = 0.0
            active.drop(moved)
    return Path(vanishing, last, tuple(knots))


def _entering(
    p: FloatArray, r: FloatArray, inside: NDArray[np.bool_], price: float, moved: int
) -> tuple[int, float, float]:
    """Who reaches the bound next, with which sign, at which lambda; lambda 0 if nobody does."""
    at = np.zeros((2, len(p)))
    for row, sign in enumerate((1.0, -1.0)):
        slack = 1.0 - sign * r
        np.divide(sign * p, slack, out=at[row], where=slack > _SAME)
    at[:, inside] = 0.0
    if moved >= 0:  # it has just left: it is at its bound, and on the way inside
        at[:, moved] = np.where(at[:, moved] > price * (1.0 - _SAME), 0.0, at[:, moved])
    row, unit = (int(i) for i in np.unravel_index(int(at.argmax()), at.shape)) if at.size else (0, -1)
    return unit, (1.0, -1.0)[row], float(at[row, unit]) if at.size else 0.0


def _leaving(line: FloatArray, signs: FloatArray, price: float) -> tuple[int, float]:
    """Who reaches zero next, at which lambda; lambda 0 if nobody does. Only those that shrink as lambda falls."""
    at = np.zeros(len(line))
    np.divide(line[:, 0], line[:, 1], out=at, where=signs * line[:, 1] < 0.0)
    unit = int(at.argmax()) if at.size else -1
    return unit, float(min(at[unit], price)) if at.size else 0.0


class _Active:
    """The active set in the order of entering, and the inverse of its part of A."""

    def __init__(self, matrix: FloatArray) -> None:
        self.matrix = matrix
        self.members: list[int] = []
        self.inverse: FloatArray = np.empty((0, 0))
        self.changes = 0

    def add(self, unit: int) -> None:
        column = self.inverse @ self.matrix[self.members, unit]
        pivot = self.matrix[unit, unit] - self.matrix[self.members, unit] @ column
        grown = np.empty((len(self.members) + 1,) * 2)
        border = np.append(column, -1.0)
        grown[:-1, :-1], grown[-1], grown[:, -1] = self.inverse, 0.0, 0.0
        grown += np.outer(border, border) / pivot
        self.members.append(unit)
        self._set(grown)

    def drop(self, unit: int) -> None:
        position = self.members.index(unit)
        column = self.inverse[:, position]
        reduced = self.inverse - np.outer(column, column) / column[position]
        self.members.remove(unit)
        self._set(np.delete(np.delete(reduced, position, 0), position, 1))

    def _set(self, inverse: FloatArray) -> None:
        self.changes += 1
        if self.changes % _REFRESH == 0:
            inverse = np.asarray(np.linalg.inv(self.matrix[np.ix_(self.members, self.members)]), dtype=np.float64)
        self.inverse = inverse

"""All solutions of a LASSO: min 1/2 x'Ax - b'x + lambda |x|_1 from the lambda where x = 0 down to 0.

Between two events the solution is linear in lambda: with the active set S and signs s,
x_S = u - lambda v, u = A_SS^-1 b_S, v = A_SS^-1 s, and the correlations c = b - A x = p + lambda r of the others stay
within +-lambda. Next event: the largest smaller lambda at which a correlation reaches its bound (that one enters) or an
x reaches zero (that one leaves). u, v, p, r are computed anew at every event, so errors do not pile up.
(Osborne, Presnell, Turlach 2000; Efron et al., Least Angle Regression, 2004.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from onnxprune.score.registry import FloatArray

_SAME = 1e-9  # share of lambda below which two events are one
_END = 1e-9  # share of the first lambda that counts as zero
_RIDGE = 1e-9  # share of the mean diagonal of A, so that equal columns do not make it singular


@dataclass(frozen=True)
class Path:
    """`vanishing` (n,): the largest lambda at which x_i is not zero; 0 if it is always zero. `last` (n,): x at the end.

    `knots`: every event as (lambda, active set, u, v), if they were asked for.
    """

    vanishing: FloatArray
    last: FloatArray
    knots: tuple[tuple[float, tuple[int, ...], FloatArray, FloatArray], ...] = ()


def lasso_path(matrix: FloatArray, right: FloatArray, *, record: bool = False) -> Path:
    """The whole path for A (n, n), positive semidefinite, and b (n,). At most 8 n events."""
    n = len(right)
    matrix = matrix + np.eye(n) * (_RIDGE * float(matrix.diagonal().mean()) if n else 0.0)
    vanishing, last = np.zeros(n), np.zeros(n)
    first = float(np.abs(right).max(initial=0.0))
    price, active, signs, moved, knots = first, _Active(matrix), np.zeros(n), -1, []
    for _ in range(8 * n + 1):
        u, v = active.solve(right), active.solve(signs)
        p, r = right - active.columns() @ u, active.columns() @ v
        last = np.zeros(n)
        last[active.members] = u
        if record:
            knots.append((price, tuple(active.members), u, v))
        enter, sign, at = _entering(p, r, price, active.members, moved)
        leave, leave_at = _leaving(u, v, price, active.members, moved)
        if max(at, leave_at) <= _END * first:
            break
        if at >= leave_at:
            price, moved = min(at, price), enter
            vanishing[enter] = max(vanishing[enter], price)
            signs[enter] = sign
            active.add(enter)
        else:
            price, moved = leave_at, leave
            signs[leave] = 0.0
            active.drop(leave)
    return Path(vanishing, last, tuple(knots))

"""The time of a layer at any widths, from measurements at some.

Along each width w of full size n the time is measured with all other widths at full size: everywhere if n is small,
else at some multiples of PERIOD and at all w between two of these. There kernels show their steps (they work on 4, 8 or
16 channels at once; what is no multiple is padded, or takes another way), as a factor of w modulo PERIOD on the
straight line between multiples. Widths are then taken to act independently of each other,

    T(v) = T(n) * prod_d T_d(v_d) / T(n) * c(v),

with a correction c measured on a coarse grid, and linear in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from onnxprune.measure.latency.layers import Signature, Widths
from onnxprune.measure.timing import Floats

Measure = Callable[[Signature, Sequence[Widths]], Floats]
PERIOD = 16
DENSE = 2 * PERIOD  # up to here every width is measured
SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
COARSE = (0, 1 / 8, 1 / 4, 1 / 2)


class Curve:
    """The time along one width: `times` at the measured `widths`, ascending, the full one last."""

    def __init__(self, widths: Sequence[int], times: Floats) -> None:
        self._at = dict(zip(widths, map(float, times), strict=True))
        self._dense = len(widths) in (1, widths[-1])
        if self._dense:
            return
        base = window(widths[-1])
        here = np.array([self._at[base + r] for r in range(PERIOD + 1)])
        line = here[0] + (here[-1] - here[0]) * np.arange(PERIOD + 1) / PERIOD
        self._steps = (here / line)[:-1]
        self._knots = [w for w in widths if w % PERIOD == 0 or w == widths[-1] or w < PERIOD]
        self._lines = [self._at[w] / self._steps[w % PERIOD] for w in self._knots]

    def __call__(self, width: int) -> float:
        if width in self._at:
            return self._at[width]
        if self._dense:
            return 0.0  # nothing is left
        return float(np.interp(width, self._knots, self._lines)) * float(self._steps[width % PERIOD])


def window(n: int) -> int:
    """Where the widths begin at which steps are measured one by one."""
    return max(n // 2 // PERIOD * PERIOD, PERIOD)


def sampled(n: int) -> list[int]:
    """The widths up to n that are measured along one axis."""
    if n <= DENSE:
        return list(range(1, n + 1))
    levels = {max(round(n * share / PERIOD) * PERIOD, PERIOD) for share in SHARES}
    base = window(n)
    return sorted({1, PERIOD // 2, PERIOD, *levels, *range(base, base + PERIOD + 1), n})


def _replaced(full: Widths, axis: int, width: int) -> Widths:
    found = list(full)
    found[axis] = width
    return found[0], found[1], found[2]


class Layer:
    """The times of one signature, up to the widths `full`. `free` says which of them may shrink."""

    def __init__(self, signature: Signature, full: Widths, free: Sequence[bool], measure: Measure) -> None:
        axes = [sampled(n) if may else [n] for n, may in zip(full, free, strict=True)]
        grid = [self._coarse(axis) for axis in axes]
        along = [[_replaced(full, d, w) for w in axis] for d, axis in enumerate(axes)]
        corners = [(k, n, blocks) for k in grid[0] for n in grid[1] for blocks in grid[2]]
        points = sorted({*along[0], *along[1], *along[2], *corners})
        found = dict(zip(points, measure(signature, points), strict=True))
        self._curves = [
            Curve(axis, np.array([found[at] for at in line])) for axis, line in zip(axes, along, strict=True)
        ]
        self._grid = [np.array(levels, np.float64) for levels in grid]
        self._whole = float(found[full])
        shape = [len(levels) for levels in grid]
        ratios = [found[v] / self._independent(v) for v in corners]
        self._correction = np.array(ratios).reshape(shape)
        self._known: dict[Widths, float] = {}

    @staticmethod
    def _coarse(axis: list[int]) -> list[int]:
        n = axis[-1]
        if len(axis) == 1:
            return axis
        return sorted({min(axis, key=lambda w: (abs(w - n * share), w)) for share in COARSE} | {n})

    def _independent(self, at: Sequence[int]) -> float:
        result = self._whole
        for curve, width in zip(self._curves, at, strict=True):
            result *= curve(width) / self._whole
        return result

    def time(self, at: Widths) -> float:
        """Seconds; 0 for a layer without channels."""
        if at not in self._known:
            self._known[at] = 0.0 if 0 in at else self._independent(at) * self._correct(at)
        return self._known[at]

    def _correct(self, at: Widths) -> float:
        values = self._correction
        for levels, width in zip(self._grid, at, strict=True):
            place = float(np.interp(width, levels, np.arange(len(levels))))
            low = min(int(place), len(levels) - 1)
            high = min(low + 1, len(levels) - 1)
            values = values[low] + (place - low) * (values[high] - values[low])
        return float(values)


class Table:
    """Layers by signature: what was measured once is not measured again."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._layers: dict[tuple[Signature, Widths, tuple[bool, ...]], Layer] = {}

    def layer(self, signature: Signature, full: Widths, free: tuple[bool, ...]) -> Layer:
        """Measures now, if it has to. Raises ModelError."""
        key = signature, full, free
        if key not in self._layers:
            self._layers[key] = Layer(signature, full, free, self._measure)
        return self._layers[key]

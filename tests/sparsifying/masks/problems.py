"""Small layers with correlated inputs, as mask methods see them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.moments import Moments, Rows
from onnxprune.repair.rectified import Clipping
from onnxprune.sparse.patterns import parse_pattern
from onnxprune.sparsifying.masks.layout import Layout
from onnxprune.sparsifying.masks.problem import Evidence, Problem

FloatArray = NDArray[np.float64]
PATTERNS = ["unstructured", "2x1", "4x1", "1x4", "4x4", "2:4", "1:3"]


def problem(
    n: int,
    channels: int,
    taps: int = 1,
    pattern: str = "unstructured",
    *,
    seed: int = 0,
    biased: bool = True,
    clipping: Clipping | None = None,
    positions: int = 600,
) -> Problem:
    """n outputs of taps * channels inputs; the targets are what the weights give, and a little more."""
    rng, k = np.random.default_rng(seed), channels * taps
    mix = rng.standard_normal((k, k)) * 0.6 ** np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    weight = rng.standard_normal((n, k + 1))
    weight[:, -1] *= biased

    def rows() -> Rows:
        x = np.maximum(rng.standard_normal((positions, k)) @ mix, 0).astype(np.float32)
        noise = 0.1 * rng.standard_normal((positions, n))
        target = (x @ weight[:, :-1].T + weight[:, -1] + noise).astype(np.float32)
        return Rows(np.pad(x, ((0, 0), (0, 1)), constant_values=1.0), target, None)

    fit, judged = rows(), rows()
    layout = Layout(parse_pattern(pattern), n, channels, taps)
    evidence = Evidence(moments(fit), moments(judged), biased, fit, judged, clipping)
    return Problem(weight, layout, np.ones((n, k), bool), evidence)


def moments(rows: Rows) -> Moments:
    found = Moments.zero(rows.x.shape[1] - 1, rows.t.shape[1])
    found.add(rows.x[:, :-1], rows.t)
    return found


def blocks(layout: Layout) -> list[tuple[slice, NDArray[np.int64]]]:
    """(rows, columns) of every block, counted out by hand: columns of one tap, `columns` channels at a time."""
    found = []
    for row in range(0, layout.n, layout.pattern.rows):
        for tap in range(layout.taps):
            for channel in range(0, layout.channels, layout.pattern.of or layout.pattern.columns):
                last = min(channel + (layout.pattern.of or layout.pattern.columns), layout.channels)
                columns = tap * layout.channels + np.arange(channel, last)
                found.append((slice(row, min(row + layout.pattern.rows, layout.n)), columns))
    return found


def fulfils(layout: Layout, keep: NDArray[np.bool_]) -> bool:
    """Whether every block is kept or gone whole; of an N:M pattern, whether at most N of M (rounded up) stay."""
    for rows, columns in blocks(layout):
        part = keep[rows][:, columns]
        if layout.pattern.of:
            if part.sum() > -(-part.size * layout.pattern.kept // layout.pattern.of):
                return False
        elif part.any() != part.all():
            return False
    return True

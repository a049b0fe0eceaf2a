"""What a group of units costs the network, as a run measured it: the curve that a choice by error was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 49
OUTPUTS, READERS = "outputs", "readers"


@dataclass(frozen=True)
class ErrorCurve:
    """Error of removing `counts` units of a group of `size`, least important first, and refitting what reads them.

    `of` "outputs": share of the variance of the network's outputs, summed over them; measured on `samples` samples at
    the points `measured` (count, error), elsewhere after the error of the readers. `of` "readers": share of the power
    of what the layers that read the group compute, from the moments of `samples` samples; nothing else is `measured`.
    """

    group: str
    size: int
    of: str
    samples: int
    counts: tuple[int, ...]
    errors: tuple[float, ...]
    measured: tuple[tuple[int, float], ...] = ()


def error_curve(
    group: str, errors: NDArray[np.float64], of: str, samples: int, measured: Sequence[tuple[int, float]] = ()
) -> ErrorCurve:
    """A curve (n + 1,) at no more than MOST_POINTS counts."""
    size = len(errors) - 1
    counts = np.unique(np.linspace(0, size, min(size + 1, MOST_POINTS)).round().astype(np.int64))
    values = tuple(float(errors[k]) for k in counts)
    return ErrorCurve(group, size, of, samples, tuple(counts.tolist()), values, tuple(measured))

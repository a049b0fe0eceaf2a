"""What a group of units costs the network, as a run measured it: the curve that a choice by error was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxprune.results.shown import OneLine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_POINTS = 49
OUTPUTS, READERS = "outputs", "readers"


@dataclass(frozen=True, repr=False)
class ErrorCurve(OneLine):
    """Error of removing units of a group, least important first, and refitting what reads them.

    Attributes:
        group: Its name.
        size: How many units it has.
        of: "outputs": share of the variance of the network's outputs, summed over them, elsewhere than at `measured`
            after the error of the readers. "readers": share of the power of what the layers that read the group
            compute, from moments.
        samples: How many it was measured on.
        counts: How many units are removed, (points,), increasing.
        errors: At each of `counts`, (points,).
        measured: (count, error) where the outputs were measured; empty of "readers".
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
    import numpy as np  # here, so that who only wants the types does not wait for it

    size = len(errors) - 1
    counts = np.unique(np.linspace(0, size, min(size + 1, MOST_POINTS)).round().astype(np.int64))
    values = tuple(float(errors[k]) for k in counts)
    return ErrorCurve(group, size, of, samples, tuple(counts.tolist()), values, tuple(measured))

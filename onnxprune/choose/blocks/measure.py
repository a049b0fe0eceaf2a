"""What the outputs of a network lose without some residual branches: the branches are multiplied by zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.masked import MaskedNetwork
from onnxprune.capture.sensitivity import judged
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

Array = NDArray[Any]


class OutputErrors:
    """Errors of the outputs on `batches`, as `sensitivity` defines them: the sum over the judged values of
    |f'(x) - f(x)|^2 / |f(x) - mean f|^2, and 1 where the values decide how many rows there are and they differ.
    """

    def __init__(self, trace: Trace, batches: list[dict[str, Array]], threads: Threads = 0) -> None:
        keys = judged(trace)
        self._network = MaskedNetwork(trace, batches, threads, outputs=keys)
        self._places = [self._network.outputs.index(key) for key in keys if "@" not in key]
        self._wanted = self._run(())
        spread = [float(np.sum((value - value.mean()) ** 2)) for value in self._wanted]
        self._spread = [s if s > 0 else np.inf for s in spread]

    def without(self, units: Sequence[int]) -> float:
        """The error without the branches of these units."""
        found = self._run(units)
        pairs = zip(found, self._wanted, self._spread, strict=True)
        return float(sum(np.sum((a - b) ** 2) / s if a.shape == b.shape else 1.0 for a, b, s in pairs))

    def _run(self, units: Sequence[int]) -> list[NDArray[np.float64]]:
        rows = list(self._network.run(np.asarray(units, np.int64)))
        values = [[row[place] for row in rows] for place in self._places]
        return [np.concatenate([v.astype(np.float64).ravel() for v in vs]) for vs in values if vs[0].dtype.kind == "f"]

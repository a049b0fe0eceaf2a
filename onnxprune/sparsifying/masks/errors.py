"""What the layers of a network give, against the original, on samples that were never fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.features import residual_partner
from onnxprune.capture.walker import Walker
from onnxprune.model.load import Model
from onnxprune.results.providers import Threads
from onnxprune.sparsifying.masks.walk import Teacher

Array = NDArray[Any]


def output_errors(
    teacher: Teacher,
    model: Model,
    dtypes: Mapping[str, int],
    outputs: Mapping[str, str],
    batches: list[dict[str, Array]],
    threads: Threads = 0,
) -> dict[str, float]:
    """Squared error relative to the variance, for the `outputs` (name -> value) of layers in order.

    Where a shortcut is added to an output, both are compared after the sum. A layer whose rows differ between the
    networks, or that has none, has no error.
    """
    graph = teacher.trace.graph
    original = Walker(graph.model, batches, teacher.trace.facts.dtypes, threads)
    current = Walker(model, batches, dtypes, threads)
    result = {}
    for name, key in outputs.items():
        partner = residual_partner(graph, key)
        goal = partner[0] if partner else key
        original.reach([goal])
        current.reach([goal])
        wanted = [teacher.trace.kept_part(goal, teacher.keep, value) for value in original.values(goal)]
        found = current.values(goal)
        if any(y.shape != t.shape for y, t in zip(found, wanted, strict=True)) or not sum(t.size for t in wanted):
            continue
        square = sum(
            float(np.sum(_difference(y, t) ** 2, dtype=np.float64)) for y, t in zip(found, wanted, strict=True)
        )
        count = max(sum(t.size for t in wanted), 1)
        mean = sum(float(np.sum(t, dtype=np.float64)) for t in wanted) / count
        power = sum(float(np.sum((t - mean) ** 2, dtype=np.float64)) for t in wanted)
        result[name] = square / max(power, 1e-30)
        original.drop_dead()
        current.drop_dead()
    return result


def _difference(y: Array, t: Array) -> Array:
    """Layers of quantised networks give bytes, whose differences are none."""
    return np.subtract(y, t, dtype=np.float32 if y.dtype.kind in "iu" else None)

"""From calibration data to one score per unit: every activation is seen once, its channels go to their groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.activations import activations_of, gathered
from onnxprune.capture.batches import first_samples
from onnxprune.choose.score.activations.registry import get
from onnxprune.choose.score.aggregate import Combine, aggregate
from onnxprune.choose.score.registry import FloatArray
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Group, Trace


def activation_scores(
    trace: Trace,
    groups: Sequence[Group],
    batches: list[dict[str, NDArray[Any]]],
    criterion: str,
    *,
    how: Combine = "mean",
    threads: Threads = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[FloatArray | None]:
    """Per group scores (group.size,), higher for what should stay; None for a group that no layer sums over.

    `batches` are feeds of the model. A unit that is read in several values gets their scores combined by `how`.
    Raises UsageError for an unknown criterion, DataError if the network does not run on the data, ModelError if its
    activations are not finite.
    """
    entry = get(criterion)
    if entry.samples is not None:
        batches = first_samples(trace.graph.model, batches, entry.samples)
    wanted = activations_of(trace, groups)
    places = {(read.key, read.axis): read for reads in wanted for read in reads}
    readers: dict[tuple[str, int], list[int]] = {place: [] for place in places}
    for number, reads in enumerate(wanted):
        for read in reads:
            readers[read.key, read.axis].append(number)
    members: list[list[tuple[NDArray[np.int64], FloatArray]]] = [[] for _ in groups]
    everything = gathered(trace, list(places.values()), batches, entry.statistic, threads=threads, progress=progress)
    for read, seen in everything:
        scores = entry(read.key, len(read.labels), seen)
        for number in readers[read.key, read.axis]:
            members[number].append((_positions(trace, groups[number])[read.labels], scores))
    return [aggregate(g.size, found, how) if found else None for g, found in zip(groups, members, strict=True)]


def _positions(trace: Trace, group: Group) -> NDArray[np.int64]:
    """(unit_count,) the position of a unit in its group, -1 for units of others."""
    position = np.full(trace.unit_count, -1, np.int64)
    position[group.units] = np.arange(group.size)
    return position

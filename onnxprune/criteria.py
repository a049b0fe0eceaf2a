"""All criteria by name, whatever they look at.

- weights: the rows that produce a unit (`score`);
- activations: what a unit shows on samples (`score.activations`);
- consumers: what the layers that read a unit lose (`score.consumers`); they give an order and its errors, not scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from onnxprune import score
from onnxprune.choose import Options
from onnxprune.score import Needs, activations, consumers, names
from onnxprune.score.collect import unit_scores
from onnxprune.score.registry import FloatArray
from onnxprune.trace.groups import Group, Trace

WEIGHTS, ACTIVATIONS, CONSUMERS = "weights", "activations", "consumers"
Batches = list[dict[str, NDArray[Any]]]
Steps = Callable[[int, int], None]


def family(criterion: str) -> str:
    """What a criterion looks at. UsageError for a name that is none, with the nearest and the list."""
    known = {entry.name: WEIGHTS for entry in score.criteria()}
    known |= {entry.name: ACTIVATIONS for entry in activations.criteria()}
    known |= {entry.name: CONSUMERS for entry in consumers.criteria()}
    return names.find(known, criterion, list(known))


def needs_data(criterion: str) -> bool:
    """Whether a criterion looks at samples. UsageError for a name that is none."""
    return family(criterion) != WEIGHTS or score.get(criterion).needs is not Needs.WEIGHTS


def scores_of(
    trace: Trace,
    groups: Sequence[Group],
    options: Options,
    batches: Batches | None,
    *,
    threads: int = 0,
    progress: Steps | None = None,
) -> Sequence[FloatArray | None]:
    """Per group (size,), higher for what should stay; None where there is nothing to look at. Not for consumers."""
    name, how = options.criterion, options.aggregate
    if family(name) == WEIGHTS:
        return unit_scores(trace, groups, score.get(name), how=how, seed=options.seed)
    assert batches is not None
    return activations.activation_scores(trace, groups, batches, name, how=how, threads=threads, progress=progress)

"""All criteria by name, whatever they look at.

- weights: the rows that produce a unit (`score`);
- activations: what a unit shows on samples (`score.activations`);
- network: what it means for the outputs (`score.network`), by weights or by samples;
- consumers: what the layers that read a unit lose (`score.consumers`); they give an order and its errors, not scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from onnxprune.choose import score
from onnxprune.choose.ranking import Options
from onnxprune.choose.score import Needs, activations, consumers, names, network
from onnxprune.choose.score.collect import unit_scores
from onnxprune.choose.score.registry import FloatArray
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Group, Trace

WEIGHTS, ACTIVATIONS, NETWORK, CONSUMERS = "weights", "activations", "network", "consumers"
Batches = list[dict[str, NDArray[Any]]]
Steps = Callable[[int, int], None]


def family(criterion: str) -> str:
    """What a criterion looks at. UsageError for a name that is none, with the nearest and the list."""
    known = {entry.name: WEIGHTS for entry in score.criteria()}
    known |= {entry.name: ACTIVATIONS for entry in activations.criteria()}
    known |= {entry.name: NETWORK for entry in network.criteria()}
    known |= {entry.name: CONSUMERS for entry in consumers.criteria()}
    return names.find(known, "criterion", criterion, list(known))


def needs_data(criterion: str) -> bool:
    """Whether a criterion looks at samples. UsageError for a name that is none."""
    kind = family(criterion)
    if kind in (WEIGHTS, NETWORK):
        entry = score.get(criterion) if kind == WEIGHTS else network.get(criterion)
        return entry.needs is not Needs.WEIGHTS
    return True


def scores_of(
    trace: Trace,
    groups: Sequence[Group],
    options: Options,
    batches: Batches | None,
    *,
    threads: Threads = 0,
    progress: Steps | None = None,
) -> Sequence[FloatArray | None]:
    """Per group (size,), higher for what should stay; None where there is nothing to look at. Not for consumers."""
    name, how = options.criterion, options.aggregate
    kind = family(name)
    if kind == WEIGHTS:
        return unit_scores(trace, groups, score.get(name), how=how, seed=options.seed)
    if kind == NETWORK:
        return network.network_scores(trace, groups, batches or [], name, threads=threads, progress=progress)
    assert batches is not None
    return activations.activation_scores(trace, groups, batches, name, how=how, threads=threads, progress=progress)

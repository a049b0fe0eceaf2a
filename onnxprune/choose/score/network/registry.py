"""The network criteria by name: they look at the whole network, not at one layer or one activation.

A criterion is one file with one function, registered by decorator::

    @network_criterion("nisp", needs=Needs.WEIGHTS, source="Yu et al., NISP, CVPR 2018")
    def nisp(network: Network) -> list[FloatArray]:
        \"\"\"Importance of the outputs, carried back through the absolute weights.\"\"\"

It gives one array per group, one float64 per unit, higher for what should stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score import names
from onnxprune.choose.score.registry import FloatArray, Needs
from onnxprune.errors import NotFinite, UsageError
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Group, Trace

Steps: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class Network:
    """What a criterion may look at. `batches` are feeds of the model, empty for criteria that need only weights."""

    trace: Trace
    groups: Sequence[Group]
    batches: list[dict[str, NDArray[Any]]] = field(default_factory=list)
    threads: Threads = 0
    progress: Steps | None = None


NetworkFunction: TypeAlias = Callable[[Network], list[FloatArray]]


@dataclass(frozen=True)
class NetworkCriterion:
    """A registered criterion. Call it with a `Network`: per group (group.size,) float64, finite."""

    name: str
    needs: Needs
    source: str
    doc: str
    function: NetworkFunction

    def __call__(self, network: Network) -> list[FloatArray]:
        if self.needs is not Needs.WEIGHTS and not network.batches:
            raise UsageError(f"--criterion {self.name} needs calibration data", hint="Give some by --data.")
        scores = self.function(network)
        if [s.shape for s in scores] != [(g.size,) for g in network.groups]:
            raise ValueError(f"criterion {self.name!r} gave {[s.shape for s in scores]}")
        for group, found in zip(network.groups, scores, strict=True):
            if not np.isfinite(found).all():
                raise NotFinite(f"the {self.name} score of {group.name!r} is not finite")
        return scores


_REGISTRY: dict[str, NetworkCriterion] = {}


def network_criterion(name: str, *, needs: Needs, source: str) -> Callable[[NetworkFunction], NetworkFunction]:
    """Register a function as network criterion `name`. The first line of its docstring is what the lists show."""

    def register(function: NetworkFunction) -> NetworkFunction:
        names.add(
            _REGISTRY,
            "network criterion",
            name,
            function,
            lambda doc: NetworkCriterion(name, needs, source, doc, function),
        )
        return function

    return register


def criteria() -> tuple[NetworkCriterion, ...]:
    """Every network criterion, by name."""
    return tuple(_REGISTRY[name] for name in sorted(_REGISTRY))


def get(name: str) -> NetworkCriterion:
    """The network criterion `name`; UsageError with the nearest name and the list if there is none."""
    return names.find(_REGISTRY, "criterion", name, sorted(_REGISTRY))


def network_scores(
    trace: Trace,
    groups: Sequence[Group],
    batches: list[dict[str, NDArray[Any]]],
    criterion: str,
    *,
    threads: Threads = 0,
    progress: Steps | None = None,
) -> list[FloatArray]:
    """Per group scores (group.size,), higher for what should stay. Raises UsageError, DataError, ModelError."""
    return get(criterion)(Network(trace, groups, batches, threads, progress))

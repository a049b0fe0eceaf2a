"""The consumer criteria by name: which unit leaves next, judged by the layers that read it.

A criterion is one file with one function, registered by decorator::

    @consumer_criterion("obd-output", source="Le Cun et al., 1990, layer-wise")
    def obd_output(consumers, n, *, blocks=None):
        \"\"\"What the output loses when one unit is cut, the others unchanged.\"\"\"

With `blocks` (n,) the same number leaves every block of units: after a removal the next one comes from the blocks that
have lost the least. Equal costs: the unit with the highest index leaves first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score import names
from onnxprune.choose.score.consumers.moments import Consumer, Removal
from onnxprune.errors import NotFinite


class RemovalFunction(Protocol):
    """Consumers of one group of n units -> the order in which its units leave."""

    __doc__: str | None

    def __call__(
        self, consumers: Sequence[Consumer], n: int, *, blocks: NDArray[np.int64] | None = None
    ) -> Removal: ...


@dataclass(frozen=True)
class ConsumerCriterion:
    """A registered criterion. Call it like its function; what goes in and comes out is checked."""

    name: str
    source: str
    doc: str
    function: RemovalFunction

    def __call__(self, consumers: Sequence[Consumer], n: int, *, blocks: NDArray[np.int64] | None = None) -> Removal:
        for consumer in consumers:
            _check(consumer, n)
        if blocks is not None and blocks.shape != (n,):
            raise ValueError(f"blocks are {blocks.shape}, but there are {n} units")
        removal = self.function(consumers, n, blocks=blocks)
        if not np.array_equal(np.sort(removal.order), np.arange(n)) or removal.errors.shape != (n + 1,):
            raise ValueError(f"criterion {self.name!r} gave no order of {n} units")
        if not np.isfinite(removal.errors).all():
            raise NotFinite(f"the {self.name} errors of {', '.join(c.name for c in consumers)} are not finite")
        return removal


def _check(consumer: Consumer, n: int) -> None:
    if consumer.unit.size and not (consumer.unit.min() >= -1 and consumer.unit.max() < n):
        raise ValueError(f"units of {consumer.name!r} are not in -1..{n - 1}")
    for what in ("gram", "cross", "weight"):
        if not np.isfinite(getattr(consumer, what)).all():
            raise NotFinite(
                f"the {what} of {consumer.name!r} holds NaN or infinity",
                hint="the network overflows on the calibration samples: check them, and how they are normalised",
            )


_REGISTRY: dict[str, ConsumerCriterion] = {}


def consumer_criterion(name: str, *, source: str) -> Callable[[RemovalFunction], RemovalFunction]:
    """Register a function as consumer criterion `name`. The first line of its docstring is what the lists show."""

    def register(function: RemovalFunction) -> RemovalFunction:
        names.add(
            _REGISTRY,
            "consumer criterion",
            name,
            function,
            lambda doc: ConsumerCriterion(name, source, doc, function),
        )
        return function

    return register


def criteria() -> tuple[ConsumerCriterion, ...]:
    """Every consumer criterion, by name."""
    return tuple(_REGISTRY[name] for name in sorted(_REGISTRY))


def get(name: str) -> ConsumerCriterion:
    """The consumer criterion `name`; UsageError with the nearest name and the list if there is none."""
    return names.find(_REGISTRY, "criterion", name, sorted(_REGISTRY))

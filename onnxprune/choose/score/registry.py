"""The criteria by name, and what a criterion may look at.

A criterion is one file with one function, registered by decorator::

    @criterion("l1", needs=Needs.WEIGHTS, source="Li et al., ICLR 2017")
    def l1(layer: Layer) -> FloatArray:
        \"\"\"Sum of the absolute weights of a filter.\"\"\"

It gives one float64 per filter, higher for what should stay. What looks at more than the weights of one layer is
registered elsewhere (`score/activations`, `score/consumers`, `score/network`), and says by `needs` what it takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score import names
from onnxprune.errors import ModelError

FloatArray: TypeAlias = NDArray[np.float64]


class Needs(Enum):
    """What has to be at hand before a criterion can be computed, cheapest first."""

    WEIGHTS = "weights"
    DATA = "data"


@dataclass(frozen=True)
class Layer:
    """What a criterion may look at, for one member tensor of a group.

    `filters` is (n, features) in the type of the file: row i is all weights that produce index i.
    `scale` is (n,), |gamma| of the BatchNormalization that directly follows, or None if there is none (or it is fused).
    `seed` is this layer's own: see `layer_seed`.
    """

    name: str
    filters: NDArray[Any]
    scale: NDArray[Any] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.filters.ndim != 2:
            raise ValueError(f"filters of {self.name!r} must be (n, features), got shape {self.filters.shape}")
        if self.scale is not None and self.scale.shape != self.filters.shape[:1]:
            raise ValueError(f"scale of {self.name!r} is {self.scale.shape}, but there are {len(self.filters)} filters")


ScoreFunction: TypeAlias = Callable[[Layer], FloatArray]


@dataclass(frozen=True)
class Criterion:
    """A registered criterion. Call it with a `Layer`: (n,) float64, finite, higher for what should stay."""

    name: str
    needs: Needs
    source: str
    doc: str
    function: ScoreFunction

    def __call__(self, layer: Layer) -> FloatArray:
        with np.errstate(over="ignore", invalid="ignore"):  # reported below, by name
            scores = self.function(layer)
        if scores.shape != layer.filters.shape[:1] or scores.dtype != np.float64:
            raise ValueError(
                f"criterion {self.name!r} gave {scores.dtype} {scores.shape} for {len(layer.filters)} filters"
            )
        if not np.isfinite(scores).all():
            raise ModelError(
                f"the {self.name} score of {layer.name!r} is not finite in {int((~np.isfinite(scores)).sum())} of "
                f"{len(scores)} filters",
                hint="the weights are too large for this criterion: try --criterion l1",
            )
        return scores


_REGISTRY: dict[str, Criterion] = {}


def criterion(name: str, *, needs: Needs, source: str) -> Callable[[ScoreFunction], ScoreFunction]:
    """Register a function as criterion `name`. The first line of its docstring is what the lists show."""

    def register(function: ScoreFunction) -> ScoreFunction:
        names.add(_REGISTRY, "criterion", name, function, lambda doc: Criterion(name, needs, source, doc, function))
        return function

    return register


def criteria() -> tuple[Criterion, ...]:
    """Every criterion: by what it needs, cheapest first, then by name."""
    order = {need: position for position, need in enumerate(Needs)}
    return tuple(sorted(_REGISTRY.values(), key=lambda entry: (order[entry.needs], entry.name)))


def get(name: str) -> Criterion:
    """The criterion `name`; UsageError with the nearest name and the list if there is none."""
    return names.find(_REGISTRY, "criterion", name, [entry.name for entry in criteria()])


def layer_seed(seed: int, name: str) -> int:
    """A 63-bit seed for one layer from the run's seed and the layer's name: the same on every machine."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1

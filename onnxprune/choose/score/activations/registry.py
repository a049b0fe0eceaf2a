"""The activation criteria by name: what a channel shows on calibration data, after normalisation and nonlinearity.

A criterion is one file with one function, registered by decorator with the statistic that it is computed from::

    @activation_criterion("mean-activation", statistic=Sizes, source="Molchanov et al., ICLR 2017")
    def mean_activation(seen: Sizes) -> FloatArray:
        \"\"\"Mean of the absolute activations of a channel.\"\"\"

It gives one float64 per channel, higher for what should stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from onnxprune.capture.statistics import Statistic
from onnxprune.choose.score import names
from onnxprune.choose.score.registry import FloatArray
from onnxprune.errors import NotFinite

S = TypeVar("S", bound=Statistic)


@dataclass(frozen=True)
class ActivationCriterion:
    """A registered criterion. `statistic` makes what it wants to see, from the number of channels.

    `samples`: it is computed from so many samples at most; None for all. Call it with the name of an activation and
    its statistic: (channels,) float64, finite, higher for what should stay.
    """

    name: str
    source: str
    doc: str
    statistic: Callable[[int], Any]
    samples: int | None
    function: Callable[[Any], FloatArray]

    def __call__(self, activation: str, channels: int, seen: Statistic) -> FloatArray:
        scores = self.function(seen)
        if scores.shape != (channels,) or scores.dtype != np.float64:
            raise ValueError(f"criterion {self.name!r} gave {scores.dtype} {scores.shape} for {channels} channels")
        if not np.isfinite(scores).all():
            raise NotFinite(f"the {self.name} score of {activation!r} is not finite")
        return scores


_REGISTRY: dict[str, ActivationCriterion] = {}


def activation_criterion(
    name: str, *, statistic: Callable[[int], S], source: str, samples: int | None = None
) -> Callable[[Callable[[S], FloatArray]], Callable[[S], FloatArray]]:
    """Register a function as activation criterion `name`. The first line of its docstring is what the lists show."""

    def register(function: Callable[[S], FloatArray]) -> Callable[[S], FloatArray]:
        names.add(
            _REGISTRY,
            "activation criterion",
            name,
            function,
            lambda doc: ActivationCriterion(name, source, doc, statistic, samples, function),
        )
        return function

    return register


def criteria() -> tuple[ActivationCriterion, ...]:
    """Every activation criterion, by name."""
    return tuple(_REGISTRY[name] for name in sorted(_REGISTRY))


def get(name: str) -> ActivationCriterion:
    """The activation criterion `name`; UsageError with the nearest name and the list if there is none."""
    return names.find(_REGISTRY, "criterion", name, sorted(_REGISTRY))

"""Layers whose rows come out of the values: boxes that were found, tokens that went to an expert, predicted durations.

There may be none on all samples, and a network that has lost channels may find others: then its rows stand for other
things than those of the original, and cannot be matched with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
NO_ROWS = "the samples never reach it: no rows came out of what was found before"
OTHER_ROWS = "how many rows it has depends on the values, and differs between the two networks"


class Unmatched(Exception):
    """A layer has nothing to be matched with the original by; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def differences(values: Sequence[Array], others: Sequence[Array]) -> list[Array]:
    """values - others, batch by batch. Raises Unmatched where their shapes differ."""
    require_alike(values, others)
    return [value - other for value, other in zip(values, others, strict=True)]


def require_alike(values: Sequence[Array], others: Sequence[Array]) -> None:
    """Raises Unmatched unless all shapes are equal."""
    if any(value.shape != other.shape for value, other in zip(values, others, strict=True)):
        raise Unmatched(OTHER_ROWS)

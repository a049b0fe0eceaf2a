"""Who computes parts of a run elsewhere, as stages see it: they ask in plain values, and get plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol


class Crew(Protocol):
    """Processes on other machines, which have the original of a run and its samples.

    What a part asks and what it gives are values that `results.kept.codec` knows, without dataclasses.
    """

    def serves(self, model: object) -> bool:
        """Whether `model` is the original, which they have: other networks are computed here."""
        ...

    def each(self, kind: str, parts: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
        """(number of the part, what it gave, in a list), in the order in which they come; an empty list for a part that
        is to be computed here, where it gives its value or its error. Raises ClusterError.
        """
        ...


def crew_for(crew: Crew | None, model: object) -> Crew | None:
    """The crew, if there is one and it has this model."""
    return crew if crew is not None and crew.serves(model) else None

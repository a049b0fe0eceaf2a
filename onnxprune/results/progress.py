"""How far a long run is, as it tells a callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """A step of a long run.

    Attributes:
        stage: Named as in docs/architecture.md.
        done: How much of the stage is done.
        total: Of how much; None if that is unknown.
        message: What else is to be said.
    """

    stage: str
    done: int
    total: int | None = None
    message: str = ""


ProgressCallback = Callable[[Progress], None]

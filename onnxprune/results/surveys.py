"""What `inspect` says of several models: one row a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxprune.results.model import ModelSummary
from onnxprune.results.shown import OneLine, Shown
from onnxprune.results.units import plural


@dataclass(frozen=True, repr=False)
class Held(OneLine):
    """A part of a model that no choice makes smaller.

    Attributes:
        share: Of its multiply-accumulates.
        reason: Why it stays.
        nodes: How many.
        example: The first of them.
    """

    share: float
    reason: str
    nodes: int
    example: str


@dataclass(frozen=True, repr=False)
class Trouble(OneLine):
    """Why a file could not be read: `kind` is the name of the error, `exit_code` what one file would end with."""

    kind: str
    message: str
    hint: str | None
    exit_code: int


@dataclass(frozen=True, repr=False)
class Surveyed(OneLine):
    """One file.

    Attributes:
        path: As it was given, or below the folder that was.
        model: Its size and cost; None if it could not be read.
        groups: How many groups of channels (or heads, or residual blocks) it has.
        prunable: How many of them can lose some.
        removable: Channels (heads, blocks) in these.
        halved_macs: Multiply-accumulates with half of every such group, in the steps of this device; None for blocks.
        held: What stays, the largest share first.
        error: Why it could not be read.
    """

    path: Path
    model: ModelSummary | None = None
    groups: int = 0
    prunable: int = 0
    removable: int = 0
    halved_macs: int | None = None
    held: tuple[Held, ...] = ()
    error: Trouble | None = None


@dataclass(frozen=True, repr=False)
class Survey(Shown):
    """What several models could lose, and why not more. `units`: "channels", "heads", "blocks" or "all"."""

    models: tuple[Surveyed, ...]
    units: str = "channels"

    @property
    def exit_code(self) -> int:
        """That of the first file that could not be read, else 0."""
        return next((one.error.exit_code for one in self.models if one.error is not None), 0)

    def _words(self) -> str:
        failed = sum(one.error is not None for one in self.models)
        return f"{plural(len(self.models), 'model')}, {failed} not read"

"""A run that is to end early: what is there so far is taken, instead of nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from onnxprune.results.shown import OneLine
from onnxprune.results.units import format_percent


@dataclass(frozen=True, repr=False)
class CutShort(OneLine):
    """What was ended early.

    Attributes:
        what: "repair" or "trials".
        done: How many steps or trials there were.
        total: How many there would have been.
    """

    what: str
    done: int
    total: int

    @property
    def words(self) -> str:
        """In a sentence: "repair was ended after 120 of 400 steps (30 %)"."""
        were, unit = ("was", "steps") if self.what == "repair" else ("were", "trials")
        share = format_percent(self.done / max(self.total, 1))
        return f"{self.what} {were} ended after {self.done} of {self.total} {unit} ({share})"


class Ended(KeyboardInterrupt):
    """What is being tried is given up; something that was tried before is taken."""


class Ending:
    """Between who wants a run to end and the stages that can. `asked`: it is to end; `cut`: what was cut short so far,
    the first of it; None if nothing was.
    """

    def __init__(self) -> None:
        self.asked = False
        self.cut: CutShort | None = None
        self._offered = self._barred = 0
        self._trying = False

    def ask(self) -> bool:
        """End it. False if there is nothing yet that could be taken, or this was asked before.

        Raises Ended where a trial is given up.
        """
        if self.asked or not (self._trying or (self._offered and not self._barred)):
            return False
        self.asked = True
        if self._trying:
            raise Ended
        return True

    def shorten(self, what: str, done: int, total: int) -> None:
        """Remember what was cut short."""
        if self.cut is None:
            self.cut = CutShort(what, done, total)

    @contextlib.contextmanager
    def offered(self) -> Iterator[None]:
        """What runs here looks at `asked`, and ends at its best so far."""
        self._offered += 1
        try:
            yield
        finally:
            self._offered -= 1

    @contextlib.contextmanager
    def barred(self) -> Iterator[None]:
        """What runs here is no result, whatever it offers."""
        self._barred += 1
        try:
            yield
        finally:
            self._barred -= 1

    @contextlib.contextmanager
    def trying(self, there: bool) -> Iterator[None]:
        """One of several trials: if there is another one already, this one is given up at once. Raises Ended."""
        before, self._trying = self._trying, there
        try:
            with self.barred():
                yield
        finally:
            self._trying = before

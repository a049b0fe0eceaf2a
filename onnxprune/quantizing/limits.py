"""How far a quantised network may be from the original: bounds, and the fastest choice that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from onnxprune.choose.request import GIVE_DATA
from onnxprune.errors import GateError, UsageError
from onnxprune.results import Fidelity
from onnxprune.results.units import format_percent

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """On held-out samples: `min_agreement`, a share; `max_error` of the outputs, the norm of the difference relative to
    that of the original. `max_drop`: for the gate of the user's metric.
    """

    max_drop: float | None = None
    min_agreement: float | None = None
    max_error: float | None = None

    @property
    def given(self) -> bool:
        return any(one is not None for one in (self.max_drop, self.min_agreement, self.max_error))

    def broken(self, found: Fidelity | None) -> str | None:
        """The bound that is not kept, in words; None if all are."""
        if found is None:
            return None
        agreement, error = found.agreement, found.worst_error
        if self.min_agreement is not None and (agreement is None or agreement < self.min_agreement):
            what = "there is no agreement of classes" if agreement is None else f"agreement {format_percent(agreement)}"
            return f"{what}, --min-agreement asks for {format_percent(self.min_agreement)}"
        if self.max_error is not None and (error is None or not error <= self.max_error):
            what = "no output has an error" if error is None else f"output error {format_percent(error)}"
            return f"{what}, --max-error allows {format_percent(self.max_error)}"
        return None

    @classmethod
    def checked(
        cls, max_drop: float | None, min_agreement: float | None, max_error: float | None, *, with_data: bool
    ) -> Limits:
        """Raises UsageError for what are no shares, and where there are no samples."""
        for flag, value in (("--min-agreement", min_agreement), ("--max-error", max_error)):
            if value is not None and not 0 < value <= 1:
                raise UsageError(f"{flag} is a share above 0 and up to 1, found {value:.4g}")
            if value is not None and not with_data:
                raise UsageError(f"{flag} is measured on samples, and there are none.", hint=f"{GIVE_DATA}.")
        return cls(max_drop, min_agreement, max_error)

    def require(self, found: Fidelity | None) -> None:
        """Raises GateError."""
        reason = self.broken(found)
        if reason is not None:
            raise GateError(
                f"the result is too far from the original: {reason}",
                hint="Nothing was written. Allow more, or give more samples.",
            )


def first_within(choices: Sequence[T], broken: Callable[[T], str | None]) -> T:
    """Of choices from the fastest to the most exact the first that breaks no bound, found by halving: a more exact one
    keeps what a faster one keeps. Raises GateError if the last one breaks a bound as well.
    """
    reason = broken(choices[-1])
    if reason is not None:
        raise GateError(
            f"however few layers are quantised, the result is too far from the original: {reason}",
            hint="Nothing was written. Allow more, or give more samples.",
        )
    low, high = 0, len(choices) - 1
    while low < high:
        middle = (low + high) // 2
        if broken(choices[middle]) is None:
            high = middle
        else:
            low = middle + 1
    return choices[high]

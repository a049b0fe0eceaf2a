"""A target as numbers: what a network that keeps some units costs, and how much that may be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.target import Target
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import UsageError
from onnxprune.model.cost import uncounted
from onnxprune.results.units import format_bytes, format_latency, plural
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
Choice = TypeVar("Choice")
ROUNDS = 6
BESIDES = 0.1  # how much the cost itself counts beside time
LESS = 0.65  # of the logarithm of what is saved is to be saved in time, too


class Budget(Protocol):
    """`cost` of what stays, (unit_count,) bool -> number, is to come down to `limit`, both in the unit of the kind."""

    kind: str
    before: float
    limit: float
    stepped: bool
    """whether the cost may rise where a unit leaves"""

    def cost(self, keep: Bools) -> float: ...

    ceiling: float
    """what `worth` is to come down to, as far as the widths allow"""

    def worth(self, keep: Bools) -> float | None:
        """What the cost is to be spent on, if not on itself: None or a number that is to become small."""
        ...

    def settle(self, choose: Callable[[float], Choice], keep_of: Callable[[Choice], Bools]) -> Choice:
        """The choice that meets the target. `choose` finds one whose `cost` is at most its argument, or raises."""
        ...


class Counted:
    """Multiply-accumulates or parameters: what is planned is what comes out.

    `seconds`: about what the network takes that keeps some units. Multiply-accumulates are then spent where they take
    time.
    """

    stepped = False

    def __init__(self, trace: Trace, target: Target, seconds: Callable[[Bools], float] | None = None) -> None:
        planned = PlannedCost(trace)
        self._measure = planned.macs if target.kind == "macs" else planned.parameters
        self._known: dict[bytes, float] = {}
        self._worths: dict[bytes, float] = {}
        self.kind = target.kind
        self.before = float(self._measure(np.ones(trace.unit_count, bool)))
        self.limit = target.limit(self.before)
        if not self.before and (any(g.members for g in trace.prunable) or trace.removable_branches):
            raise UsageError(
                f"the {target.kind} of this model cannot be counted: {_why_uncounted(trace)}",
                hint="Give --data with samples, whose sizes are taken, or --ratio, or --target params=50%.",
            )
        self._seconds = seconds if target.kind == "macs" else None
        self._whole = 0.0 if self._seconds is None else self._seconds(np.ones(trace.unit_count, bool))
        share = min(self.limit / max(self.before, 1.0), 1.0)
        self.ceiling = share**LESS + BESIDES * share

    def cost(self, keep: Bools) -> float:
        key = _digest(keep)
        if key not in self._known:
            self._known[key] = float(self._measure(keep))
        return self._known[key]

    def worth(self, keep: Bools) -> float | None:
        """Time, and the cost itself to a lesser part: it breaks ties where no time is gained."""
        if self._seconds is None or not self._whole:
            return None
        key = _digest(keep)
        if key not in self._worths:
            besides = BESIDES * self.cost(keep) / max(self.before, 1.0)
            self._worths[key] = self._seconds(keep) / self._whole + besides
        return self._worths[key]

    def settle(self, choose: Callable[[float], Choice], keep_of: Callable[[Choice], Bools]) -> Choice:
        return choose(self.limit)


def _why_uncounted(trace: Trace) -> str:
    open_ = uncounted(trace.graph, trace.facts)
    if not open_:
        return "none of its operators is one that multiplies by weights, as far as known"
    more = f" and of {plural(len(open_) - 1, 'other layer')}" if len(open_) > 1 else ""
    return f"the sizes of what goes through {open_[0]!r}{more} are known only when it runs"


def _digest(keep: Bools) -> bytes:
    """Thousands of choices are asked for: their masks themselves would take hundreds of megabytes."""
    return hashlib.blake2b(np.packbits(keep).tobytes(), digest_size=16).digest()


class OutOfReach(UsageError):
    """Not even the removal of everything that may go meets the target: that leaves `least`.

    `instead` is what to try first.
    """

    def __init__(self, budget: Budget, least: float, instead: str = "") -> None:
        shown = {"size": lambda n: format_bytes(round(n)), "latency": format_latency}.get(budget.kind, "{:.4g}".format)
        super().__init__(
            f"the target {budget.kind} <= {shown(budget.limit)} is out of reach: "
            f"removing all that may go leaves {shown(least)}",
            hint=f"{instead}{'Or raise' if instead else 'Raise'} the target, or lower --min-keep or --multiple-of.",
        )
        self.least = least


def aim(
    asked: float,
    choose: Callable[[float], Choice],
    actual: Callable[[Choice], float],
    *,
    start: float,
    most: float,
    below: float,
    above: float = 0.0,
    rounds: int = ROUNDS,
) -> tuple[Choice, float]:
    """A choice whose `actual` cost lies within asked * (1 - below, 1 + above), and that cost.

    `choose` works by a prediction: its limit, `start` at first, is corrected by what came out, at most `rounds` times,
    up to `most`, the prediction for what needs no choice.
    If none is within, then of those below the one of the largest limit, of which least left: costs that are measured
    are noisy, and where little is to be gained more may leave for nothing. Or the least, if none is below.
    """
    limit, low, high = start, 0.0, most * (1 + 1e-9)  # limits that gave too little, too much
    found: list[tuple[float, float, Choice]] = []
    middle = asked * (1 + (above - below) / 2)
    for _ in range(rounds):
        try:
            choice = choose(limit)
        except OutOfReach as problem:
            if limit >= problem.least:
                raise
            low, limit = limit, problem.least * (1 + 1e-9)  # the prediction may be wrong: the least that can be
            continue
        cost = actual(choice)
        found.append((cost, limit, choice))
        if asked * (1 - below) <= cost <= asked * (1 + above):
            break
        if cost > asked:
            high = min(high, limit)
        else:
            low = max(low, limit)
        limit = min(limit * middle / cost, most)
        if not low < limit < high:
            limit = (low + high) / 2
        if high - low < 1e-6 * high:
            break
    fitting = [one for one in found if one[0] <= asked * (1 + above)]
    best = max(fitting, key=lambda one: one[1]) if fitting else min(found, key=lambda one: one[0])
    return best[2], best[0]

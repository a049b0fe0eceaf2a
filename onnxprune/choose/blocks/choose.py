"""Greedy choice of residual blocks: the least error per cost leaves next, until the target or the share is met.

If the network will be repaired, the error of a block is what a short repair leaves of it, of the outputs without this
block alone, and errors are added up: how well a network recovers decides what can be taken out of it (Wang & Wu,
Practical Network Acceleration with Tiny Sets, CVPR 2023), and what is off at first says little of it, least of all
without several blocks. Where such repairs would take too long, the errors at first of single blocks are added up. Where
it is not repaired the error is that of the outputs without the block and all those that left before it, measured again
after every removal if that is affordable, otherwise once for every block alone and added up (first order). Without
samples it is what the block adds, by its weights (`weights.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.batches import first_samples
from onnxprune.choose.allocate.groups import check_ratio
from onnxprune.choose.blocks.measure import OutputErrors
from onnxprune.choose.blocks.weights import energy
from onnxprune.choose.budget import Budget
from onnxprune.choose.criteria import Batches, Steps
from onnxprune.choose.ranking import NO_SCORE, Options, Selection, matching
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import ModelError, UsageError
from onnxprune.model.finite import damage
from onnxprune.results.providers import Threads
from onnxprune.trace.branches import Branch
from onnxprune.trace.groups import Trace

JUDGED, FEWEST = 128, 32  # samples that errors are measured on: most and least
BUDGET = 2e12  # multiply-accumulates that measuring may take
Errors = Callable[[Sequence[int]], float]
Recovered = Callable[[int], float | None]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class _Asked:
    """`cost` of what stays, (unit_count,) -> number, is to come down to `limit`; and with `exact` not below it."""

    cost: Callable[[Bools], float]
    limit: float
    exact: bool


def select_blocks(
    trace: Trace,
    options: Options,
    batches: Batches | None,
    budget: Budget | None,
    *,
    held_out: int = 0,
    threads: Threads = 0,
    progress: Steps | None = None,
    recovered: Recovered | None = None,
    beforehand: Callable[[Sequence[int]], None] | None = None,
) -> Selection:
    """The blocks that leave: until `budget` is met, or else the share `options.ratio` of those that may leave.

    `recovered`: unit -> the error that a short repair leaves without it, None if that cannot be told; `beforehand`
    hears of which units it will be asked. Of `options`, `include` and `exclude` count, too. Errors are measured on the
    last `held_out` of the batches. Raises UsageError.
    """
    check_ratio(options.ratio)
    reasons = _excluded(trace, options)
    free = {unit: branch for unit, branch in trace.removable_branches if branch.name not in reasons}
    for branch in free.values():
        nodes = (trace.graph.nodes[index] for index in branch.nodes)
        for node, found in damage(trace.graph, nodes):
            hint = f"Export the model again, or leave this block as it is: --exclude {node.label!r}."
            raise ModelError(str(found), hint=hint)
    if recovered is not None and batches is not None and beforehand is not None:
        beforehand(list(free))
    alone = None if recovered is None or batches is None else _recovered(recovered, list(free), progress)
    if alone is not None:
        errors = _summed(alone)
    elif batches is None:
        errors, free = _by_weights(trace, free, reasons)
    else:
        steps = len(free) * (len(free) + 1) // 2
        count, again = _affordable(trace, steps, len(free))
        few = first_samples(trace.graph.model, batches[len(batches) - held_out :] or batches, count)
        again = again and recovered is None
        errors = _Counted(OutputErrors(trace, few, threads).without, steps if again else len(free), progress)
        if not again:
            alone = {unit: errors([unit]) for unit in free}
            errors = _summed(alone)
    if budget is None:
        gone = _greedy(trace, list(free), errors, _by_share(trace, options, len(free)))
    else:
        known = _remembered(errors)

        def within(limit: float) -> list[int]:
            asked = _Asked(budget.cost, limit, False)
            first = _greedy(trace, list(free), known, asked)
            return first if alone is None else _exchanged(trace, first, alone, asked)

        gone = budget.settle(within, lambda units: _without(trace, units))
    keep = _without(trace, gone)
    left = trace.vanishing(keep)
    blocks = tuple(b.name for u, b in trace.removable_branches if not keep[u] or b.add in left)
    return Selection((), (), reasons, blocks)


# ---- inner -----------------------------------------------------------------------------------------------------
def _excluded(trace: Trace, options: Options) -> dict[str, str]:
    """Blocks that may not leave because of patterns; one is meant if any of its nodes is."""
    reasons: dict[str, str] = {}
    wanted = matching(trace.graph, options.include, "--include") if options.include else None
    unwanted = matching(trace.graph, options.exclude, "--exclude") if options.exclude else set()
    for _, branch in trace.removable_branches:
        nodes = {*branch.nodes, branch.add}
        if nodes & unwanted:
            reasons[branch.name] = "excluded"
        elif wanted is not None and not nodes & wanted:
            reasons[branch.name] = "not included"
    return reasons


def _by_weights(trace: Trace, free: dict[int, Branch], reasons: dict[str, str]) -> tuple[Errors, dict[int, Branch]]:
    """What the blocks add, in place of errors; those without a score stay."""
    scores = {unit: energy(trace.graph, branch) for unit, branch in free.items()}
    reasons.update((free[unit].name, NO_SCORE) for unit, score in scores.items() if score is None)
    known = {unit: score for unit, score in scores.items() if score is not None}
    return (lambda units: sum(known[unit] for unit in units)), {unit: free[unit] for unit in known}


def _affordable(trace: Trace, steps: int, blocks: int) -> tuple[int, bool]:
    """How many samples `steps` runs may take, and whether they may be that many; otherwise there are `blocks` runs."""
    one = max(PlannedCost(trace).macs(np.ones(trace.unit_count, bool)), 1)
    count = int(BUDGET / (one * max(steps, 1)))
    if count >= FEWEST:
        return min(count, JUDGED), True
    return min(max(int(BUDGET / (one * max(blocks, 1))), FEWEST), JUDGED), False


def _recovered(recovered: Recovered, units: Sequence[int], progress: Steps | None) -> dict[int, float] | None:
    """The errors of all blocks, None unless all can be told: others would be of another kind."""
    found: dict[int, float] = {}
    for number, unit in enumerate(units, 1):
        error = recovered(unit)
        if error is None:
            return None
        found[unit] = error
        if progress is not None:
            progress(number, len(units))
    return found


def _summed(alone: Mapping[int, float]) -> Errors:
    return lambda units: sum(alone[unit] for unit in units)


def _exchanged(trace: Trace, gone: Sequence[int], alone: Mapping[int, float], asked: _Asked) -> list[int]:
    """The choice with blocks exchanged, one for one or one for two, as long as that lowers the sum of the errors."""
    best = list(gone)
    while True:
        others = [unit for unit in alone if unit not in best]
        tried = [
            (sum(alone[unit] for unit in come) - alone[leave], [*(unit for unit in best if unit != leave), *come])
            for leave in best
            for come in (*itertools.combinations(others, 1), *itertools.combinations(others, 2))
        ]
        better = sorted((pair for pair in tried if pair[0] < 0), key=lambda pair: pair[0])
        found = next((units for _, units in better if asked.cost(_without(trace, units)) <= asked.limit), None)
        if found is None:
            return best
        best = found


class _Counted:
    """Tells how many of `total` errors are known."""

    def __init__(self, errors: Errors, total: int, progress: Steps | None) -> None:
        self._errors, self._total, self._progress, self._done = errors, total, progress, 0

    def __call__(self, units: Sequence[int]) -> float:
        found = self._errors(units)
        self._done += 1
        if self._progress is not None and self._done <= self._total:
            self._progress(self._done, self._total)
        return found


def _remembered(errors: Errors) -> Errors:
    """Errors by the set of units: a target that is corrected asks again."""
    found: dict[frozenset[int], float] = {}

    def error(units: Sequence[int]) -> float:
        key = frozenset(units)
        if key not in found:
            found[key] = errors(units)
        return found[key]

    return error


def _by_share(trace: Trace, options: Options, count: int) -> _Asked:
    branches = trace.removable_branches

    def staying(keep: Bools) -> float:
        gone = trace.vanishing(keep)
        return float(sum(bool(keep[unit]) and branch.add not in gone for unit, branch in branches))

    return _Asked(staying, len(branches) - math.floor(options.ratio * count + 1e-9), True)


def _greedy(trace: Trace, free: Sequence[int], errors: Errors, asked: _Asked) -> list[int]:
    """Units of the blocks that leave. Raises UsageError if the limit is out of reach."""
    gone: list[int] = []
    prices: dict[int, float] = {}
    now, cost = 0.0, asked.cost(_without(trace, gone))
    while cost > asked.limit:
        best: tuple[float, int, float, float] | None = None
        for unit in free:
            after = asked.cost(_without(trace, [*gone, unit]))
            if unit in gone or after >= cost or (asked.exact and after < asked.limit):
                continue
            error = errors([*gone, unit])
            price = (error - now) / (cost - after)
            if best is None or price < best[0]:
                best = price, unit, error, after
        if best is None:
            if asked.exact:
                break
            raise UsageError(
                f"the target of at most {asked.limit:.4g} is out of reach: without all blocks that may go, "
                f"{cost:.4g} are left",
                hint="Raise the target, or remove channels afterwards: a result can be shrunk again.",
            )
        prices[best[1]], now, cost = best[0], best[2], best[3]
        gone.append(best[1])
    for unit in sorted(gone, key=lambda u: -prices[u]):  # what later removals made unnecessary comes back
        rest = [u for u in gone if u != unit]
        if asked.cost(_without(trace, rest)) <= asked.limit:
            gone = rest
    return gone


def _without(trace: Trace, units: Sequence[int]) -> Bools:
    keep = np.ones(trace.unit_count, bool)
    keep[list(units)] = False
    return keep

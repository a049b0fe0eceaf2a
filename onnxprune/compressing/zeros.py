"""Zeros as a lever: weights leave, in blocks that operators skip, of the original or of what other levers left of it.

The more weights are zero the less a network costs, so the least share that comes down to the limit is looked for. With
a target in time layers and blocks are chosen for every share by times measured here (`sparsifying.tuning`); bytes hang
on how many weights stay, so there single weights leave.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from onnxprune import native
from onnxprune.compressing import build
from onnxprune.compressing.both import middle_of
from onnxprune.compressing.build import BRIEFLY, FULLY, brief, full, measured, original, planned
from onnxprune.compressing.candidates import Candidate, Zeros
from onnxprune.compressing.request import ZEROS
from onnxprune.compressing.task import Task
from onnxprune.errors import OnnxPruneError, UsageError
from onnxprune.results.units import format_percent
from onnxprune.sparsifying.stage import Sparsified, fastest, sparsified
from onnxprune.trace import Trace, trace_again

SHARES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Of the weights of a layer that leave: below operators gain little, above little is left of what a network does."""
AGAIN = 2
"""How often the next larger share is taken if a file costs more than was asked."""


def dense(task: Task) -> Candidate:
    """The original, as what zeros begin with."""
    return Candidate((), task.original, original(task), task.original)


def milder(task: Task, like: Candidate, limit: float) -> Candidate:
    """A cut on the way of another one, which leaves the rest down to the limit to zeros. Raises what plans raise."""
    assert like.way is not None
    return brief(task, like.way, planned(task, like.way, _middle(like, limit)))


def thinned(task: Task, base: Candidate, limit: float) -> Candidate:
    """`base` with so many zeros that it comes down to the limit, repaired for a short time. Raises UsageError where
    no share of zeros does that, and what `sparsified` raises.
    """
    trace = _traced(task, base)
    cost = functools.cache(lambda share: _predicted(task, base, trace, share))
    share = least(cost, limit)
    if share is None:
        left = format_percent(cost(SHARES[-1]))
        raise UsageError(f"with {format_percent(SHARES[-1])} zeros {left} of the cost would be left")
    return _made(task, base, trace, share, BRIEFLY)


def thoroughly(task: Task, chosen: Candidate, limit: float) -> Iterator[Candidate]:
    """The same repaired in full, and with more zeros for as long as it costs more than the limit."""
    assert chosen.zeros is not None
    base, share = chosen.zeros.base, chosen.zeros.share
    if base.way is not None and base.choice is not None:
        base = full(task, base.way, base.choice, _middle(base, limit), base)
    trace = _traced(task, base)
    more = [one for one in SHARES if one >= share]
    for one in more[: AGAIN + 1]:
        made = _made(task, base, trace, one, FULLY)
        yield made
        if made.point.cost <= task.allowed(limit) or task.clock.ending.asked:
            return


def least(cost: Callable[[float], float], limit: float, shares: Sequence[float] = SHARES) -> float | None:
    """The least share of zeros whose cost, which falls, is within the limit; None if none is."""
    low, high = 0, len(shares)
    while low < high:
        middle = (low + high) // 2
        if cost(shares[middle]) <= limit:
            high = middle
        else:
            low = middle + 1
    return shares[low] if low < len(shares) else None


# ---- inner -----------------------------------------------------------------------------------------------------
def _middle(like: Candidate, limit: float) -> float:
    """What a cut costs that goes a part of the way from where its way begins."""
    assert like.way is not None
    return middle_of(like.way.start, limit)


def _traced(task: Task, base: Candidate) -> Trace:
    return task.traced if base.choice is None else trace_again(base.model, base.choice.traced)


def _predicted(task: Task, base: Candidate, trace: Trace, share: float) -> float:
    """What is left of the cost with random zeros, or with the smallest weights gone where bytes count."""
    request = task.request.zeros(share, 1.0)
    if task.request.kind == "size":
        plain = replace(request, method="magnitude", repair="none", effort=1.0)
        made = sparsified(trace, plain, None, task.clock, threads=task.threads)
        return task.cost(made.model, task.plan(base.choice, base.integers, made))
    missing = native.problem()
    if missing is not None:
        raise UsageError(f"the operators that skip zeros are missing here: {missing}")
    found = fastest(trace, request, task.clock, task.threads)
    if found.best is None or not found.choice.patterns:
        return base.point.cost
    return base.point.cost / found.best.speedup


def _made(task: Task, base: Candidate, trace: Trace, share: float, repaired: str) -> Candidate:
    whole = None if base.choice is None else (base.choice.traced, base.choice.keep)
    request = task.request.zeros(share, build.BRIEF if repaired == BRIEFLY else build.FLOATS * build.THOROUGH)
    made = sparsified(trace, request, task.samples, task.clock, whole=whole, threads=task.threads)
    if made.plan is None:
        raise UsageError(_dense(made))
    plan = task.plan(base.choice, base.integers, made)
    point = measured(task, (*base.levers, ZEROS), made.model, plan, repaired)
    return replace(base, levers=point.levers, model=made.model, point=point, zeros=Zeros(base, share, made))


def _dense(made: Sparsified) -> str:
    reasons = {layer.reason for layer in made.summary.layers if layer.reason}
    return "; ".join(sorted(reasons)) or "there are no layers with weights"


def problems(call: Callable[[], Candidate]) -> Candidate | str:
    """What was made, or why nothing was."""
    try:
        return call()
    except OnnxPruneError as problem:
        return problem.message

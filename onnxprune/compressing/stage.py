"""From a network to the best that all levers give within a budget: priced, planned, built and measured in turn.

Integers come first: they cost least for what they save. If they alone come down to the target, nothing else is done.
Otherwise each of the other levers is planned on what files will have (layers timed with integers, see `form`), repaired
briefly, and compared by the error that is left; the best is repaired in full, with everything in place, and measured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from onnxprune.choose.budget import OutOfReach
from onnxprune.compressing import zeros
from onnxprune.compressing.aim import CLOSER, aimed
from onnxprune.compressing.build import GAIN, NOT, brief, full, integers_alone, original, planned, planned_share
from onnxprune.compressing.candidates import Candidate, Way, best
from onnxprune.compressing.precision import Precision, precision
from onnxprune.compressing.request import ALL, BLOCKS, CHANNELS, CUTS, INT8, PARTS, ZEROS
from onnxprune.compressing.task import Task
from onnxprune.errors import ModelError, OnnxPruneError, UsageError, VerificationError
from onnxprune.quantizing.request import AUTO, RANGED
from onnxprune.results.compressing import CompressPoint
from onnxprune.results.ending import Ended
from onnxprune.results.units import format_percent

LITTLE = 0.6
"""Integers that leave more than this gain so little that cuts may be better off without them."""
CLOSE = 1.5
NEAR = 0.1
"""What is so much above the target, as a share of it, is near: more is no result."""
TRIALS = 2
"""Cuts that are built in full, if the first one misses the target."""
AGAIN = 2
"""How often a cut is planned anew if its file, with everything in place, costs more than was asked."""


@dataclass(frozen=True)
class Compressed:
    """What is taken, None if the original is; all `points` that were measured, and why levers gave nothing."""

    taken: Candidate | None
    points: tuple[CompressPoint, ...]
    without: tuple[tuple[str, str], ...]


@dataclass
class Found:
    """What was built so far."""

    points: list[CompressPoint]
    without: dict[str, str] = field(default_factory=dict)

    def add(self, task: Task, point: CompressPoint) -> None:
        """One more, which is told."""
        self.points.append(point)
        left, error = format_percent(point.cost), format_percent(point.error)
        repaired = "" if point.repaired == NOT else f", repaired {point.repaired}"
        task.clock.say(f"{point.name}{repaired}: {left} left, output error {error}")

    def done(self, taken: Candidate | None) -> Compressed:
        chosen = None if taken is None else replace(taken.point, taken=True)
        points = [one for one in self.points if taken is None or one is not taken.point]
        all_points = points if chosen is None else [*points, chosen]
        ordered = sorted(all_points, key=lambda one: (-one.cost, one.error))
        return Compressed(taken, tuple(ordered), tuple(self.without.items()))


def base(task: Task, found: Found) -> tuple[Precision, Candidate | None]:
    """How the file computes, and integers alone; without them if they save nothing."""
    floats = Precision(AUTO, None)
    if INT8 in task.request.without:
        found.without[INT8] = "--without int8"
        return floats, None
    timed = task.request.kind == "latency"
    how = precision(task.traced, task.request.integers, task.samples, task.clock, task.threads, timed=timed)
    if how.form is None:
        found.without[INT8] = "no layer can compute with integers"
        return floats, None
    alone = integers_alone(task, how)
    found.add(task, alone.point)
    if alone.integers is None or alone.integers.plan is None or alone.point.cost > GAIN:
        found.without[INT8] = f"{format_percent(alone.point.cost)} of the cost would be left"
        return floats, None
    return how, alone


def to_target(task: Task, limit: float) -> Compressed:
    """The least error at `limit`, a share of the cost. Raises UsageError where no lever comes down to it."""
    found = Found([original(task)])
    if limit >= 1:
        return found.done(None)
    how, alone = base(task, found)
    if alone is not None and alone.point.cost <= task.allowed(limit):
        taken = alone
        if how.scheme in RANGED:  # others have neither choices nor a repair
            taken = integers_alone(task, how, share=limit, repaired=True)
            found.add(task, taken.point)
        return found.done(taken)
    tried = cuts(task, limit, how, alone, found)
    if not tried:
        raise UsageError(_nothing(limit, alone, found), hint="Raise the target, or allow more levers.")
    return found.done(first_within(task, tried, limit, found))


def first_within(task: Task, tried: Sequence[Candidate], limit: float, found: Found) -> Candidate:
    """The cut of the least error whose file, with everything in place, comes down to the limit. What a brief trial
    missed by little may still do that: it is planned anew. Raises UsageError where none comes near.
    """
    near = [one for one in tried if one.point.cost <= limit * (1 + NEAR)] or list(tried)
    built: list[Candidate] = []
    for chosen in sorted(near, key=lambda one: one.point.error)[:TRIALS]:
        built.append(finished(task, chosen, limit, found))
        if built[-1].point.cost <= task.allowed(limit):
            return built[-1]
        if task.clock.ending.asked:
            break
    nearest = best(built, task.allowed(limit))
    if nearest.point.cost > limit * (1 + NEAR) or task.request.kind != "latency":
        if task.clock.ending.asked:  # there is nothing yet that could be taken
            raise KeyboardInterrupt
        left = format_percent(nearest.point.cost)
        raise UsageError(
            f"no lever comes down to {format_percent(limit)} of the cost: measured {left}",
            hint="Raise the target, or allow more levers.",
        )
    return nearest


def cuts(
    task: Task, limit: float, how: Precision, alone: Candidate | None, found: Found, *, there: bool = False
) -> list[Candidate]:
    """Each way to the limit, repaired briefly; `alone`: what integers give, where cuts begin.

    If the run is to end, no more of them are tried, once one is near the limit, or one that will do is `there` already.
    """
    tried: list[Candidate] = []
    ending, all_ways = task.clock.ending, ways(task, how, alone)
    try:
        for way in all_ways:
            with ending.trying(there or _near(tried, limit)):
                _try(task, way, limit, tried, found)
        with ending.trying(there or _near(tried, limit)):
            return [*tried, *with_zeros(task, limit, alone, tried, found)]
    except Ended:
        ending.shorten("trials", len(tried), len(all_ways))
    return tried


def _near(tried: Sequence[Candidate], limit: float) -> bool:
    """Whether one of them may do."""
    return any(one.point.cost <= limit * (1 + NEAR) for one in tried)


def with_zeros(
    task: Task, limit: float, alone: Candidate | None, tried: Sequence[Candidate], found: Found
) -> list[Candidate]:
    """Zeros alone, and behind a cut, to the limit; `tried`: cuts alone. With integers operators that skip zeros are
    hardly faster than dense ones, so there are zeros only where files may be of floats. Both together are tried where
    each is about as good, or neither gets there alone.
    """
    if ZEROS in task.request.without:
        if ZEROS in task.request.asked.without:
            found.without[ZEROS] = f"--without {ZEROS}"
        return []
    if alone is not None and alone.point.cost < LITTLE:
        found.without[ZEROS] = "integers gain more, and with them operators that skip zeros are hardly faster"
        return []
    made: list[Candidate] = []
    floats = [one for one in tried if one.way is not None and one.way.how.form is None]
    _add(task, made, ZEROS, zeros.problems(lambda: zeros.thinned(task, zeros.dense(task), limit)), found)
    like = best(floats, limit * (1 + NEAR)) if floats else None
    if like is not None and (not made or close([like, *made]) or like.point.cost > limit * (1 + NEAR)):
        name = " + ".join((*like.levers, ZEROS))
        both = zeros.problems(lambda: zeros.thinned(task, zeros.milder(task, like, limit), limit))
        _add(task, made, name, both, found)
    return made


def _add(task: Task, made: list[Candidate], name: str, outcome: Candidate | str, found: Found) -> None:
    if isinstance(outcome, str):
        found.without[name] = outcome
    else:
        made.append(outcome)
        found.add(task, outcome.point)


def _try(task: Task, way: Way, limit: float, tried: list[Candidate], found: Found) -> None:
    """One way to the limit, or why there is none."""
    barred = task.request.without & PARTS[way.lever]
    if barred:
        found.without[way.name] = "--without " + " ".join(sorted(barred))
        return
    if way.lever == ALL and tried and not close(tried):
        return
    try:
        choice = planned(task, way, limit)
    except (OutOfReach, UsageError, ModelError, VerificationError) as problem:
        found.without[way.name] = problem.message
        return
    if not choice.plan.removed_count:
        found.without[way.name] = "nothing can leave"
        return
    tried.append(brief(task, way, choice))
    found.add(task, tried[-1].point)


def close(tried: Sequence[Candidate]) -> bool:
    """Whether channels and blocks are both good for something: both together may then be better."""
    errors = [one.point.error for one in tried]
    return len(errors) > 1 and max(errors) < CLOSE * min(errors)


def ways(task: Task, how: Precision, alone: Candidate | None) -> list[Way]:
    """Every cut in the precision that is best for the whole; where that gains little, in floats as well."""
    if alone is None:
        return [Way(lever, how) for lever in CUTS]
    cost, error = alone.point.cost, alone.point.error
    grids = None if alone.integers is None else alone.integers.plan
    said = 0 if grids is None or task.request.kind != "size" else len(json.dumps(asdict(grids)))
    found = [Way(lever, how, cost, error, said / task.original.size_bytes) for lever in CUTS]
    return found if cost < LITTLE else [*found, *(Way(lever, replace(how, form=None)) for lever in (CHANNELS, BLOCKS))]


def finished(task: Task, chosen: Candidate, limit: float, found: Found) -> Candidate:
    """The chosen cut in full; planned anew for less if the file costs more than it was to."""
    ending = task.clock.ending
    if chosen.zeros is not None:
        if ending.asked:  # as it was tried
            return chosen
        thin = list(zeros.thoroughly(task, chosen, limit))
        for one in thin:
            found.add(task, one.point)
        return best(thin, task.allowed(limit))
    share = limit
    if not ending.asked:
        try:
            with ending.trying(chosen.point.cost <= limit * (1 + NEAR)):
                chosen, share = aimed(task, chosen, limit)
        except Ended:
            ending.shorten("trials", 0, AGAIN + 1)
    way, choice = chosen.way, chosen.choice
    assert choice is not None and way is not None
    built: list[Candidate] = []
    for _ in range(AGAIN + 1):
        built.append(full(task, way, choice, limit, chosen))
        found.add(task, built[-1].point)
        cost = built[-1].point.cost
        if cost <= task.allowed(limit) or ending.asked:
            break
        share = min(limit * planned_share(way, choice) / cost, CLOSER * share)
        try:
            with ending.trying(cost <= limit * (1 + NEAR)):
                choice = planned(task, way, share)
        except Ended:
            ending.shorten("trials", len(built), AGAIN + 1)
            break
        except OnnxPruneError:
            break
    return best(built, task.allowed(limit))


def _nothing(limit: float, alone: Candidate | None, found: Found) -> str:
    reasons = "; ".join(f"{lever}: {why}" for lever, why in found.without.items())
    there = "" if alone is None else f", integers alone leave {format_percent(alone.point.cost)}"
    return f"no lever leaves {format_percent(limit)} of the cost{there} ({reasons})"

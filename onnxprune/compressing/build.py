"""Networks built from what levers take: integers alone, a cut that was repaired briefly, or all of it in full."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from onnxprune.compressing.both import planned_in_turn
from onnxprune.compressing.candidates import Candidate, Way
from onnxprune.compressing.precision import Precision
from onnxprune.compressing.request import ALL, INT8
from onnxprune.compressing.task import Task
from onnxprune.cut.plan import Plan
from onnxprune.cut.provenance import record
from onnxprune.model.load import Model
from onnxprune.quantizing.request import NONE, RANGED, QuantizeRequest
from onnxprune.quantizing.stage import adjusted, quantized
from onnxprune.repair.lessons import MOST
from onnxprune.results import Fidelity
from onnxprune.results.compressing import CompressPoint
from onnxprune.results.providers import counted
from onnxprune.shrinking.planning import Choice, mended_cut, plan_and_cut
from onnxprune.trace import trace_again

GAIN = 0.97
"""Integers that leave more than this of the cost are not worth what they lose."""
BRIEFLY, FULLY, NOT = "briefly", "fully", "not"
BRIEF, THOROUGH = 0.35, 3.0
"""Of the usual steps of reconstruction: enough to tell cuts apart, and what small networks can afford."""
FLOATS = 2
"""How many times as long a cut is repaired with floats as on its grids, where it starts close to its end."""
UNITS = 1.5 * (FLOATS + 1) * THOROUGH + 4 * BRIEF
"""Times the usual steps that a whole call takes, about: every other cut is planned once more."""


def original(task: Task) -> CompressPoint:
    """The point where everything begins."""
    return CompressPoint((), 1.0, 0.0, task.fidelity(task.original).agreement, NOT)


def integers_alone(task: Task, how: Precision, *, share: float | None = None, repaired: bool = False) -> Candidate:
    """The whole network in integers where that pays; with `share` where that costs least and still comes down to it."""
    request = _request(task, how, repaired)
    made = quantized(
        task.traced, request, task.samples, task.clock, task.gate, share=share, threads=task.threads, workers=0
    )
    point = _point(
        (INT8,), task.cost(made.model, task.plan(None, made)), task.fidelity(made.model), FULLY if repaired else NOT
    )
    return Candidate((INT8,), made.model, point, task.original, integers=made)


def bounded_integers(task: Task) -> Candidate:
    """Integers for as many layers as the bounds of the call allow. Raises GateError."""
    made = quantized(
        task.traced, task.request.integers, task.samples, task.clock, task.gate, threads=task.threads, workers=0
    )
    point = _point((INT8,), task.cost(made.model, task.plan(None, made)), task.fidelity(made.model), FULLY)
    return Candidate((INT8,), made.model, point, task.original, integers=made)


def planned(task: Task, way: Way, share: float) -> Choice:
    """What leaves so that the file costs `share` of the original. Raises what `plan_and_cut` raises."""
    share = max(share - way.besides, 0.0)
    if way.lever == ALL:
        return planned_in_turn(task, way.start, share, way.how)
    return plan_and_cut(task.run(way.lever, share, way.how.form))


def brief(task: Task, way: Way, choice: Choice) -> Candidate:
    """A cut repaired for a short time, its layers in floats. The error that integers make is independent of that of the
    cut: squares add up.
    """
    model, repair = mended_cut(task.repairing(way.lever), choice, choice.smaller, effort=task.request.effort(BRIEF))
    point = _point(way.levers, planned_share(way, choice), task.fidelity(model), BRIEFLY)
    point = replace(point, error=math.hypot(point.error, way.rounding))
    return Candidate(way.levers, model, point, model, choice, None, way, repair)


def full(task: Task, way: Way, choice: Choice, limit: float, trial: Candidate) -> Candidate:
    """The cut repaired, then quantised, then all weights adjusted on their grids to what the original gives. Narrow
    layers may be as fast in floats: where these come down to `limit`, or cost no more, they are exact and stay.

    `trial`: what the cut, or one like it, was when it was repaired briefly. If the run is to end, it stays that.
    """
    how, bare = way.how, Way(way.lever, replace(way.how, form=None)).levers
    recorded = record(choice.smaller, task.original, choice.plan)
    model, repair, repaired = trial.floats, trial.repair, BRIEFLY
    if not task.clock.ending.asked or trial.choice is not choice:
        effort = task.request.effort(FLOATS * THOROUGH, FLOATS * MOST)
        model, repair = mended_cut(task.repairing(way.lever), choice, recorded, effort=effort)
        repaired = FULLY
    point = measured(task, bare, model, task.plan(choice, None), repaired)
    floats = Candidate(bare, model, point, model, choice, None, way, repair)
    if how.form is None or floats.point.cost <= task.allowed(limit):
        return floats
    task.clock.start("trace")
    again = trace_again(model, choice.traced)
    rounded = quantized(again, _request(task, how, False), task.samples, task.clock, threads=task.threads)
    if task.cost(rounded.model, task.plan(choice, rounded)) >= GAIN * floats.point.cost:
        return floats
    if rounded.plan is None:
        return floats
    whole = (choice.traced, choice.keep)
    made = adjusted(
        rounded,
        whole,
        _request(task, how, True),
        task.samples,
        task.clock,
        workers=counted(task.threads, 0),
        effort=task.request.effort(THOROUGH, MOST),
    )
    point = measured(task, way.levers, made.model, task.plan(choice, made), repaired)
    return Candidate(way.levers, made.model, point, model, choice, made, way, repair)


def unrepaired(task: Task, way: Way, choice: Choice) -> float:
    """What the file of a cut costs with everything in place but its repair, which changes no time."""
    bare = task.cost(choice.smaller, task.plan(choice, None))
    if way.how.form is None:
        return bare
    task.clock.start("trace")
    again = trace_again(choice.smaller, choice.traced)
    made = quantized(again, _request(task, way.how, False), task.samples, task.clock, threads=task.threads)
    return min(bare, task.cost(made.model, task.plan(choice, made)))


def planned_share(way: Way, choice: Choice) -> float:
    """What the file of a choice costs of the original, before its repair: measured where that can be."""
    target = choice.target
    assert target is not None
    return (target.planned if target.measured is None else target.measured) / target.before + way.besides


def measured(task: Task, levers: tuple[str, ...], model: Model, plan: Plan, repaired: str = FULLY) -> CompressPoint:
    """`model`, as its file has it, which says the `plan`."""
    task.clock.start("measure")
    return _point(levers, task.cost(model, plan), task.fidelity(model), repaired)


def _point(levers: tuple[str, ...], cost: float, found: Fidelity, repaired: str) -> CompressPoint:
    error = found.worst_error
    return CompressPoint(levers, cost, np.inf if error is None else error, found.agreement, repaired)


def _request(task: Task, how: Precision, repaired: bool) -> QuantizeRequest:
    """Bounds are on the whole, not on this lever."""
    asked = task.request.integers
    repair = asked.repair if repaired and how.scheme in RANGED else NONE
    return replace(asked, scheme=how.scheme, repair=repair, limits=type(asked.limits)())

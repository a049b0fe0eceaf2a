"""Networks built from what levers take: integers alone, a cut that was repaired briefly, or all of it in full."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from onnxprune.compressing.both import planned_in_turn
from onnxprune.compressing.candidates import Candidate
from onnxprune.compressing.precision import Precision
from onnxprune.compressing.request import ALL, INT8, PARTS, Lever
from onnxprune.compressing.task import Task
from onnxprune.cut.provenance import record
from onnxprune.quantizing.request import AUTO, NONE, RANGED, QuantizeRequest
from onnxprune.quantizing.stage import quantized
from onnxprune.results import Fidelity
from onnxprune.results.compressing import CompressPoint
from onnxprune.shrinking.planning import Choice, mended_cut, plan_and_cut
from onnxprune.trace import trace_again

BRIEFLY, FULLY, NOT = "briefly", "fully", "not"
BRIEF, THOROUGH = 0.35, 3.0
"""Of the usual steps of reconstruction: enough to tell cuts apart, and what small networks can afford."""


def original(task: Task) -> CompressPoint:
    """The point where everything begins."""
    return CompressPoint((), 1.0, 0.0, task.fidelity(task.original).agreement, NOT)


def integers_alone(task: Task, how: Precision, *, share: float | None = None, repaired: bool = False) -> Candidate:
    """The whole network in integers where that pays; with `share` where that costs least and still comes down to it."""
    request = _request(task, how, repaired)
    made = quantized(
        task.traced, request, task.samples, task.clock, task.gate, share=share, threads=task.threads, workers=0
    )
    point = _point(task, (INT8,), task.cost(made.model), task.fidelity(made.model), FULLY if repaired else NOT)
    return Candidate((INT8,), made.model, point, task.original, integers=made)


def bounded_integers(task: Task) -> Candidate:
    """Integers for as many layers as the bounds of the call allow. Raises GateError."""
    made = quantized(
        task.traced, task.request.integers, task.samples, task.clock, task.gate, threads=task.threads, workers=0
    )
    point = _point(task, (INT8,), task.cost(made.model), task.fidelity(made.model), FULLY)
    return Candidate((INT8,), made.model, point, task.original, integers=made)


def planned(task: Task, lever: Lever, start: float, share: float, how: Precision) -> Choice:
    """What leaves so that the file costs `share` of the original, from `start`. Raises what `plan_and_cut` raises."""
    if lever == ALL:
        return planned_in_turn(task, start, share, how)
    return plan_and_cut(task.run(lever, share, how.form))


def brief(task: Task, lever: Lever, choice: Choice, how: Precision, rounding: float) -> Candidate:
    """A cut repaired for a short time, its layers in floats; `rounding`: the error that integers alone make, which is
    independent of that of the cut: squares add up.
    """
    model, repair = mended_cut(task.repairing(lever), choice, choice.smaller, effort=BRIEF)
    target = choice.target
    assert target is not None
    left = target.planned if target.measured is None else target.measured
    found = task.fidelity(model)
    point = _point(task, _levers(lever, how), left / target.before, found, BRIEFLY)
    point = replace(point, error=math.hypot(point.error, rounding))
    return Candidate(_levers(lever, how), model, point, model, choice, None, lever, repair)


def full(task: Task, lever: Lever, choice: Choice, how: Precision) -> Candidate:
    """The cut repaired, then quantised, then all weights adjusted on their grids to what the original gives."""
    recorded = record(choice.smaller, task.original, choice.plan)
    model, repair = mended_cut(task.repairing(lever), choice, recorded, effort=THOROUGH)
    made, floats = None, model
    if how.form is not None:
        task.clock.start("trace")
        made = quantized(
            trace_again(model, choice.traced),
            _request(task, how, True),
            task.samples,
            task.clock,
            whole=(choice.traced, choice.keep),
            threads=task.threads,
            workers=0,
            effort=THOROUGH,
        )
        model = made.model
        made = made if made.plan is not None else None
    task.clock.start("measure")
    levers = _levers(lever, how) if made is not None else _levers(lever, replace(how, form=None))
    point = _point(task, levers, task.cost(model), task.fidelity(model), FULLY)
    return Candidate(levers, model, point, floats, choice, made, lever, repair)


def _levers(lever: Lever, how: Precision) -> tuple[str, ...]:
    parts = tuple(sorted(PARTS[lever]))
    return parts if how.form is None else (*parts, INT8)


def _point(task: Task, levers: tuple[str, ...], cost: float, found: Fidelity, repaired: str) -> CompressPoint:
    error = found.worst_error
    return CompressPoint(levers, cost, np.inf if error is None else error, found.agreement, repaired)


def _request(task: Task, how: Precision, repaired: bool) -> QuantizeRequest:
    """Bounds are on the whole, not on this lever."""
    asked = task.request.integers
    scheme = how.scheme if how.scheme not in RANGED else AUTO
    repair = asked.repair if repaired and scheme in RANGED else NONE
    return replace(asked, scheme=scheme, repair=repair, limits=type(asked.limits)())

"""As fast as bounds allow: the least cost whose network, repaired briefly, is still within them."""

from __future__ import annotations

import math

from onnxprune.compressing.build import bounded_integers, original
from onnxprune.compressing.candidates import Candidate, best
from onnxprune.compressing.stage import NEAR, Compressed, Found, base, cuts, finished
from onnxprune.compressing.task import Task
from onnxprune.measure.files import as_file
from onnxprune.measure.search import strongest
from onnxprune.model.load import Model

STEPS = 4
FURTHEST = 0.2
"""Of what integers alone leave: the search goes no further."""


def to_bounds(task: Task) -> Compressed:
    """Integers first, then cuts as far as the bounds allow. Raises GateError if nothing is within them."""
    found = Found([original(task)])
    how, alone = base(task, found)
    start = 1.0 if alone is None else alone.point.cost
    if alone is not None and broken(task, alone.model) is not None:
        return found.done(_mixed(task, found))
    tried: dict[float, Candidate] = {}

    within: list[float] = []

    def loss(strength: float) -> float:
        limit = start * FURTHEST**strength
        candidates = [] if task.clock.ending.asked else cuts(task, limit, how, alone, found, there=bool(within))
        if not candidates:
            return math.inf
        tried[strength] = best(candidates, limit * (1 + NEAR))
        if broken(task, tried[strength].model) is not None:
            return math.inf
        within.append(strength)
        return 0.0

    chosen = strongest(loss, 0.0, STEPS, first=0.25).best
    while chosen is not None:
        limit = start * FURTHEST**chosen.strength
        taken = finished(task, tried[chosen.strength], limit, found)
        if broken(task, taken.model) is None:
            return found.done(taken)
        milder = [s for s in tried if s < chosen.strength]
        chosen = type(chosen)(max(milder), 0.0) if milder else None
    if task.clock.ending.asked:  # there is nothing yet that could be taken
        raise KeyboardInterrupt
    return found.done(None if alone is None else _mixed(task, found))


def _mixed(task: Task, found: Found) -> Candidate:
    """Integers for as many layers as the bounds allow. Raises GateError."""
    taken = bounded_integers(task)
    found.add(task, taken.point)
    return taken


def broken(task: Task, model: Model) -> str | None:
    """The bound that `model` does not keep, in words."""
    limits = task.request.limits
    reason = limits.broken(task.fidelity(model))
    if reason is None and task.gate is not None and limits.max_drop is not None:
        with as_file(model) as path:
            drop = task.gate.drop(path)
        if not drop <= limits.max_drop:
            reason = f"{task.gate.metric.label} falls by {drop:.4g}, --max-drop allows {limits.max_drop:.4g}"
    return reason

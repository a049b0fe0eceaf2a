"""How far one can go: the largest removal whose repaired result the user's metric allows.

Without samples it is a share of the channels that is searched for. With samples it is what is left of the
multiply-accumulates, since that is how samples choose best: each group loses what costs the outputs least per MAC.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from onnxprune.choose.budget import OutOfReach
from onnxprune.choose.reach import narrowest
from onnxprune.choose.request import Request
from onnxprune.choose.target import parse_target
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import OnnxPruneError
from onnxprune.measure.search import strongest
from onnxprune.measure.summaries import summary_of
from onnxprune.shrinking.measured import open_meter
from onnxprune.shrinking.planning import Choice, Run, plan_and_cut, repaired, with_multiple

LARGEST_RATIO = 0.99  # that a search asks for
DIGITS = 4  # of the percentage of MACs


@dataclass(frozen=True)
class Asked:
    """What a step of the search asks for: as a request, as a share that leaves, and in words."""

    request: Request
    share: float
    words: str


def largest_within(run: Run, choose: Callable[[Run], Choice] = plan_and_cut, *, by_macs: bool = False) -> Choice:
    """The largest removal whose repaired result the gate lets pass. Raises GateError if there is none.

    `by_macs`: it is asked for as a target in multiply-accumulates, at the least error of all groups together.
    """
    gate = run.gate
    assert gate is not None and gate.max_drop is not None
    run = with_multiple(run, lambda: open_meter(run.traced, run.samples, run.on_cpu))
    ask, first = _of_macs(run) if by_macs else (_of_channels(run), 1.0)
    choices: dict[float, Choice] = {}
    refused: list[OnnxPruneError] = []

    def loss(strength: float) -> float:
        asked = ask(strength)
        try:
            with run.clock.ending.barred():
                choice = choose(replace(run, request=asked.request))
        except OnnxPruneError as problem:
            if not any(isinstance(one, OutOfReach) for one in (problem, problem.__cause__)):
                raise
            refused.append(problem)
            return math.inf
        choices[strength] = choice
        if not choice.plan.removed_count and run.sparse is None:
            return 0.0
        with run.clock.ending.barred():  # a trial that was cut short says nothing of what is allowed
            model = repaired(run, choice)
        run.clock.start("measure")
        drop = gate.drop(model)
        macs = summary_of(choice.smaller, None, choice.traced.facts).macs
        gate.tried(asked.share, choice.plan.removed_count, macs, asked.words)
        run.clock.say(f"{asked.words}: {'passes' if drop <= (gate.max_drop or 0.0) else gate.said(drop)}")
        return drop

    best = strongest(loss, gate.max_drop, first=first).best
    if best is None and not gate.trials and refused:
        raise refused[-1]
    if best is None or (gate.trials and not choices[best.strength].plan.removed_count and run.sparse is None):
        raise gate.unreachable()
    gate.settle(ask(best.strength).share)
    return choices[best.strength]


def _of_channels(run: Run) -> Callable[[float], Asked]:
    def ask(strength: float) -> Asked:
        options = replace(run.request.options, ratio=min(strength, LARGEST_RATIO))
        return Asked(replace(run.request, options=options), strength, f"ratio {strength:.4g}")

    return ask


def _of_macs(run: Run) -> tuple[Callable[[float], Asked], float]:
    """From all that may leave (1) to nothing (0), and the strength to begin with: as far as the steps of the device go,
    beyond which finer ones are slower. A model whose MACs are not known is asked for channels.
    """
    macs = PlannedCost(run.traced).macs
    whole = macs(np.ones(run.traced.unit_count, bool))
    if not whole:
        return _of_channels(run), 1.0
    coarse, least = (macs(narrowest(run.traced, run.request.options, fine=fine)) / whole for fine in (False, True))
    first = (1 - coarse) / (1 - least) if coarse < 1 else 1.0
    options = replace(run.request.options, scope="global")

    def ask(strength: float) -> Asked:
        left = math.ceil((1.0 - strength * (1.0 - least)) * 100 * 10**DIGITS) / 10**DIGITS
        text = f"macs={min(left, 100.0):.{DIGITS}f}%"
        request = replace(run.request, options=options, target=parse_target(text), target_text=text)
        return Asked(request, 1.0 - min(left, 100.0) / 100, text)

    return ask, first

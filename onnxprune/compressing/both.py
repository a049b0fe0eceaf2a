"""Blocks leave, and then channels of what is left: one choice in the units of the original."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.compressing.precision import Precision
from onnxprune.compressing.request import ALL, BLOCKS, CHANNELS
from onnxprune.compressing.task import Task
from onnxprune.cut import CutError, cut
from onnxprune.cut.plan import of_masks
from onnxprune.errors import VerificationError
from onnxprune.shrinking.planning import Choice, mended_cut, plan_and_cut
from onnxprune.shrinking.repairs import Stage
from onnxprune.shrinking.steps import composed
from onnxprune.trace import Trace, trace_again

MIDDLE = 0.5
"""Of the way, as a factor, that the first of two levers goes; the other goes the rest."""
BRIEF = 0.3
"""Of the usual steps: channels are chosen in a network whose blocks were made up for."""


def planned_in_turn(task: Task, start: float, share: float, how: Precision) -> Choice:
    """Blocks from `start`, what costs before, part of the way to `share`, then channels. Raises what plans raise."""
    first_run = task.run(BLOCKS, middle_of(start, share), how.form)
    first = plan_and_cut(first_run)
    model, _ = mended_cut(task.repairing(BLOCKS), first, first.smaller, effort=task.request.effort(BRIEF))
    later = trace_again(model, task.traced)
    left = task.cost(model, first.plan)  # targets are shares of the network before, which is not the original here
    second = plan_and_cut(task.run(CHANNELS, share / left, how.form, traced=later))
    both = task.run(ALL, share, None).traced
    keep = together(both, first, second, task.traced)
    try:
        smaller = cut(both, keep)
    except CutError as refusal:
        raise VerificationError(f"the steps together cannot be applied: {refusal}") from refusal
    masks = tuple(keep[group.units] for group in both.prunable)
    plan = of_masks(both, both.prunable, masks, units=ALL, blocks=first.plan.blocks)
    stage = Stage(second.traced, second.keep, second.smaller)
    target = None if second.target is None else replace(second.target, before=second.target.before / left)
    return Choice(both, plan, None, smaller, keep, target, (*first.notes, *second.notes), stage)


def middle_of(start: float, share: float) -> float:
    """What is left of the cost where the second lever begins, of the way from `start` to `share`."""
    return float(start ** (1 - MIDDLE) * share**MIDDLE)


def together(both: Trace, first: Choice, second: Choice, channels: Trace) -> NDArray[np.bool_]:
    """What stays of all units: blocks of the first choice, channels of the second."""
    keep = np.ones(both.unit_count, bool)
    whole = np.ones(channels.unit_count, bool)
    keep[: channels.unit_count] = composed(channels, whole, second.traced, second.keep)
    by_name = {branch.name: unit for unit, branch in both.removable_branches}
    for name in first.plan.blocks:
        keep[by_name[name]] = False
    return keep

"""How well a network recovers from the loss of a block: what a short repair leaves of the error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxprune.capture.kept import key_of
from onnxprune.capture.samples import Samples
from onnxprune.cut import CutError, cut
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.model.plain import hoisted
from onnxprune.repair.lessons import Effort
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.results.kept.memory import NOTHING, Memory
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

BUDGET = 2e12  # multiply-accumulates of all repairs together
STEPS, LEAST = 24, 8
"""Of each: more say little more, fewer say too little."""
SEEN = 16  # samples of a step
PASSES = 4  # of the network in a step: the original, forward, and twice as much backward


def recovery(
    trace: Trace,
    samples: Samples,
    known: dict[str, float | None],
    *,
    seed: int = 0,
    threads: Threads = 0,
    memory: Memory = NOTHING,
) -> Callable[[int], float | None]:
    """Unit -> relative squared error of the outputs on held-out samples, without this block and after a few steps of
    reconstruction; None if it cannot be repaired, or if that would take too long. `known`: what was found before, by
    names of blocks; `memory`: what an earlier run found.
    """
    blocks = max(len(trace.removable_branches), 1)
    one = SEEN * PASSES * max(PlannedCost(trace).macs(np.ones(trace.unit_count, bool)), 1)
    steps = int(min(BUDGET / (blocks * one), STEPS))
    key = key_of(memory, trace.graph.model)
    names = {unit: branch.name for unit, branch in trace.removable_branches}

    def error(unit: int) -> float | None:
        if steps < LEAST:
            return None
        if names[unit] not in known:
            inputs = [key, names[unit], steps, seed]
            known[names[unit]] = memory.call(
                "recovered", inputs, lambda: _repaired(trace, unit, samples, steps, seed, threads)
            )
        return known[names[unit]]

    return error


def _repaired(trace: Trace, unit: int, samples: Samples, steps: int, seed: int, threads: Threads) -> float | None:
    keep = np.ones(trace.unit_count, bool)
    keep[unit] = False
    try:
        smaller = cut(trace, keep)
    except CutError:
        return None
    found = reconstruct(
        trace,
        keep,
        hoisted(smaller),
        samples.batches,
        samples.held_out,
        independent=samples.independent,
        more=samples.more,
        effort=Effort(exactly=steps),
        seed=seed,
        threads=threads,
    )
    return found.after if found.after > 0 else None

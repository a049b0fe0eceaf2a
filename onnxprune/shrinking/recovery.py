"""How well a network recovers from the loss of a block: what a short repair leaves of the error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.capture.kept import key_of
from onnxprune.capture.samples import Samples
from onnxprune.cut import CutError, cut
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.model.plain import hoisted
from onnxprune.repair.lessons import Effort
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.results.crew import crew_for
from onnxprune.results.progress import Watch
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

RECOVERED = "recovered"
BUDGET = 2e12  # multiply-accumulates of all repairs together
STEPS, LEAST = 24, 8
"""Of each: more say little more, fewer say too little."""
SEEN = 16  # samples of a step
PASSES = 4  # of the network in a step: the original, forward, and twice as much backward


class Recovery:
    """Unit -> relative squared error of the outputs on held-out samples, without this block and after a few steps of
    reconstruction; None if it cannot be repaired, or if that would take too long. `known`: what was found before, by
    names of blocks; `watch` has what an earlier run found, and who computes elsewhere.
    """

    def __init__(
        self,
        trace: Trace,
        samples: Samples,
        known: dict[str, float | None],
        watch: Watch,
        *,
        seed: int = 0,
        threads: Threads = 0,
    ) -> None:
        self._trace, self._samples, self._known, self._watch = trace, samples, known, watch
        self._seed, self._threads = seed, threads
        blocks = max(len(trace.removable_branches), 1)
        one = SEEN * PASSES * max(PlannedCost(trace).macs(np.ones(trace.unit_count, bool)), 1)
        self._steps = int(min(BUDGET / (blocks * one), STEPS))
        self._key = key_of(watch.memory, trace.graph.model)
        self._names = {unit: branch.name for unit, branch in trace.removable_branches}

    def __call__(self, unit: int) -> float | None:
        if self._steps < LEAST:
            return None
        name = self._names[unit]
        if name not in self._known:
            self._known[name] = self._watch.memory.call("recovered", self._inputs(name), lambda: self._here(name))
        return self._known[name]

    def beforehand(self, units: Sequence[int]) -> None:
        """Let workers try these blocks, if there are any and they know this network. Raises ClusterError."""
        crew = crew_for(self._watch.crew, self._trace.graph.model)
        if crew is None or self._steps < LEAST:
            return
        slots = {name: self._watch.memory.slot("recovered", self._inputs(name)) for name in self._named(units)}
        for name in list(slots):
            found = [self._known[name]] if name in self._known else slots[name].load()
            if found is not None:
                self._known[name] = found[0]
                del slots[name]
        asked = list(slots)
        common = {"units": self._trace.units_mode, "steps": self._steps, "seed": self._seed}
        replies = crew.each(RECOVERED, [{"block": name, **common} for name in asked])
        for done, (number, found) in enumerate(replies, 1):
            if found:
                self._known[asked[number]] = found[0]
                slots[asked[number]].put(found[0])
            self._watch.show(f"{done} of {len(asked)} blocks tried by workers")
        self._watch.show("")

    def _named(self, units: Sequence[int]) -> list[str]:
        return [self._names[unit] for unit in units]

    def _inputs(self, name: str) -> list[Any]:
        return [self._key, name, self._steps, self._seed]

    def _here(self, name: str) -> float | None:
        return repaired_without(self._trace, name, self._samples, self._steps, self._seed, self._threads)


def recover(trace: Trace, samples: Samples, part: Mapping[str, Any], threads: int) -> float | None:
    """What a worker answers."""
    return repaired_without(trace, part["block"], samples, part["steps"], part["seed"], threads)


def repaired_without(
    trace: Trace, block: str, samples: Samples, steps: int, seed: int, threads: Threads
) -> float | None:
    """The error without a block, after so many steps."""
    unit = next(unit for unit, branch in trace.removable_branches if branch.name == block)

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

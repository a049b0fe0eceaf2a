"""What reconstruction learns from, and for how long.

What it may cost is a number of multiply-accumulates, not a time, so that the result does not depend on the machine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxprune.capture.batches import known
from onnxprune.capture.samples import bytes_at_ends, bytes_of_values
from onnxprune.capture.shapes import concrete_shapes
from onnxprune.data import More
from onnxprune.model.cost import total
from onnxprune.model.graph import build
from onnxprune.model.infer import Facts
from onnxprune.model.load import Model
from onnxprune.model.random import is_random
from onnxprune.repair.crops import parts
from onnxprune.repair.importance import LARGEST_MODEL
from onnxprune.repair.minibatches import Feeds, Minibatches
from onnxprune.trace.groups import Trace

BUDGET, MOST = 1e12, 3e12  # multiply-accumulates; up to MOST where BUDGET is too little for ENOUGH
SHARD_BYTES = 128 << 20  # of the values of one pass; with gradients and targets it is several times as much
ENOUGH = 3200  # samples that are seen, each as often as it comes
SEEN_FOR_ONE = 50  # samples that are fitted, counted as often as they come, for one more that judges
JUDGED_BYTES = 256 << 20  # of inputs and outputs of the samples that judge
MOST_EPOCHS, MOST_STEPS, LEAST_STEPS, ENOUGH_STEPS = 100, 720, 40, 160


@dataclass(frozen=True)
class Effort:
    """`times` the usual steps; `most`: multiply-accumulates that more than the usual steps may take in all. `exactly`:
    so many steps, whatever is usual.
    """

    @property
    def least(self) -> int:
        """Fewer steps are none."""
        return LEAST_STEPS if self.exactly is None else self.exactly

    times: float = 1.0
    most: float = math.inf
    exactly: int | None = None

    def steps(self, usual: float, one: int) -> float:
        """How many instead of the `usual` ones, each of which takes `one` multiply-accumulates."""
        if self.exactly is not None:
            return self.exactly
        wanted = self.times * usual
        return wanted if self.times <= 1 else min(wanted, max(usual, self.most / max(one, 1)))


USUAL = Effort()


def lessons(
    trace: Trace,
    cut: Model,
    batches: Sequence[Feeds],
    held_out: int,
    independent: bool,
    budget: float | None,
    effort: Effort,
    more: More | None,
) -> tuple[Minibatches, Feeds, int] | str:
    """What it learns from, an example of it, and in how many steps; or why it cannot. Samples that are too large for
    LEAST_STEPS are taken in parts. `more`: others of the same shapes that fit no memory.
    """
    found: tuple[Minibatches, Feeds, int] | str = ""
    for some in itertools.chain([list(batches)], parts(trace.graph.model, batches)):
        whole = some[0] is batches[0]
        samples = _samples(trace, cut, some, held_out, independent, more if whole else None)
        if isinstance(samples, str):
            return found or samples
        example = samples.take(np.arange(samples.size))
        steps, allowed = _steps(samples, _cost(samples, trace.graph.model, cut, example), budget, effort)
        too_few = steps < effort.least
        found = f"it would take more than {allowed:.1e} multiply-accumulates" if too_few else (samples, example, steps)
        if steps >= (effort.least if whole else ENOUGH_STEPS):
            break
    if isinstance(found, str):
        return found
    samples, example, steps = found
    return _judging(trace, samples, steps * samples.batch), example, steps


def _judging(trace: Trace, samples: Minibatches, seen: int) -> Minibatches:
    """With as many samples to judge as are cheap: all steps together see so many."""
    one = {name: array.shape for name, array in samples.take(np.arange(1)).items()}
    return samples.judging(min(seen // SEEN_FOR_ONE, JUDGED_BYTES // max(bytes_at_ends(trace, one), 1)))


def _samples(
    trace: Trace, cut: Model, batches: Sequence[Feeds], held_out: int, independent: bool, more: More | None
) -> Minibatches | str:
    """What it learns from, or why it cannot."""
    if not independent:
        return "rows of its inputs are no samples of their own"
    if max(cut.size_bytes, trace.graph.model.size_bytes) > LARGEST_MODEL:
        return "the model is too large to be trained in one piece"
    if is_random(trace.graph.model.proto):
        return "the network draws random numbers, which differ from run to run"
    first = known(trace.graph.model, batches[0])
    whole = {name for name, axis in first.axes.items() if axis is None}
    samples = Minibatches.of(batches, held_out, whole=whole, more=more)
    if isinstance(samples, str):
        return samples
    one = samples.take(np.arange(1))
    each = bytes_of_values(trace, {name: array.shape for name, array in one.items()})
    return samples.in_shards(max(SHARD_BYTES // max(each, 1), 1))


def _cost(samples: Minibatches, original: Model, cut: Model, example: Feeds) -> int:
    """Multiply-accumulates of a step: one pass of the original, and a forward and a backward pass of the cut one.

    What weights of positions take comes on top: steps are not worth less for it.
    """
    passes = []
    for model in (original, cut):
        shapes, types = concrete_shapes(model.complete_proto(), example)
        passes.append(total(build(model), Facts({**shapes}, types))[0])
    return samples.count * (passes[0] + 3 * passes[1])


def _steps(samples: Minibatches, one: int, budget: float | None, effort: Effort) -> tuple[int, float]:
    """How many, if each takes `one` multiply-accumulates, and how many of these are allowed."""
    allowed = max(BUDGET, min(MOST, one * ENOUGH / samples.batch)) if budget is None else budget
    usual = min(allowed / max(one, 1), MOST_EPOCHS * samples.steps_per_epoch, MOST_STEPS)
    return int(max(effort.steps(usual, one), min(usual, effort.least))), allowed

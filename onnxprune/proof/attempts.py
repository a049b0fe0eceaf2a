"""Which inputs a proof is made on: the first sizes that the original takes, and the samples that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from onnxprune.data.batch import Batch
from onnxprune.errors import ModelError
from onnxprune.model.sizes import literal_batches
from onnxprune.model.statics import free_sizes
from onnxprune.proof.inputs import SAMPLES, SMALLER, Case, Sizing, cases, has_lengths, telling_cases
from onnxprune.proof.judge import Nothing, SamplesFail, Unloadable
from onnxprune.proof.scratch import Feed
from onnxprune.trace.groups import Trace

MAX_BATCHES = 4
P = TypeVar("P")
Run = Callable[[Sequence[Case]], P]


class Inputs:
    """Random inputs of the default sizes, or where the original does not take these, of hard-coded, larger or smaller
    ones; and samples, or the first of them where it takes one only. What it takes is found once.
    """

    def __init__(self, trace: Trace, seed: int, samples: Feed | None) -> None:
        self._trace, self._seed = trace, seed
        self._samples: list[Feed | None] = [None] if samples is None else [samples, *_fewer(samples)]
        self._options: list[Sizing | None] = [*self._all_options(), *([] if samples is None else [None])]

    def run(self, run: Run[P], *, telling: bool = False) -> P:
        """What `run` shows on them, on more of them if they are to be `telling`. Raises what it raises; ModelError if
        the original runs on none.
        """
        first: ModelError | Nothing | None = None
        for options in self._options:
            try:
                proof = self._on(options, run, telling)
            except (Unloadable, SamplesFail):
                raise
            except (ModelError, Nothing) as error:
                first = first or error
                continue
            self._options = [options]
            return proof
        assert first is not None
        if self._samples != [None] or isinstance(first, Nothing):
            raise first
        raise ModelError(first.message, hint="Where it takes other sizes or values, say which: --data with samples.")

    def _on(self, options: Sizing | None, run: Run[P], telling: bool) -> P:
        trace = self._trace
        drawn = [] if options is None else cases(trace.graph, trace.facts, self._seed, options)
        if options is not None and telling:
            drawn += telling_cases(trace.graph, trace.facts, self._seed, options)
        for samples in self._samples:
            given = [] if samples is None else [Case(SAMPLES, dict(samples), False)]
            try:
                proof = run([*drawn, *given])
            except SamplesFail:
                if samples is self._samples[-1]:
                    raise
                continue
            self._samples = [samples]
            return proof
        raise AssertionError("there is always one")

    def _all_options(self) -> Iterator[Sizing]:
        """In the order in which they are tried."""
        trace = self._trace
        yield Sizing()
        if has_lengths(trace.graph):
            yield Sizing(lengths=False)
        if free_sizes(trace.graph.model, trace.facts) or any(None in s for s in trace.facts.shapes.values()):
            yield from (Sizing(batch=n) for n in literal_batches(trace.graph)[:MAX_BATCHES])
            yield Sizing(larger=True)
            yield from (Sizing(side=n) for n in SMALLER)


def _fewer(samples: Feed) -> Iterator[Feed]:
    """The first sample only, if they do not belong together."""
    if isinstance(samples, Batch) and samples.samples > 1 and not samples.fixed:
        yield samples.take(0, 1)

"""What the budgets of one model ask for, measured: only that, and each file is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

from onnxprune.benching import bench
from onnxprune.benching.results import Comparison
from onnxprune.capture.feeding import runnable
from onnxprune.capture.operators import remark
from onnxprune.checking import judge
from onnxprune.checking.budgets import SAMPLED, SCORED, Budget
from onnxprune.checking.verdicts import AGREEMENT, COSTS, DROP, INT8, LATENCY, Check
from onnxprune.data import open_data
from onnxprune.errors import DataError
from onnxprune.measure.fidelity import fidelity
from onnxprune.measure.metric import Metric
from onnxprune.measure.summaries import summary_of
from onnxprune.model.graph import build
from onnxprune.model.infer import infer_like
from onnxprune.model.integers import integer_share
from onnxprune.model.load import Model, load
from onnxprune.options.others import BenchOptions
from onnxprune.options.running import SeededRuns
from onnxprune.results import ModelSummary
from onnxprune.results.system import Environment, environment

BATCH = 32


class Subject:
    """A model with its baseline, read when they are first needed. Everything here may raise an OnnxPruneError."""

    def __init__(self, budget: Budget, how: SeededRuns, metric: Metric | None) -> None:
        self.budget, self.how, self.metric = budget, how, metric

    @cached_property
    def model(self) -> Model:
        return load(self.budget.path)

    @cached_property
    def baseline(self) -> Model:
        assert self.budget.baseline is not None
        return load(self.budget.baseline)

    @cached_property
    def summary(self) -> ModelSummary:
        return summary_of(self.model, self.budget.path)

    @cached_property
    def baseline_summary(self) -> ModelSummary:
        return summary_of(self.baseline, self.budget.baseline)

    def stages(self) -> list[tuple[str, Callable[[], Iterator[Check]]]]:
        """What is to be done, with its name for people. One that fails does not keep the others from being done."""
        known = (
            ("size and cost", COSTS, self.costs),
            ("integers", (INT8,), self.integers),
            ("latency", (LATENCY,), self.latency),
            ("outputs", SAMPLED, self.outputs),
            ("metric", SCORED, self.scores),
        )
        return [(name, stage) for name, kinds, stage in known if self.budget.of(kinds)]

    def costs(self) -> Iterator[Check]:
        for limit in sorted(self.budget.of(COSTS), key=lambda one: one.of_baseline):
            yield judge.cost(limit, self.summary, self.baseline_summary if limit.of_baseline else None)

    def integers(self) -> Iterator[Check]:
        (limit,) = self.budget.of((INT8,))
        graph = build(self.model)
        yield judge.integers(limit, integer_share(graph, infer_like(graph, None)))

    def latency(self) -> Iterator[Check]:
        (limit,) = self.budget.of((LATENCY,))
        found = judge.latency(limit, self._timed(environment()))
        note = remark(self.budget.name, self.model.proto)
        yield replace(found, reason="; ".join(filter(None, (found.reason, note))) or None)

    def outputs(self) -> Iterator[Check]:
        data = open_data(self.budget.data, self.model, preprocess=self.budget.preprocess, seed=self.how.seed)
        batches = runnable(self.model, data).batches(BATCH)
        found = fidelity(self.baseline, self.model, batches, threads=self.how.threads or 0)
        for limit in self.budget.of(SAMPLED):
            if limit.kind == AGREEMENT:
                worst = found.worst_agreement
                if worst is None:
                    reason = next((one.reason for one in found.outputs if one.reason), "there are no outputs")
                    raise DataError(f"no agreement can be told: {reason}", hint="max-error bounds the output error.")
                yield judge.agreement(limit, worst)
            else:
                if found.worst_error is None:
                    raise DataError("no output has an error: none holds numbers that can be compared")
                yield judge.exact(limit.kind, limit.value, found.worst_error)

    def scores(self) -> Iterator[Check]:
        assert self.metric is not None
        after = self.metric(self.model)
        for limit in self.budget.of(SCORED):
            if limit.kind == DROP:
                yield judge.drop(limit, self.metric(self.baseline), after)
            else:
                yield judge.exact(limit.kind, limit.value, after)

    def _timed(self, machine: Environment) -> Comparison:
        how = self.how
        asked = BenchOptions(
            threads=how.threads,
            batch=how.batch,
            seconds=how.seconds,
            runs=how.runs,
            data=self.budget.data,
            preprocess=self.budget.preprocess,
            seed=how.seed,
        )
        found = bench.request([self.baseline, self.model], machine, asked)
        return bench.run(found, machine, None).settings[0].comparisons[0]

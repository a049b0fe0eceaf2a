"""What a call of `compress` works with, and what a network costs."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from onnxprune.capture.samples import Samples
from onnxprune.choose.select import Known
from onnxprune.compressing.request import CompressRequest, Lever
from onnxprune.cut.plan import Plan
from onnxprune.cut.provenance import record
from onnxprune.measure.fidelity import fidelity
from onnxprune.measure.gate import Gate
from onnxprune.measure.latency.form import Form
from onnxprune.measure.latency.meter import Meter
from onnxprune.measure.latency.table import Table
from onnxprune.model.load import Model
from onnxprune.model.save import written_bytes
from onnxprune.model.sources import Place
from onnxprune.quantizing.stage import Quantized
from onnxprune.results import Fidelity
from onnxprune.results.clock import Clock
from onnxprune.results.providers import Threads, count, counted
from onnxprune.shrinking.measured import open_meter
from onnxprune.shrinking.planning import Choice, Run
from onnxprune.sparsifying.stage import Sparsified
from onnxprune.trace import trace_model
from onnxprune.trace.groups import Trace

OVER = 0.01
"""By how much of it a measured time may be above the target: what timing is uncertain by."""


@dataclass(frozen=True)
class Task:
    """`traced`: the original, `samples` through it. `place`: where the result goes, or would go."""

    traced: Trace
    request: CompressRequest
    samples: Samples
    gate: Gate | None
    threads: Threads
    clock: Clock
    place: Place

    @property
    def on_cpu(self) -> int:
        """`threads` of what is proven and measured, which is on the CPU in any case."""
        return count(self.threads)

    @property
    def original(self) -> Model:
        return self.traced.graph.model

    @functools.cached_property
    def table(self) -> Table:
        """Layers that were timed: by need, once."""
        return self.meter.table

    @functools.cached_property
    def known(self) -> Known:
        """Errors of groups of the original that were measured: once."""
        return {}

    @functools.cached_property
    def recovered(self) -> dict[str, float | None]:
        """What short repairs left of the errors without single blocks: once."""
        return {}

    @functools.cached_property
    def meter(self) -> Meter:
        """Of networks as they are."""
        return open_meter(self.traced, self.samples, self.on_cpu)

    @property
    def limit(self) -> float | None:
        """The share of the cost that may be left."""
        target = self.request.target
        if target is None or target.share is not None:
            return None if target is None else target.share
        before = self.meter.before if target.kind == "latency" else float(self.original.size_bytes)
        return target.limit(before) / before

    def plan(self, choice: Choice | None, integers: Quantized | None, zeros: Sparsified | None = None) -> Plan:
        """What leaves, what is in integers, and which weights are zero, as one plan of the original."""
        cut = Plan(self.original.sha256, ()) if choice is None else choice.plan
        grids = None if integers is None else integers.plan
        sparsity = None if zeros is None else zeros.plan
        options = self.request.recorded(self.samples.count)
        return replace(cut, options=options, quantization=grids, sparsity=sparsity)

    def cost(self, model: Model, plan: Plan) -> float:
        """What `model`, as its file has it, costs: as a share of the original, measured; the file says the `plan`."""
        if self.request.kind == "size":
            recorded = record(model, self.original, plan)
            size = written_bytes(recorded, self.place.target, external_data=self.place.external_data)
            return size / self.original.size_bytes
        return self.meter.against_original(model)[0]

    def allowed(self, limit: float) -> float:
        """What a measured share may be: timing is uncertain, bytes are not."""
        return limit * (1 + OVER) if self.request.kind == "latency" else limit

    def fidelity(self, model: Model) -> Fidelity:
        """On the samples that are held out."""
        batches = self.samples.batches[-self.samples.held_out :]
        return fidelity(self.original, model, batches, threads=self.on_cpu)

    def run(self, lever: Lever, share: float, form: Form | None, traced: Trace | None = None) -> Run:
        """How `lever` alone comes down to a share of the cost; `traced`: in a network that lost something before."""
        request = self.request.cut(lever, f"{self.request.kind}={min(share, 1.0) * 100:.4f}%")
        whole = traced is None
        if traced is None:
            traced = self.traced if lever == self.traced.units_mode else self._in_units(lever)
        run = Run(traced, request, None, self.samples, None, self.threads, self.clock, self.place)
        known, recovered = (self.known, self.recovered) if whole else (None, None)
        return replace(run, form=form, table=self.table, known=known, recovered=recovered)

    def repairing(self, lever: Lever) -> Run:
        """For repair, which takes all cores: `threads` are those of measured runs."""
        return replace(self.run(lever, 1.0, None), threads=counted(self.threads, 0))

    def _in_units(self, units: str) -> Trace:
        facts = self.traced.facts
        found = trace_model(self.original, units=units, sizes=facts.symbols)
        found.facts.measured = facts.measured
        return found

"""The budget of a target: counted, or checked against what was cut, by the bytes of its file or by the clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.batches import first_samples
from onnxprune.capture.features import linear_layer
from onnxprune.capture.samples import Samples
from onnxprune.choose.allocate.device import Device
from onnxprune.choose.budget import Bools, Budget, Choice, Counted, OutOfReach, aim
from onnxprune.choose.request import Request
from onnxprune.choose.target import Target
from onnxprune.cut import CutError, cut, planned_shapes
from onnxprune.cut.plan import of_masks
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.cut.provenance import record
from onnxprune.measure.latency.estimate import Estimate
from onnxprune.measure.latency.form import Form
from onnxprune.measure.latency.meter import Meter
from onnxprune.measure.latency.table import Table
from onnxprune.model.load import Model
from onnxprune.model.save import written_bytes
from onnxprune.model.sources import Place
from onnxprune.proof.inputs import feed
from onnxprune.results import TargetSummary
from onnxprune.results.units import format_percent
from onnxprune.trace.groups import Trace

SIZE_BELOW = 0.002
LATENCY_BELOW, LATENCY_ABOVE, LATENCY_ROUNDS = 0.05, 0.01, 8
LATENCY_FAR = 0.1  # what is so much above is no result
LEAST_SAVED = 0.1  # of the original; less says nothing of what else is saved
FAR = 0.1  # of the original: what is so much below what was asked is not what was meant
_NOUNS = {"macs": "MACs", "params": "parameters", "size": "bytes", "latency": "time"}
BUSY = 1.15  # spread of ratios from which on they are not to be trusted


class Sized:
    """Bytes of the file, with its data file if it has one: as much below the limit as one step of a channel is."""

    kind, stepped, ceiling = "size", False, math.inf

    def __init__(self, trace: Trace, target: Target, written: Callable[[Bools], int], form: Form | None) -> None:
        self._everything = np.ones(trace.unit_count, bool)
        self._weights, self._written, self._form = PlannedCost(trace).weight_bytes, written, form
        self.before = float(trace.graph.model.size_bytes)
        self.limit = target.limit(self.before)
        self._whole = self.before if form is None else float(written(self._everything))
        weights = self._weights(self._everything)
        self._share = self._whole / self.before
        self._around = self._whole - self._share * weights

    def cost(self, keep: Bools) -> float:
        return self._around + self._share * self._weights(keep)

    def worth(self, keep: Bools) -> None:
        return None

    def settle(self, choose: Callable[[float], Choice], keep_of: Callable[[Choice], Bools]) -> Choice:
        def actual(choice: Choice) -> float:
            keep = keep_of(choice)
            return self._whole if keep.all() else float(self._written(keep))

        start = min(self.limit, self._whole)
        found, size = aim(self.limit, choose, actual, start=start, most=self._whole, below=SIZE_BELOW)
        if size > self.limit:
            raise OutOfReach(self, size)
        return found


class Timed:
    """Seconds: predicted from a table of layers, then measured against the original."""

    kind, stepped, ceiling = "latency", True, math.inf

    def __init__(self, trace: Trace, target: Target, meter: Meter, narrow: Bools | None = None) -> None:
        """`narrow`: the narrowest network that steps of the device's give. It is measured, too, and predictions are
        stretched so that they are right there. Kernels of a few microseconds, of which a profile has whole ones, seem
        slower than they are, so that what is in reach would seem out of it.
        """
        self._trace, self._target, self._meter = trace, target, meter
        self._predicted = meter.network(trace).cost
        self.before, self._whole = meter.before, meter.profile.whole
        self.limit = target.limit(self.before)
        self.measured: dict[bytes, float] = {}
        """seconds by the bytes of a mask; for a share of the original: the paired ratio times `before`"""
        self._stretched = 1.0 if narrow is None or narrow.all() else self._stretch(narrow)

    def cost(self, keep: Bools) -> float:
        """Predicted seconds."""
        return self._whole - self._stretched * (self._whole - self._predicted(keep))

    def _stretch(self, narrow: Bools) -> float:
        """What is saved in truth, as a share of what is predicted."""
        saved = self._whole - self._predicted(narrow)
        try:
            actual = self._whole - self.time(narrow)
        except CutError:  # the choice finds out what cannot be cut
            return 1.0
        return actual / saved if min(saved, actual) > LEAST_SAVED * self._whole else 1.0

    def settle(self, choose: Callable[[float], Choice], keep_of: Callable[[Choice], Bools]) -> Choice:
        found, seconds = aim(
            self.limit,
            choose,
            lambda choice: self.time(keep_of(choice)),
            start=min(self.limit, self._whole),
            most=self._whole,
            below=LATENCY_BELOW,
            above=LATENCY_ABOVE,
            rounds=LATENCY_ROUNDS,
        )
        if seconds > self.limit * (1 + LATENCY_FAR):
            raise OutOfReach(self, seconds)
        return found

    def worth(self, keep: Bools) -> None:
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the measurements."""
        if self._meter.spread < BUSY:
            return ()
        return (f"the machine was busy: ratios of times varied by a factor of {self._meter.spread:.2g}; measure again",)

    def time(self, keep: Bools) -> float:
        """What a choice takes, measured once. Raises CutError."""
        key = keep.tobytes()
        if keep.all() and self._meter.form is None:
            return self.before
        if key not in self.measured:
            ratio, seconds = self._meter.against_original(cut(self._trace, keep))
            self.measured[key] = seconds if self._target.share is None else ratio * self.before
        return self.measured[key]


def open_budget(
    trace: Trace,
    target: Target,
    device: Device | None,
    meter: Callable[[], Meter],
    written: Callable[[Bools], int],
    form: Form | None = None,
    narrow: Bools | None = None,
) -> Budget:
    """`meter` is asked for a target in time, which is predicted the better with a `narrow` network to measure;
    `written` (mask -> bytes) for one in bytes.
    """
    if target.kind == "size":
        return Sized(trace, target, written, form)
    if target.kind == "latency":
        return Timed(trace, target, meter(), narrow)
    return counted(trace, target, device)


def counted(trace: Trace, target: Target, device: Device | None) -> Counted:
    """Multiply-accumulates go where they take time on `device`; without one, where they lose least."""
    if device is None or target.kind != "macs":
        return Counted(trace, target)
    return Counted(trace, target, Estimate(trace, device).cost)


def target_summary(request: Request, budget: Budget | None, keep: Bools) -> TargetSummary | None:
    """What a target allowed, what was planned, and what was measured of it."""
    if budget is None or request.target_text is None:
        return None
    measured = budget.time(keep) if isinstance(budget, Timed) else None
    return TargetSummary(request.target_text, budget.kind, budget.limit, budget.before, budget.cost(keep), measured)


def open_meter(
    trace: Trace, samples: Samples | None, threads: int, form: Form | None = None, table: Table | None = None
) -> Meter:
    """Runs the first sample, or drawn inputs of the default sizes. `form`: what files have of networks;
    `table`: of layers that were timed before.
    """
    given: dict[str, NDArray[Any]]
    if samples is not None:
        given = first_samples(trace.graph.model, samples.batches, 1)[0]
    else:
        given = feed(trace.graph, trace.facts.inputs, 0, 1.0)
    return Meter(trace, given, threads, form=form, table=table)


def bytes_written(
    trace: Trace, keep: Bools, options: dict[str, Any], repair: str, place: Place, form: Form | None = None
) -> int:
    """Bytes of what would be written, biases that a repair may add included. Raises CutError."""
    smaller = cut(trace, keep) if form is None else form.written(cut(trace, keep))
    lost = trace.vanishing(keep)
    blocks = tuple(b.name for u, b in trace.removable_branches if not keep[u] or b.add in lost)
    groups = trace.prunable
    masks = [keep[group.units] for group in groups]
    plan = of_masks(trace, groups, masks, units=trace.units_mode, options=options, blocks=blocks)
    result: Model = record(smaller, trace.graph.model, plan)
    size = written_bytes(result, place.target, external_data=place.external_data)
    return size if repair == "none" else size + _new_biases(trace, keep)


def _new_biases(trace: Trace, keep: Bools) -> int:
    """Bytes that biases would take which layers do not have yet, or not for themselves."""
    shapes, total = planned_shapes(trace, keep), 0
    for node in trace.graph.nodes:
        layer = linear_layer(trace.graph, node)
        if layer is None or (layer.bias is not None and len(trace.graph.consumers.get(layer.bias, ())) == 1):
            continue
        shape = shapes.get(layer.y, ())
        outputs = shape[1 if layer.kernel else -1] if len(shape) > 1 else 0
        total += 4 * int(outputs or 0) + 4 * len(layer.y) + 160  # names of the tensor and of a node that adds it
    return total


def far_below(request: Request, target: TargetSummary | None) -> tuple[str, ...]:
    """A remark on a target that was overshot by much: what is left is FAR of the original below what was asked."""
    if target is None or request.target is None or target.planned >= target.before:
        return ()
    left = target.planned if target.measured is None else target.measured
    if target.limit - left < FAR * target.before:
        return ()
    what = f"{format_percent(left / target.before)} of the {_NOUNS[target.kind]} left is far less than {target.asked}"
    return (f"{what} asks for: {_coarse(request)}",)


def _coarse(request: Request) -> str:
    """Why a choice could not come closer."""
    options = request.options
    if request.asked.units == "blocks":
        return "whole blocks leave"
    if options.multiple_of is None and options.device is not None:
        return f"widths go in steps that gain time on this device ({options.device.name}); --multiple-of 1 comes closer"
    if options.multiple_of not in (None, 1):
        return f"widths are multiples of {options.multiple_of}"
    return "what leaves together is no smaller"

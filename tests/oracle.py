"""One oracle for every rule: trace, remove at random, cut, run both in this process, compare; show that it can fail.

case = Cases()
@case(removable={"a": 8}, pinned={"z": "graph output"})
def relu(net: Net) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from onnxprune.cut import CutError, cut, planned_shapes
from onnxprune.model.load import Model, load
from onnxprune.model.sizes import input_shapes
from onnxprune.proof.inputs import feed
from onnxprune.proof.masked import check_shapes, mutated
from onnxprune.proof.tolerance import tolerance
from onnxprune.trace import Trace, trace_model
from onnxprune.trace.groups import Group
from onnxprune.trace.reference import build_reference
from tests.builders import Net

Array = NDArray[Any]
Bools = NDArray[np.bool_]
BATCHES = (1, 2)
SEEDS = (0, 1)
MAX_REFUSALS = 5


@dataclass(frozen=True)
class Case:
    """One network and what must come out. `removable` is all of it: group name -> units."""

    id: str
    build: Callable[[], Net]
    removable: Mapping[str, int] | None = None
    pinned: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> Trace:
        return check(self.build().model(), expect_removable=self.removable, expect_pinned=self.pinned, **self.options)


class Cases:
    """Collects cases: a decorator for functions that fill a net."""

    def __init__(self) -> None:
        self.all: list[Case] = []

    def __call__(
        self,
        removable: Mapping[str, int] | None = None,
        pinned: Mapping[str, str] | None = None,
        *,
        opsets: Sequence[int] = (17,),
        each: Mapping[str, Sequence[Any]] | None = None,
        net: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """One case per opset and per entry of `each` (id -> further arguments)."""

        def register(fill: Callable[..., Any]) -> Callable[..., Any]:
            for opset in opsets:
                for label, arguments in (each or {"": ()}).items():
                    parts = [fill.__name__.strip("_"), label, f"opset{opset}" if len(opsets) > 1 else ""]
                    build = partial(_build, fill, opset, dict(net or {}), arguments)
                    name = "-".join(p for p in parts if p)
                    self.all.append(Case(name, build, removable, pinned or {}, options))
            return fill

        return register

    def parametrize(self) -> pytest.MarkDecorator:
        return pytest.mark.parametrize("case", self.all, ids=lambda c: c.id)


def _build(fill: Callable[..., Any], opset: int, options: dict[str, Any], arguments: Sequence[Any]) -> Net:
    net = Net(opset, **options)
    fill(net, *arguments)
    return net


def check(
    model: ModelProto,
    *,
    expect_removable: Mapping[str, int] | None = None,
    expect_pinned: Mapping[str, str] | None = None,
    units: str = "channels",
    sensitive: bool = True,
    refused: str = "",
    seeds: Sequence[int] = (0, 1, 2),
) -> Trace:
    """The whole oracle. `refused`: part of the message with which the cut must refuse at least one choice.

    `sensitive=False` is for networks whose outputs do not show the difference (positions, constants).
    """
    onnx.checker.check_model(model)
    trace = trace_model(load(model), units=units)
    expect(trace, expect_removable, expect_pinned or {})
    everything = np.ones(trace.unit_count, bool)
    assert cut(trace, everything).proto == trace.graph.model.proto, "keeping everything changes something"
    seen: list[str] = []
    told_apart = alive = False
    for seed in seeds:
        keep, smaller, refusals = remove(trace, seed)
        seen += refusals
        if not keep.all():
            found = compare(trace, keep, smaller)
            told_apart, alive = told_apart | found[0], alive | found[1]
    assert any(refused in r for r in seen) if refused else not seen, f"refused: {seen}"
    assert alive or not trace.prunable, "the outputs are constant: nothing was compared"
    if trace.prunable and sensitive:
        assert told_apart, "the outputs do not tell a wrong plan from the right one"
    return trace


def expect(trace: Trace, removable: Mapping[str, int] | None, pinned: Mapping[str, str]) -> None:
    """What may go is exactly `removable`; what stays, stays for the reasons given."""
    if removable is not None:
        found = {g.name: g.size for g in trace.prunable}
        reasons = {g.name: g.pin for g in trace.groups if g.pin}
        assert found == dict(removable), f"removable: {found}; pinned: {reasons}"
    labels = {node.label: node.index for node in trace.graph.nodes}
    for name, reason in pinned.items():
        groups = [g for g in trace.groups if g.name == name]
        if name in labels:
            groups += trace.groups_at(labels[name])
        known = {f"{g.pin.node}: {g.pin.reason}" for g in groups if g.pin}
        assert any(reason in k for k in known), f"{name!r} is not pinned because of {reason!r}, but {known or 'free'}"


def remove(trace: Trace, seed: int) -> tuple[Bools, Model, list[str]]:
    """A random choice and its cut; where the cut is refused, the node keeps its indices, as in api.shrink."""
    refusals: list[str] = []
    while True:
        keep = random_keep(trace, seed)
        assert not keep.all() or not trace.prunable or refusals, "nothing was removed"
        try:
            return keep, cut(trace, keep), refusals
        except CutError as refusal:
            refusals.append(str(refusal))
            assert len(refusals) < MAX_REFUSALS
            trace.pin_node(refusal.node, str(refusal))


def random_keep(trace: Trace, seed: int) -> Bools:
    """Random units of every group go, equally many from each block; the last seed leaves one (per block)."""
    rng = np.random.default_rng(seed)
    groups = [g for g in trace.prunable if g.size > 1]
    keep = np.ones(trace.unit_count, bool)
    for group in groups:
        keep[group.units] = _keep_of(group, rng, extreme=seed == 2)
    return _even(trace, keep)


def _even(trace: Trace, keep: Bools) -> Bools:
    """Blocks that span groups: what would leave them unevenly stays."""
    while uneven := [b for b in trace.blocks if np.ptp(keep[b.labels].sum(axis=1))]:
        for blocks in uneven:
            for group in trace.prunable:
                if np.isin(group.units, blocks.labels).any():
                    keep[group.units] = True
    return keep


def _keep_of(group: Group, rng: np.random.Generator, extreme: bool) -> Bools:
    blocks = np.zeros(group.size, np.int64) if group.blocks is None else group.blocks
    numbers = np.unique(blocks)
    size = group.size // len(numbers)
    leave = size - 1 if extreme or size < 3 else int(rng.integers(1, size - 1))
    keep = np.ones(group.size, bool)
    for number in numbers:
        keep[rng.permutation(np.flatnonzero(blocks == number))[:leave]] = False
    return keep


def compare(trace: Trace, keep: Bools, smaller: Model, *, checker: bool = True) -> tuple[bool, bool]:
    """Equal to the masked original on all seeds and batches; was a wrong plan told apart, do the outputs vary?"""
    check_shapes(trace, smaller, planned_shapes(trace, keep))
    cut_proto = smaller.complete_proto()
    if checker:
        onnx.checker.check_model(cut_proto)
    reference = build_reference(trace)
    original, candidate = session(reference.model.complete_proto()), session(cut_proto)
    right, wrong = reference.feed(keep), reference.feed(mutated(trace, keep))
    allowed, told_apart, alive = tolerance(trace).relative, False, False
    for seed in SEEDS:
        for batch in BATCHES:
            shapes, _ = input_shapes(trace.graph.model, {"N": batch})
            data = feed(trace.graph, shapes, seed, 1.0)
            result = candidate.run(None, data)
            for a, b, c in zip(
                original.run(None, {**data, **right}), result, original.run(None, {**data, **wrong}), strict=True
            ):
                assert a.shape == b.shape and a.dtype == b.dtype
                found = difference(a, b)
                assert found <= allowed, f"differs by {found:.3g}, {allowed:.1g} is allowed"
                alive |= bool(np.any(a)) and (a.size == 1 or float(np.nanstd(a.astype(np.float64))) > 0)
                told_apart |= not difference(a, c) <= allowed
    return told_apart, alive


def difference(a: Array, b: Array) -> float:
    """max |a - b| / max |a|; infinite if not finite at the same places."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(a)
    if a.shape != b.shape or not np.array_equal(finite, np.isfinite(b)):
        return np.inf
    if not finite.any():
        return 0.0
    scale = float(np.abs(a[finite]).max())
    worst = float(np.abs(a[finite] - b[finite]).max())
    return worst / scale if scale else (0.0 if worst == 0 else np.inf)


def session(proto: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])

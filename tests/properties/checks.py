"""What the properties compare: the cut against the masked original, in this process, on one thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from onnxprune.cut import CutError, cut, planned_shapes
from onnxprune.model.load import Model
from onnxprune.proof.signature import check_shapes
from onnxprune.trace import Trace
from onnxprune.trace.groups import Group
from onnxprune.trace.reference import MaskedModel, build_reference

Bools = NDArray[np.bool_]
Feed = dict[str, NDArray[Any]]
TOLERANCE = 5e-4
ATTEMPTS = 20


def session(model: Model | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    data = model if isinstance(model, bytes) else model.complete_proto().SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(model: Model | bytes, feed: Feed) -> list[NDArray[Any]]:
    return list(session(model).run(None, feed))


def difference(a: Sequence[NDArray[Any]], b: Sequence[NDArray[Any]]) -> float:
    """Largest difference relative to the largest value (at least 0.01)."""
    worst = 0.0
    for x, y in zip(a, b, strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        assert np.array_equal(np.isfinite(x), np.isfinite(y))
        if x.size:
            worst = max(worst, float(np.abs(x - y).max() / max(np.abs(x).max(), 1e-2)))
    return worst


def random_keep(trace: Trace, groups: Iterable[Group], rng: np.random.Generator) -> Bools:
    """Any keep set that the constraints allow: at least one unit per group, equally many per block."""
    keep = np.ones(trace.unit_count, bool)
    for group in groups:
        blocks = np.zeros(group.size, np.int64) if group.blocks is None else group.blocks
        numbers = np.unique(blocks)
        size = group.size // len(numbers)
        stay = int(rng.integers(1, size + 1)) if size > 1 else 1
        for number in numbers:
            members = group.units[blocks == number]
            keep[rng.permutation(members)[stay:]] = False
    return _even(trace, keep)


def _even(trace: Trace, keep: Bools) -> Bools:
    """Blocks that span groups: what would leave them unevenly stays."""
    while True:
        uneven = [b for b in trace.blocks if np.ptp(keep[b.labels].sum(axis=1))]
        if not uneven:
            return keep
        for blocks in uneven:
            for group in trace.prunable:
                if np.isin(group.units, blocks.labels).any():
                    keep[group.units] = True


def cut_or_pin(trace: Trace, names: Sequence[str] | None, rng: np.random.Generator) -> tuple[Model, Bools]:
    """Cut a random keep set of the named groups (None: of all); where a rule refuses, pin and draw again."""
    for _ in range(ATTEMPTS):
        groups = [g for g in trace.prunable if names is None or g.name in names]
        keep = random_keep(trace, groups, rng)
        try:
            return cut(trace, keep), keep
        except CutError as refusal:
            trace.pin_node(refusal.node, str(refusal))
    raise AssertionError("the cut is refused for ever")


def assert_equivalent(trace: Trace, names: Sequence[str] | None, feed: Feed, rng: np.random.Generator) -> int:
    """Masked equivalence for one random keep set; the number of units removed."""
    smaller, keep = cut_or_pin(trace, names, rng)
    check_shapes(trace, smaller, planned_shapes(trace, keep))
    compare(trace, build_reference(trace), smaller, keep, feed)
    return int((~keep).sum())


def compare(trace: Trace, reference: MaskedModel, smaller: Model, keep: Bools, feed: Feed) -> None:
    expected = run(reference.model, {**feed, **reference.feed(keep)})
    found = difference(expected, run(smaller, feed))
    assert found <= TOLERANCE, f"{found} with {[(g.name, g.size) for g in trace.prunable]}"

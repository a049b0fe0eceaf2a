"""What holds for every network: properties of tracing, choosing and cutting, on random graphs.

The examples are the same in every run. `ONNXPRUNE_EXAMPLES=5000 pytest tests/properties` looks at more of them.
"""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from onnxprune.choose.ranking import Options
from onnxprune.choose.select import select
from onnxprune.cut import CutError, cut
from onnxprune.cut.plan import keep_of, of_masks, parse
from onnxprune.cut.provenance import record
from onnxprune.model import graph
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.trace import trace_model
from onnxprune.trace.reference import build_reference
from onnxprune.trace.whole import may_leave_whole
from tests.properties.checks import TOLERANCE, assert_equivalent, cut_or_pin, difference, run
from tests.properties.generator import STEPS, build, networks
from tests.properties.net import Net, feed

EXAMPLES = int(os.environ.get("ONNXPRUNE_EXAMPLES", "200"))
repeatable = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
fewer = settings(repeatable, max_examples=EXAMPLES // 2)
seeds = st.integers(0, 2**16)
Network = tuple[ModelProto, Net]


@repeatable
@given(networks(), seeds)
def test_every_group_is_masked_equivalent(network: Network, seed: int) -> None:
    """Cutting any set of any group gives the original with these channels masked; and all groups at once."""
    proto, _ = network
    trace, rng = trace_model(load(proto)), np.random.default_rng(seed)
    inputs = feed(proto, seed)
    for names in [None, *([group.name] for group in trace.prunable)]:
        assert_equivalent(trace, names, inputs, rng)


@fewer
@given(networks())
def test_every_shape_is_inferred(network: Network) -> None:
    """The builder knows them all; so must inference, without recorded shapes."""
    proto, net = network
    shapes = infer(graph.build(load(proto)), {"N": 2}).shapes
    assert {v.name: shapes.get(v.name) for v in net.values} == {v.name: (2, *v.shape) for v in net.values}


@fewer
@given(networks(), seeds)
def test_heads_are_masked_equivalent(network: Network, seed: int) -> None:
    """The same where splits of an axis carry the outer part."""
    proto, _ = network
    trace = trace_model(load(proto), units="heads")
    assert_equivalent(trace, None, feed(proto, seed), np.random.default_rng(seed))


@fewer
@given(networks())
def test_keeping_everything_changes_nothing(network: Network) -> None:
    model = load(network[0])
    trace = trace_model(model)
    same = cut(trace, np.ones(trace.unit_count, bool))
    assert same.complete_proto() == model.complete_proto()
    assert same.sha256 == load(model.complete_proto()).sha256


@fewer
@given(networks())
def test_groups_are_disjoint(network: Network) -> None:
    """Every unit is in exactly one group; unit 0, which stays, is in none. Names tell groups apart."""
    trace = trace_model(load(network[0]))
    counts = Counter(int(unit) for group in trace.prunable for unit in group.units)
    assert set(counts.values()) <= {1}
    assert set(counts) == set(range(1, trace.unit_count))
    names = [group.name for group in trace.groups]
    assert len(set(names)) == len(names)


@fewer
@given(networks(), seeds)
def test_signature_is_invariant(network: Network, seed: int) -> None:
    """Inputs, outputs, operator sets and metadata; and no name of the original means another thing."""
    model = load(network[0])
    trace = trace_model(model)
    smaller, keep = cut_or_pin(trace, None, np.random.default_rng(seed))
    planned = of_masks(trace, trace.prunable, [keep[g.units] for g in trace.prunable])
    written = record(smaller, model, planned).complete_proto()
    for name in ("input", "output", "name"):
        assert getattr(written.graph, name) == getattr(model.proto.graph, name)
    assert written.opset_import == model.proto.opset_import
    assert written.ir_version == model.proto.ir_version
    onnx.checker.check_model(written, full_check=True)
    before = {n.output[0]: n.op_type for n in model.proto.graph.node}
    for node in written.graph.node:
        assert before.get(node.output[0], node.op_type) in (node.op_type, "Slice")  # which may become a Gather


@fewer
@given(networks(), st.floats(0, 0.99), st.floats(0, 0.99))
def test_larger_ratio_never_keeps_more(network: Network, a: float, b: float) -> None:
    trace = trace_model(load(network[0]))
    low, high = (select(trace, Options(ratio=r, criterion="l1", scope="local"), None, None) for r in sorted((a, b)))
    assert [g.name for g in low.groups] == [g.name for g in high.groups]
    whole = may_leave_whole(trace)
    for group, more, less in zip(low.groups, low.keep, high.keep, strict=True):
        assert less.any() or group.name in whole
        assert not (less & ~more).any()


@fewer
@given(networks(), st.floats(0.1, 0.9))
def test_plans_round_trip(network: Network, ratio: float) -> None:
    """Through JSON and onto a fresh trace: the same plan, the same cut, to the byte."""
    proto, _ = network
    trace = trace_model(load(proto))
    selection = select(trace, Options(ratio=ratio), None, None)
    planned = of_masks(trace, selection.groups, selection.keep, options={"ratio": ratio})
    again = parse(planned.dumps(indent=2))
    assert again == planned and again.digest == planned.digest
    fresh = trace_model(load(proto))
    keep = keep_of(again, fresh)
    assert np.array_equal(keep, keep_of(planned, trace))
    try:
        first = cut(trace, keep)
    except CutError:
        return
    assert first.sha256 == cut(fresh, keep).sha256


def test_generator_makes_all_kinds_of_networks() -> None:
    """The other properties would hold of empty examples as well: nearly all networks have something to remove, every
    step occurs, and the comparison notices when other channels are masked than were cut.
    """
    used: Counter[str] = Counter()
    prunable = told_apart = tried = 0
    for seed in range(250):
        rng = np.random.default_rng(seed)
        steps = rng.integers(0, 64, int(rng.integers(2, 9))).tolist()
        proto, net = build(seed, int(rng.choice([3, 3, 2, 1])), steps, 2)
        used.update(net.used)
        trace = trace_model(load(proto))
        prunable += bool(trace.prunable)
        single = [g.name for g in trace.prunable if g.size > 2 and g.blocks is None][:1]
        if not single or tried == 60:
            continue
        smaller, keep = cut_or_pin(trace, single, rng)
        wrong = keep.copy()
        units = next(g.units for g in trace.prunable if g.name == single[0])
        wrong[units] = np.roll(keep[units], 1)
        if np.array_equal(wrong, keep):
            continue
        tried += 1
        reference, inputs = build_reference(trace), feed(proto)
        masked = run(reference.model, {**inputs, **reference.feed(wrong)})
        told_apart += difference(masked, run(smaller, inputs)) > TOLERANCE
    assert set(used) == {name for table in STEPS.values() for name in table}
    assert prunable > 200
    assert tried >= 40 and told_apart > 0.85 * tried, (told_apart, tried)

"""Finding residual branches, and taking every set of them out: the rest computes what the masked original computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from onnxprune.cut import cut
from onnxprune.cut.plan import Plan, keep_of
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import PlanError
from onnxprune.model import cost
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import Model, load
from onnxprune.trace import Trace, trace_model
from onnxprune.trace.branches import find_branches
from tests.builders import Net
from tests.choose.blocks.networks import PINNED, REMOVABLE, classic, nested, output_is_sum, preactivated
from tests.oracle import compare

Fill = Callable[[Net], None]
every = pytest.mark.parametrize("fill", REMOVABLE, ids=lambda fill: fill.__name__)


def made(fill: Fill, **options: int) -> Trace:
    net = Net(**options)
    fill(net)
    return trace_model(load(net.model()), units="blocks")


def without(trace: Trace, *names: str) -> tuple[np.ndarray, Model]:
    keep = keep_of(Plan(trace.graph.model.sha256, (), "blocks", blocks=names), trace)
    return keep, cut(trace, keep)


@every
def test_what_may_leave_and_why_the_rest_stays(fill: Fill) -> None:
    branches = made(fill).branches
    assert tuple(b.name for b in branches if b.pin is None) == REMOVABLE[fill]
    pinned = {b.name: (b.pin, b.pinned_by) for b in branches if b.pin is not None}
    expected = PINNED.get(fill, {})
    assert set(pinned) == set(expected)
    for name, (reason, node) in expected.items():
        assert reason in str(pinned[name][0])
        assert str(pinned[name][1]).startswith(node)


@every
def test_every_set_of_blocks_is_masked_equivalent(fill: Fill) -> None:
    trace = made(fill)
    names = REMOVABLE[fill]
    everything = np.ones(trace.unit_count, bool)
    assert cut(trace, everything).proto == trace.graph.model.proto
    costs = PlannedCost(trace)
    for count in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, count):
            keep, smaller = without(trace, *chosen)
            told_apart, alive = compare(trace, keep, smaller)
            assert told_apart and alive
            graph = build(smaller)
            assert len(graph.nodes) < len(trace.graph.nodes)
            read = {k for n in graph.nodes for k in n.inputs} | set(graph.fixed)
            assert set(smaller.tensors) <= read, "an initializer that nobody reads"
            assert all(not n.outputs or set(n.outputs) & read for n in graph.nodes), "a node that nobody reads"
            assert costs.parameters(keep) == cost.parameters(graph) < cost.parameters(trace.graph)
            assert costs.macs(keep) == cost.total(graph, infer(graph, trace.facts.symbols))[0]


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=4, max_size=8), st.integers(0, 255))
def test_random_networks_of_sums(steps: list[tuple[bool, int]], chosen: int) -> None:
    """Layers and sums with any earlier value: whatever may leave, leaves as the masked original says."""
    net = Net()
    values = [net.stem(4)]
    for is_sum, back in [(False, 0), (True, 1), *steps]:
        other = values[max(len(values) - 1 - back, 0)]
        if is_sum and other != values[-1]:
            values.append(net.add(other, values[-1]))
        else:
            values.append(net.conv(net.relu(values[-1]), 4))
    net.head(values[-1])
    trace = trace_model(load(net.model()), units="blocks")
    names = [branch.name for _, branch in trace.removable_branches]
    keep, smaller = without(trace, *(name for k, name in enumerate(names) if chosen >> k & 1))
    told_apart, _ = compare(trace, keep, smaller)
    assert told_apart or keep.all()


def test_the_outer_block_takes_the_inner_one_along() -> None:
    trace = made(nested)
    _, outer = without(trace, "outer")
    _, both = without(trace, "outer", "inner")
    assert outer.proto == both.proto
    assert [n.op_type for n in outer.proto.graph.node] == ["Conv", "Relu", "Relu", "Conv"]


def test_names_of_outputs_stay() -> None:
    trace = made(output_is_sum)
    _, smaller = without(trace, "one", "two")
    assert list(smaller.proto.graph.output) == list(trace.graph.model.proto.graph.output)
    assert [n.op_type for n in smaller.proto.graph.node] == ["Conv", "Relu", "Identity", "Identity"]
    assert [n.name for n in smaller.proto.graph.node[2:]] == ["one", "two"]


def test_what_the_file_says_of_lost_values_goes_too() -> None:
    net = Net()
    preactivated(net)
    proto = net.model()
    lost = next(node for node in proto.graph.node if node.name == "one")
    for key in (lost.output[0], lost.input[0]):
        proto.graph.value_info.append(helper.make_tensor_value_info(key, 1, ["N", 8, 6, 6]))
    keys = [entry.key for entry in proto.metadata_props]
    trace = trace_model(load(proto), units="blocks")
    _, smaller = without(trace, "one")
    assert [v.name for v in smaller.proto.graph.value_info] == [lost.input[0]]
    assert [entry.key for entry in smaller.proto.metadata_props] == keys


def test_initializers_that_are_inputs_leave_both_lists() -> None:
    trace = made(classic, opset=7)
    assert trace.graph.model.proto.ir_version < 4
    keep, smaller = without(trace, "two")
    assert {i.name for i in smaller.proto.graph.input} - set(smaller.tensors) == {
        trace.graph.model.proto.graph.input[0].name
    }
    assert compare(trace, keep, smaller) == (True, True)


def test_an_initializer_that_callers_may_override_stays() -> None:
    net = Net()
    classic(net)
    proto = net.model()
    weight = next(node for node in proto.graph.node if node.name == "two.a").input[1]
    proto.graph.input.append(helper.make_tensor_value_info(weight, 1, [8, 8, 3, 3]))
    trace = trace_model(load(proto), units="blocks")
    keep, smaller = without(trace, "two")
    assert weight in smaller.tensors
    assert compare(trace, keep, smaller) == (True, True)


def test_equal_names_are_numbered() -> None:
    net = Net()
    classic(net)
    proto = net.model()
    for node in proto.graph.node:
        if node.op_type == "Add":
            node.name = "add"
    graph = build(load(proto))
    assert [b.name for b in find_branches(graph, infer(graph))] == ["add", "add#2", "add#3"]


def test_sum_is_a_sum() -> None:
    net = Net()
    classic(net)
    proto = net.model()
    for node in proto.graph.node:
        if node.op_type == "Add":
            node.op_type = "Sum"
    trace = trace_model(load(proto), units="blocks")
    assert len(trace.removable_branches) == 3
    keep, smaller = without(trace, "one", "three")
    assert compare(trace, keep, smaller) == (True, True)


def test_a_plan_with_a_block_that_stays_is_refused() -> None:
    trace = made(next(fill for fill in REMOVABLE if fill.__name__ == "projection"))
    with pytest.raises(PlanError, match="'two', which stays: its shortcut is not the identity"):
        without(trace, "two")
    with pytest.raises(PlanError, match="'four', which is not one of this model"):
        without(trace, "four")


def test_a_long_chain_is_searched_in_its_length() -> None:
    """Every sum looks at its own branch only: nodes that are visited, not time."""
    nodes, value = [], "x"
    for k in range(2000):
        nodes.append(helper.make_node("Conv", [value, "w"], [f"c{k}"]))
        nodes.append(helper.make_node("Add", [value, f"c{k}"], [f"s{k}"], name=f"s{k}"))
        value = f"s{k}"
    weight = onnx.numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, 1, ["N", 2, 1, 1]) for name in ("x", value))
    proto = helper.make_model(helper.make_graph(nodes, "chain", [x], [y], [weight]), ir_version=8)
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("", 17))
    graph = build(load(proto))
    branches = find_branches(graph, infer(graph))
    assert len(branches) == 2000 and all(len(b.nodes) == 1 for b in branches)

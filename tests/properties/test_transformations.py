"""What must not depend on how a network is written down, and what a stranger in it may spoil."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from onnxprune.choose.score import criteria, get
from onnxprune.choose.score.collect import unit_scores
from onnxprune.choose.score.registry import Needs
from onnxprune.cut import CutError, cut
from onnxprune.cut.plan import keep_of, of_masks, parse
from onnxprune.errors import PlanError
from onnxprune.model.load import Model, load
from onnxprune.model.tensors import LazyTensor
from onnxprune.trace import Trace, trace_model
from tests.properties.checks import Bools, assert_equivalent, cut_or_pin, difference, run
from tests.properties.generator import networks
from tests.properties.net import Net, Value, feed
from tests.properties.steps_image import activation, batch_norm, convolution, depthwise, prelu
from tests.properties.test_properties import Network, fewer, seeds

Array = NDArray[Any]


# ---- permuted channels ------------------------------------------------------------------------------------------
PLAIN: list[Callable[[Net, Value], Value]] = [convolution, depthwise, batch_norm, activation, prelu]


def plain_network(seed: int, steps: list[int], flat: bool) -> ModelProto:
    """A chain in which any permutation of a layer's channels can be undone by its consumers."""
    net = Net(np.random.default_rng(seed), 2)
    value = convolution(net, net.input(3, 4, 4))
    for step in steps:
        value = PLAIN[step](net, value)
    value = convolution(net, value)
    if not flat:
        value = net.node("GlobalAveragePool", [value.name], (value.shape[0], 1, 1))
    size = int(np.prod(value.shape))
    value = net.node("Flatten", [value.name], (size,), axis=1)
    return net.model([net.node("Gemm", [value.name, net.weight(3, size), net.weight(3)], (3,), transB=1)])


def permuted(trace: Trace, order: Array) -> Model:
    """The same network with unit order[u] in the place of unit u, everywhere."""
    model = trace.graph.model
    proto = model.complete_proto()
    constants: dict[str, Array] = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    nodes = {n.output[0]: n for n in proto.graph.node if n.op_type == "Constant"}
    constants |= {name: numpy_helper.to_array(n.attribute[0].t) for name, n in nodes.items()}
    done: set[tuple[str, int]] = set()
    for (index, slot), axes in trace.state.uses.items():
        name = trace.graph.nodes[index].proto.input[slot]
        for axis, labels in enumerate(axes):
            if labels is not None and (name, axis) not in done:
                done.add((name, axis))
                constants[name] = np.take(constants[name], _places(trace.table[labels], order), axis)
    for name, node in nodes.items():
        node.attribute[0].t.CopyFrom(numpy_helper.from_array(constants.pop(name), name))
    del proto.graph.initializer[:]
    tensors = {name: LazyTensor.from_array(name, array) for name, array in constants.items()}
    return load(model.replace(proto, tensors).complete_proto())


def _places(units: Array, order: Array) -> Array:
    """Where the unit is now that shall be at every position; the k-th occurrence of one is that of the other."""
    where: dict[int, list[int]] = {}
    for position, unit in enumerate(units.tolist()):
        where.setdefault(unit, []).append(position)
    seen: dict[int, int] = {}
    result = []
    for unit in units.tolist():
        k = seen.get(unit, 0)
        seen[unit] = k + 1
        result.append(where[int(order[unit])][k])
    return np.array(result, np.int64)


@fewer
@given(seeds, st.lists(st.integers(0, len(PLAIN) - 1), max_size=6), st.booleans())
def test_permuting_channels_permutes_scores(seed: int, steps: list[int], flat: bool) -> None:
    """Layer and consumers permuted together: the same function, the same scores in another order."""
    proto = plain_network(seed, steps, flat)
    trace = trace_model(load(proto))
    assume(any(g.size > 1 and g.blocks is None for g in trace.prunable))
    order = np.arange(trace.unit_count)
    rng = np.random.default_rng(seed)
    for group in trace.prunable:
        order[group.units] = rng.permutation(group.units)
    other_model = permuted(trace, order)
    inputs = feed(proto, seed)
    assert difference(run(trace.graph.model, inputs), run(other_model, inputs)) < 1e-5
    other = trace_model(other_model)
    for criterion in criteria():
        if criterion.name == "random" or criterion.needs is not Needs.WEIGHTS:
            continue
        scores = (unit_scores(t, t.prunable, criterion) for t in (trace, other))
        for group, before, after in zip(trace.prunable, *scores, strict=True):
            position = {unit: k for k, unit in enumerate(group.units.tolist())}
            moved = [position[int(order[unit])] for unit in group.units]
            np.testing.assert_allclose(after, before[moved], rtol=1e-9, err_msg=criterion.name)


# ---- other names, another order ---------------------------------------------------------------------------------
PREFIX = "renamed/"


def renamed(proto: ModelProto, seed: int) -> ModelProto:
    """All inner names prefixed, and the nodes in another order (any: loading sorts them)."""
    result = ModelProto()
    result.CopyFrom(proto)
    fixed = {v.name for v in (*proto.graph.input, *proto.graph.output)}

    def name(old: str) -> str:
        return old if old in fixed or not old else PREFIX + old

    nodes = list(result.graph.node)
    for node in nodes:
        node.name = PREFIX + node.name
        for values in (node.input, node.output):
            values[:] = [name(v) for v in values]
    for tensor in result.graph.initializer:
        tensor.name = name(tensor.name)
    random.Random(seed).shuffle(nodes)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def described(model: Model) -> dict[str, tuple[object, ...]]:
    """Every node by its first output: operator, attributes, inputs; constants by their content."""
    graph = trace_model(model).graph
    result: dict[str, tuple[object, ...]] = {}
    for node in graph.nodes:
        if node.op_type == "Constant":
            continue
        inputs = []
        for key in node.inputs:
            constant = graph.constants.get(key)
            array = None if constant is None else constant.array()
            inputs.append(key.removeprefix(PREFIX) if array is None else (array.shape, array.tobytes()))
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.proto.attribute)
        result[node.outputs[0].removeprefix(PREFIX)] = (node.op_type, attributes, inputs)
    return result


def keep_by_name(trace: Trace, ratio: float) -> Bools:
    """Units to keep by their l1 scores, whatever the order of the groups."""
    keep = np.ones(trace.unit_count, bool)
    groups = [g for g in trace.prunable if g.members and g.blocks is None]
    for group, scores in zip(groups, unit_scores(trace, groups, get("l1")), strict=True):
        keep[group.units[np.argsort(scores, kind="stable")[: int(ratio * group.size)]]] = False
    return keep


def described_cut(trace: Trace) -> dict[str, tuple[object, ...]] | str:
    """The cut of half of the channels, or why it is refused."""
    try:
        return described(cut(trace, keep_by_name(trace, 0.5)))
    except CutError as refusal:
        return str(refusal)


@fewer
@given(networks(), seeds)
def test_names_and_order_do_not_matter(network: Network, seed: int) -> None:
    proto, _ = network
    traces = [trace_model(load(p)) for p in (proto, renamed(proto, seed))]
    sizes = [sorted((len(g.members), g.size, g.blocks is None) for g in t.prunable) for t in traces]
    assert sizes[0] == sizes[1]
    assume(not traces[0].state.blocks)
    first, second = (described_cut(t) for t in traces)
    assert first == second


# ---- strangers --------------------------------------------------------------------------------------------------
def reverse(node: str, size: int) -> tuple[NodeProto, Array]:
    """ReverseSequence of length 1: an operator without a rule that ONNX Runtime runs, and that changes nothing."""
    inputs = [node, "stranger.lengths"]
    made = helper.make_node("ReverseSequence", inputs, ["stranger.out"], name="stranger", time_axis=0, batch_axis=1)
    return made, np.ones(size, np.int64)


@fewer
@given(networks(), seeds, seeds)
def test_an_unknown_operator_is_pinned(network: Network, place: int, seed: int) -> None:
    """Inserted behind any node: its indices stay, with its name as the reason; the rest is still equivalent."""
    proto, net = network
    value = net.values[place % len(net.values)]
    node, lengths = reverse(value.name, value.shape[0])
    for user in proto.graph.node:
        user.input[:] = [node.output[0] if name == value.name else name for name in user.input]
    position = next((k + 1 for k, n in enumerate(proto.graph.node) if value.name in n.output), 0)
    nodes = list(proto.graph.node)
    nodes.insert(position, node)
    proto = ModelProto.FromString(proto.SerializeToString())
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.append(numpy_helper.from_array(lengths, node.input[1]))
    trace = trace_model(load(proto))
    for key in (value.name, node.output[0]):
        assert not any(labels is not None and labels.any() for labels in trace.axes(key))
    said = [g.pin.reason for g in trace.groups if g.pin is not None and g.pin.node == node.name]
    assert all(reason == "ReverseSequence is not an operator with a rule" for reason in said)
    assert_equivalent(trace, None, feed(proto, seed), np.random.default_rng(seed))


# ---- spoilt plans -----------------------------------------------------------------------------------------------
PLAN_NETWORK = plain_network(5, [0, 1, 2, 3], True)


@fewer
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8), st.integers(-4, 3))
def test_mutated_plans_give_typed_errors(changes: list[tuple[int, int]], shift: int) -> None:
    """Whatever became of the bytes of a plan: PlanError, or a plan that can be applied."""
    trace = trace_model(load(PLAN_NETWORK))
    _, keep = cut_or_pin(trace, None, np.random.default_rng(1))
    text = bytearray(of_masks(trace, trace.prunable, [keep[g.units] for g in trace.prunable]).dumps().encode())
    for place, byte in changes:
        text[place % len(text)] = byte
    text = text[: len(text) + min(shift, 0)] + text[: max(shift, 0)]
    try:
        keep = keep_of(parse(text.decode("utf-8", "replace")), trace)
    except PlanError:
        return
    assert keep.shape == (trace.unit_count,) and keep[0]

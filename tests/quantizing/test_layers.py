"""Which nodes can compute with integers, and which lie between them."""

from __future__ import annotations

import numpy as np
import pytest

from onnxprune.model.load import load
from onnxprune.quantizing.layers import between, candidates, moved, values_of
from onnxprune.trace import trace_model
from tests.builders import Net, ints


def found_in(net: Net) -> tuple:
    trace = trace_model(load(net.model()))
    return trace.graph, candidates(trace.graph, trace.facts)


def reason(net: Net, op_type: str) -> str | None:
    graph, found = found_in(net)
    return next(one.reason for index, one in found.items() if graph.nodes[index].op_type == op_type)


def test_steps_and_moves_between_layers_go_along() -> None:
    net = Net()
    h = net.relu(net.conv(net.input(4, 8, 8), 8))
    h = net.op("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2])
    h = net.op("Sigmoid", net.add(h, net.conv(h, 8, kernel=1)))
    net.output(net.conv(h, 4))
    graph, found = found_in(net)
    layers = [index for index, one in found.items() if one.kind == "layer"]
    chosen = between(graph, found, layers)
    assert [graph.nodes[index].op_type for index in sorted(chosen)] == [
        "Conv", "Relu", "MaxPool", "Conv", "Add", "Sigmoid", "Conv",
    ]  # fmt: skip
    pool = next(node for node in graph.nodes if node.op_type == "MaxPool")
    assert moved(graph, found, chosen) == {pool.outputs[0]: pool.inputs[0]}
    assert net.inputs[0].name in values_of(graph, chosen)


def test_steps_that_touch_floats_stay() -> None:
    net = Net()
    x = net.input(4, 8, 8)
    h = net.op("Sigmoid", net.op("Softplus", net.conv(x, 8)))
    net.output(net.conv(h, 4))
    graph, found = found_in(net)
    chosen = between(graph, found, [index for index, one in found.items() if one.kind == "layer"])
    assert [graph.nodes[index].op_type for index in sorted(chosen)] == ["Conv", "Conv"]


@pytest.mark.parametrize(
    ("op_type", "made", "words"),
    [
        ("ConvTranspose", lambda net, x: net.transposed(x, 4), "no kernel with integers"),
        ("Mul", lambda net, x: net.op("Mul", x, net.normal(4, 1, 1)), "a constant of more than one number"),
        ("Resize", lambda net, x: net.op("Resize", x, None, np.array([1, 1, 2, 2], np.float32), mode="cubic"), "cubic"),
        ("Pad", lambda net, x: net.op("Pad", x, ints(0, 0, 1, 1, 0, 0, 1, 1), np.float32(1.5)), "other than 0"),
    ],
)
def test_every_other_has_a_reason(op_type: str, made: object, words: str) -> None:
    net = Net()
    net.output(made(net, net.conv(net.input(4, 6, 6), 4)))  # type: ignore[operator]
    assert words in (reason(net, op_type) or "")


def test_halves_are_left_alone() -> None:
    net = Net(dtype=np.float16)
    net.output(net.conv(net.input(4, 6, 6), 4))
    assert reason(net, "Conv") == "its values are FLOAT16, not FLOAT"

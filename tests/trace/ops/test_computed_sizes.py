"""Sizes that the graph computes, of tensors with an axis that is known only when the model runs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxprune.model.graph import Node, build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.model.partial import Partial, evaluate_partial
from tests.builders import Array, Net, ints
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all


def measured(net: Net, x: str, length: int) -> str:
    """`length` steps of the axis 1 of x, or more, by what an input says."""
    asked = net.declare("steps", [1], np.int64)
    return net.op("Slice", x, ints(0), net.op("Max", asked, ints(length)), ints(1))


def heads(net: Net, x: str, name: str, perm: tuple[int, ...] = (0, 2, 1, 3)) -> str:
    width = 8
    h = net.op("MatMul", x, net.normal(8, width), name=name)
    return net.transpose(net.op("Reshape", h, ints(0, -1, 2, 4)), *perm)


def last_size(net: Net, x: str) -> str:
    return net.op("Cast", net.op("Slice", net.op("Shape", x), ints(-1), ints(2**63 - 1)), to=TensorProto.FLOAT)


def attention(net: Net, *, by_size: bool) -> None:
    x = measured(net, net.tokens(length=7), 5)
    q, k, v = heads(net, x, "q"), heads(net, x, "k", (0, 2, 3, 1)), heads(net, x, "v")
    scores = net.op("MatMul", q, k)
    if by_size:
        scores = net.op("Div", scores, net.op("Sqrt", last_size(net, q)))
    mixed = net.op("MatMul", net.softmax(scores), v)
    net.project(net.op("Reshape", net.transpose(mixed, 0, 2, 1, 3), ints(0, -1, 8)))


@case({"a": 8, "q": 4, "v": 4})
def scale_by_the_size_of_a_head(net: Net) -> None:
    """Other sizes of the same Shape are not known: the scale is, and stays what it was."""
    attention(net, by_size=True)


@case({"a": 8})
def mean_over_channels_and_pixels(net: Net) -> None:
    """A sum divided by a product of sizes, of which those of the pixels are symbolic."""
    x = net.declare("x", ["N", 3, "N", "N"])
    h = net.relu(net.op("Conv", x, net.normal(8, 3, 1, 1), net.normal(8), name="a"))
    sizes = net.op("Slice", net.op("Shape", h), ints(1), ints(4))
    count = net.op("Cast", net.op("ReduceProd", sizes, keepdims=0), to=TensorProto.FLOAT)
    mean = net.op("Div", net.op("ReduceSum", h, ints(1, 2, 3)), count)
    net.output(net.op("Conv", net.op("Sub", h, mean), net.normal(4, 8, 1, 1), name="z"), rank=4)


@case({"a": 8})
def size_of_data_and_channels_as_data(net: Net) -> None:
    """The product of a size that nobody knows and one that is cut: neither is written down."""
    h = net.relu(measured(net, net.tokens(length=7), 3))
    even = net.op("Div", h, net.op("Cast", net.op("Size", h), to=TensorProto.FLOAT))
    net.output(net.op("MatMul", even, net.normal(8, 4), name="z"), rank=3)


@case({"a": 4})
def target_of_sizes_and_literals(net: Net) -> None:
    """Shape -> Gather -> Concat -> Reshape: one element is a literal that the cut changes."""
    h = net.relu(measured(net, net.tokens(length=7), 3))
    target = net.op("Concat", net.size_of(h, 0), net.size_of(h, 1), ints(2, 4), axis=0)
    parts = net.op("ReduceMax", net.op("Reshape", h, target), axes=[2], keepdims=0)
    net.output(net.op("MatMul", parts, net.normal(4, 4), name="z"), rank=3)


@case({"a": 4})
def target_with_a_quotient_of_a_size(net: Net) -> None:
    """The width of a head comes from the width: it follows the cut, and so does its product."""
    h = net.relu(measured(net, net.tokens(length=7), 3))
    width = net.op("Div", net.size_of(h, 2), ints(2))
    split = net.op("Concat", net.size_of(h, 0), net.size_of(h, 1), ints(2), width, axis=0)
    turned = net.transpose(net.op("Reshape", h, split), 0, 1, 3, 2)
    joined = net.op("Concat", net.size_of(turned, 0), ints(-1), net.op("Mul", width, ints(2)), axis=0)
    net.output(net.op("MatMul", net.op("Reshape", turned, joined), net.normal(8, 4), name="z"), rank=3)


@case({"a": 8}, sensitive=False)
def size_as_an_output(net: Net) -> None:
    """Who asks how large a value is gets the answer of the original."""
    h = net.relu(net.tokens())
    net.output(net.op("Shape", h), dtype=np.int64)
    net.project(h)


@case({"a": 8})
def size_that_leaves_a_branch(net: Net) -> None:
    h = net.relu(net.tokens())
    flag = net.op("Greater", net.op("ReduceMean", net.input(2, name="s"), keepdims=0), net.number(0))
    bodies = {}
    for name, factor in (("then_branch", 1), ("else_branch", 3)):
        nodes = [
            helper.make_node("Shape", [h], [f"{name}_all"], start=2),
            helper.make_node("Mul", [f"{name}_all", net.constant(ints(factor))], [f"{name}_size"]),
        ]
        result = helper.make_tensor_value_info(f"{name}_size", TensorProto.INT64, [1])
        bodies[name] = helper.make_graph(nodes, name, [], [result])
    size = net.op("Cast", net.op("If", flag, **bodies), to=TensorProto.FLOAT)
    net.output(net.op("MatMul", net.op("Div", h, size), net.normal(8, 4), name="z"), rank=3)


def sequence(net: Net, channels: int, name: str = "a") -> str:
    """(N, channels, steps), of as many steps as an input says: a predicted duration."""
    x = measured(net, net.input(7, 6), 4)
    return net.op("Conv", net.transpose(x, 0, 2, 1), net.normal(channels, 6, 1), net.normal(channels), name=name)


@case({"a": 8, "in": 4})
def gated_layers_of_a_flow(net: Net) -> None:
    """zeros_like, halves of channels by Slice and by Split, and channels turned around."""
    h = net.relu(sequence(net, 8))
    total = net.op("ConstantOfShape", net.op("Shape", h))
    both = net.op("Conv", h, net.normal(8, 8, 3), net.normal(8), name="in", pads=[1, 1])
    gate = net.op("Tanh", net.slice(both, 0, 4, 1)), net.op("Sigmoid", net.slice(both, 4, 8, 1))
    change = net.op("Conv", net.op("Mul", *gate), net.normal(8, 4, 1), net.normal(8), name="out")
    total = net.add(total, change)
    turned = net.op("Slice", net.add(h, total), ints(-1), ints(-(2**31)), ints(1), ints(-1))
    net.output(net.op("Conv", turned, net.normal(4, 8, 1), name="z"), rank=3)


@case({"a": 8})
def padded_by_a_computed_number_of_steps(net: Net) -> None:
    """The pads of the steps come from their number; those of channels are literals."""
    h = net.relu(sequence(net, 8))
    more = net.op("Sub", ints(9), net.size_of(h, 2))
    pads = net.op("Concat", ints(0, 0), more, ints(0, 0, 0), axis=0)
    longer = net.op("Pad", h, pads)
    net.output(net.op("Conv", longer, net.normal(4, 8, 1), name="z"), rank=3)


@case({"a": 8})
def expanded_to_a_shape_with_an_open_size(net: Net) -> None:
    h = net.relu(sequence(net, 8))
    bias = net.op("Expand", net.constant(np.float32([[[0.5]]])), net.op("Shape", h))
    net.output(net.op("Conv", net.relu(net.add(h, bias)), net.normal(4, 8, 1), name="z"), rank=3)


@case({"a": 8})
def shape_made_by_where(net: Net) -> None:
    """expand(-1, -1, 3) of a stack: sizes that are -1 are taken from the tensor."""
    h = net.unsqueeze(net.relu(sequence(net, 8)), 3)
    asked = net.op("Concat", net.size_of(h, 0), net.size_of(h, 1), net.size_of(h, 2), ints(3), axis=0)
    ones = net.op("ConstantOfShape", ints(4), value=helper.make_tensor("v", TensorProto.INT64, [1], [1]))
    unset = net.op("Equal", asked, net.op("Mul", ones, ints(-1)))
    wide = net.op("Expand", h, net.op("Where", unset, ones, asked))
    net.output(net.op("Conv", wide, net.normal(4, 8, 1, 1), name="z"), rank=4)


@case(
    {},
    {"a": "Slice has bounds on it that depend on symbolic sizes"},
    each={"few": ("Min", 32), "many": ("Max", 600)},
)
def bounded_by_channels_or_steps(net: Net, op_type: str, channels: int) -> None:
    """Which one it is shows for few steps only, or for very many."""
    h = net.op("MatMul", net.declare("x", ["N", "T", 8]), net.normal(8, channels), name="a")
    steps = net.op("Slice", net.op("Shape", h), ints(1), ints(2))
    h = net.op("Slice", h, ints(0), net.op(op_type, steps, ints(channels)), ints(2))
    net.output(net.op("ReduceSum", h, ints(2), keepdims=0), rank=2)


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()


# ---- element by element ----------------------------------------------------------------------------------------
def known_of(op_type: str, *inputs: Array | Partial, **attributes: object) -> list[object]:
    """The elements of the first output of an operator, None for those that are not known."""
    names = [f"i{k}" for k in range(len(inputs))]
    node = Node(0, helper.make_node(op_type, names, ["o"], **attributes), 0, tuple(names), ("o",))
    outputs = evaluate_partial(node, [i if isinstance(i, Partial) else Partial.of(i) for i in inputs], 17)
    return [] if outputs is None else outputs[0].elements()


def some(*values: int | None) -> Partial:
    array = np.array([7 if v is None else v for v in values], np.int64)
    return Partial(array, np.array([v is not None for v in values]))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (known_of("Gather", some(1, None, 3), ints(2, 1)), [3, None]),
        (known_of("Gather", some(1, None, 3), some(None, 2)), [None, 3]),
        (known_of("Slice", some(1, None, 3), ints(1), ints(3)), [None, 3]),
        (known_of("Slice", some(1, None, 3), some(None), ints(3)), []),
        (known_of("Concat", some(1, None), ints(4), axis=0), [1, None, 4]),
        (known_of("Mul", some(2, None, 3), some(5, 6, None)), [10, None, None]),
        (known_of("Div", some(6, None), ints(3)), [2, None]),
        (known_of("ReduceProd", some(2, None), keepdims=0), [None]),
        (known_of("ReduceProd", some(2, 5), keepdims=0), [10]),
        (known_of("Where", np.array([True, False]), some(None, 1), some(2, 3)), [None, 3]),
        (known_of("Unsqueeze", some(4, None), ints(0)), [4, None]),
        (known_of("Reshape", some(4, None), ints(2, 1)), [4, None]),
        (known_of("Cast", some(4, None), to=TensorProto.FLOAT), [4.0, None]),
        (known_of("Sqrt", Partial(np.array([4.0, 1.0]), np.array([True, False]))), [2.0, None]),
        (known_of("ConstantOfShape", some(2, None)), []),
        (known_of("Expand", some(None), ints(3)), [None, None, None]),
    ],
)
def test_what_is_known(found: list[object], expected: list[object]) -> None:
    assert found == expected


def test_shapes_follow_from_what_is_known_of_sizes() -> None:
    """The length of the batch's longest row is not known; heads and their width are."""
    net = Net(17)
    h = measured(net, net.tokens(length=7), 3)
    target = net.op("Concat", net.size_of(h, 0), net.size_of(h, 1), ints(2, 4), axis=0)
    split = net.op("Reshape", h, target)
    wide = net.op("Expand", net.constant(np.zeros((1, 1, 1, 4), np.float32)), target)
    filled = net.op("ConstantOfShape", target)
    net.output(split, wide, filled, rank=4)
    model: onnx.ModelProto = net.model()
    shapes = infer(build(load(model))).shapes
    assert [shapes[key] for key in (split, wide, filled)] == [(1, None, 2, 4)] * 3

"""If, Loop, Scan and what is inside them; sizes as values; random tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.builders import Net, ints
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all


def inner(outer: Net) -> Net:
    """A net for a body; its names are its own."""
    net = Net(outer.opset, seed=1)
    net._count = 1000 + 1000 * outer._count
    net.shape = outer.shape  # type: ignore[method-assign]
    return net


def info(name: str, *shape: int | str | None, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def branch(outer: Net, captured: str, name: str, *, hidden: int = 6) -> onnx.GraphProto:
    """relu(conv(captured)) -> conv, with weights in the body."""
    net = inner(outer)
    h = net.op("Conv", captured, net.normal(hidden, 8, 1, 1), net.normal(hidden), name=name)
    h = net.op("Conv", net.relu(h), net.normal(4, hidden, 1, 1), name=f"{name}_out")
    net.outputs.append(helper.make_tensor_value_info(h, TensorProto.FLOAT, [None] * 4))
    return net.body(name)


# ---- If --------------------------------------------------------------------------------------------------------
@case({"t": 6, "e": 5, "a": 8}, opsets=(11, 13, 17))
def branches_with_layers_inside(net: Net) -> None:
    """Both branches read channels of the outside; each has a hidden layer of its own."""
    h = net.relu(net.stem())
    flag = net.op("Greater", net.op("ReduceMean", net.input(2, name="s"), keepdims=0), net.number(0))
    bodies: dict[str, Any] = {"then_branch": branch(net, h, "t"), "else_branch": branch(net, h, "e", hidden=5)}
    net.output(net.op("If", flag, **bodies), rank=4)


@case({"a": 8}, {"t": "it belongs to an output of a subgraph"})
def branches_that_give_channels(net: Net) -> None:
    h = net.relu(net.stem())
    flag = net.op("Greater", net.op("ReduceMean", net.input(2, name="s"), keepdims=0), net.number(0))
    bodies = {}
    for name in ("then_branch", "else_branch"):
        body = inner(net)
        r = body.op("Conv", h, body.normal(6, 8, 1, 1), name=name[0])
        body.outputs.append(helper.make_tensor_value_info(r, TensorProto.FLOAT, [None] * 4))
        bodies[name] = body.body()
        net._count += 1
    net.output(net.op("Conv", net.op("If", flag, **bodies), net.normal(4, 6, 1, 1)), rank=4)


@case({"a": 8})
def weights_of_the_outside_used_inside(net: Net) -> None:
    """One initializer, read outside and in both branches: cut for all of them."""
    h = net.relu(net.stem())
    weight = net.constant(net.normal(4, 8, 1, 1), "shared")
    flag = net.op("Greater", net.op("ReduceMean", net.input(2, name="s"), keepdims=0), net.number(0))
    bodies = {}
    for name, activation in (("then_branch", "Relu"), ("else_branch", "Tanh")):
        body = inner(net)
        r = body.op(activation, body.op("Conv", h, weight))
        body.outputs.append(helper.make_tensor_value_info(r, TensorProto.FLOAT, [None] * 4))
        bodies[name] = body.body()
        net._count += 1
    net.output(net.add(net.op("If", flag, **bodies), net.op("Conv", h, weight)), rank=4)


# ---- Loop and Scan ---------------------------------------------------------------------------------------------
def loop_body(net: Net, captured: str) -> onnx.GraphProto:
    """state' = state + conv(relu(conv(state))) * mean(conv(captured))"""
    body = inner(net)
    state = "state"
    h = body.op("Conv", state, body.normal(6, 4, 1, 1), name="l")
    h = body.op("Conv", body.relu(h), body.normal(4, 6, 1, 1), name="l_out")
    gate = body.op("Tanh", body.op("Conv", captured, body.normal(4, 8, 1, 1), name="g"))
    new = body.add(state, body.op("Mul", h, gate))
    go = body.op("Identity", "condition")
    body.inputs = [
        info("iteration", dtype=TensorProto.INT64),
        info("condition", dtype=TensorProto.BOOL),
        info(state, "N", 4, 6, 6),
    ]
    body.outputs = [info(go, dtype=TensorProto.BOOL), info(new, "N", 4, 6, 6)]
    return body.body("loop")


@case(
    {"a": 8, "l": 6},
    {"l_out": "it belongs to a graph output", "s": "it belongs to a graph output"},
    opsets=(11, 13, 17),
)
def loop(net: Net) -> None:
    h = net.relu(net.stem())
    start = net.conv(net.input(3, 6, 6), 4, name="s")
    net.output(net.op("Loop", np.array(3), np.array(True), start, body=loop_body(net, h)), rank=4)


@case({"a": 8, "l": 6, "s": 4}, opsets=(11, 13, 17), each={"declared": (True,), "not declared": (False,)})
def loop_whose_state_shrinks(net: Net, declared: bool) -> None:
    """Where it begins, what is added to it in every round, and who reads it at the end."""
    h = net.relu(net.stem())
    start = net.conv(net.input(3, 6, 6), 4, name="s")
    body = loop_body(net, h)
    if not declared:
        for value in (body.input[2], body.output[1]):
            value.type.tensor_type.ClearField("shape")
    last = net.hint(net.op("Loop", np.array(3), np.array(True), start, body=body), 4, 6, 6)
    net.head(net.relu(last))


@case({}, {"s": "Loop carries it round together with an axis that cannot shrink"})
def loop_whose_state_grows(net: Net) -> None:
    """One row more in every round: what the body computes has no known size, and stays."""
    start = net.dense(net.input(2, 6), 6, name="s")
    body = inner(net)
    grown = body.op("Concat", "state", body.normal(1, 1, 6), axis=1)
    go = body.op("Identity", "condition")
    body.inputs = [
        info("iteration", dtype=TensorProto.INT64),
        info("condition", dtype=TensorProto.BOOL),
        onnx.helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
    ]
    body.outputs = [info(go, dtype=TensorProto.BOOL), onnx.ValueInfoProto(name=grown)]
    last = net.op("Loop", np.array(3), np.array(True), start, body=body.body("loop"))
    net.output(net.op("ReduceSum", net.hint(last, 5, 6), ints(2)), rank=3)


@case({"s": 8, "c": 6}, {"state": "it belongs to a graph output"}, each={"": (0,), "1": (1,)})
def scan(net: Net, axis: int) -> None:
    """A recurrence spelled out: the layer that feeds it and that inside of it may go."""
    steps = net.tokens(name="s")
    steps = steps if axis else net.transpose(steps, 1, 0, 2)
    last, every = recurrence(net, steps, axis)
    net.output(last, rank=2)
    net.output(every, rank=3)


@case({"s": 8, "c": 6, "state": 4}, each={"0": (0,), "1": (1,)})
def scan_whose_state_shrinks(net: Net, axis: int) -> None:
    """What is made of it in every round, too."""
    steps = net.tokens(name="s")
    steps = steps if axis else net.transpose(steps, 1, 0, 2)
    last, every = recurrence(net, steps, axis)
    net.output(net.matmul(net.hint(last, 4), 3), rank=2)
    net.output(net.matmul(every, 3), rank=3)


def recurrence(net: Net, steps: str, axis: int) -> tuple[str, str]:
    """state' = tanh(state + relu(step @ C) @ D), along one axis of the steps."""
    body = inner(net)
    h = body.relu(body.op("MatMul", "step", body.normal(8, 6), name="c"))
    new = body.op("Tanh", body.add("state", body.op("MatMul", h, body.normal(6, 4), name="state")))
    copy = body.op("Identity", new)
    body.inputs = [info("state", "N", 4), info("step", "N", 8)]
    body.outputs = [info(new, "N", 4), info(copy, "N", 4)]
    start = net.op("ConstantOfShape", net.concat(net.size_of(steps, 1 - axis), ints(4), axis=0))
    axes = {"scan_input_axes": [axis], "scan_output_axes": [axis]}
    last, every = net.many("Scan", 2, start, steps, num_scan_inputs=1, body=body.body("scan"), **axes)
    return last, every


# ---- sizes -----------------------------------------------------------------------------------------------------
@case({"a": 8})
def size_as_data(net: Net) -> None:
    """x / number of elements, computed from its shape: keeps the number it had."""
    h = net.relu(net.tokens())
    width = net.op("Cast", net.op("Gather", net.op("Shape", h), np.array(2), axis=0), to=TensorProto.FLOAT)
    net.project(net.op("Div", h, width))


@case({"a": 8})
def size_with_the_batch_as_data(net: Net) -> None:
    """Size counts the batch too: no number can be written down, so it is computed from the old size."""
    h = net.relu(net.tokens())
    net.project(net.op("Div", h, net.op("Cast", net.op("Size", h), to=TensorProto.FLOAT)))


@case({"a": 8}, net={"weights": "constant"})
def constant_nodes(net: Net) -> None:
    net.head(net.op("PRelu", net.bn(net.stem()), net.positive(8, 1, 1)))


@case({}, {"a": "RandomNormalLike makes a tensor of its size"})
def random_like(net: Net) -> None:
    h = net.stem()
    net.output(net.add(h, net.op("Mul", net.op("RandomNormalLike", h), net.number(0))))
    net.head(h)


for _name, _value in (("RandomUniformLike", 4), ("EyeLike", 2)):

    @case({}, {"a": f"{_name} makes a tensor of its size"}, each={_name: (_name,)})
    def made_like(net: Net, op_type: str) -> None:
        h = net.gemm(net.input(6), 8, name="a")
        net.head(net.add(h, net.op("Mul", net.op(op_type, h), net.number(0))))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()

"""Where the weights of convolutions and matrix products come from."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from onnxprune.trace.ops.context import OVERRIDABLE
from tests.builders import Net
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
FREE = {"a": 8}


@case(FREE)
def transposed_weight(net: Net) -> None:
    weight = net.transpose(net.constant(net.normal(8, 6)), 1, 0)
    net.project(net.op("MatMul", net.input(5, 6), weight, name="a"))


@case(FREE)
def cast_weight(net: Net) -> None:
    weight = net.op("Cast", net.normal(8, 3, 1, 1).astype(np.float16), to=TensorProto.FLOAT)
    net.head(net.op("Conv", net.input(3, 6, 6), weight, name="a"))


@case(FREE, opsets=(13, 17, 21), each={"axis": (True,), "tensor": (False,)})
def quantized_weight(net: Net, per_axis: bool) -> None:
    values = net.rng.integers(-100, 100, (8, 3, 1, 1)).astype(np.int8)
    scale = net.positive(8) / 50 if per_axis else net.number(0.02)
    zero = np.zeros(8, np.int8) if per_axis else np.array(0, np.int8)
    weight = net.op("DequantizeLinear", values, scale, zero, axis=0)
    net.head(net.relu(net.op("Conv", net.input(3, 6, 6), weight, name="a")))


def integer_weight(net: Net, shape: tuple[int, ...], kind: str, axis: int = 0) -> str:
    """One scale, one for each output, the same from a Cast to halves, or rounded in the graph."""
    if kind == "cast":
        return net.op("Cast", net.normal(*shape).astype(np.float16), to=TensorProto.FLOAT)
    per_axis = kind in ("axis", "rounded")
    scale = net.positive(shape[axis]) / 50 if per_axis else net.number(0.02)
    zero = np.full(np.shape(scale), 3, np.int8)
    if kind == "rounded":
        values: Any = net.op("QuantizeLinear", net.normal(*shape), scale, zero, axis=axis)
    else:
        values = net.rng.integers(-100, 100, shape).astype(np.int8)
    return net.op("DequantizeLinear", values, scale, zero, axis=axis)


WAYS = {"axis": ("axis",), "tensor": ("tensor",), "cast": ("cast",), "rounded": ("rounded",)}


@case({"a": 8, "g": 12}, opsets=(13, 21), each=WAYS)
def grouped_conv_of_integers(net: Net, kind: str) -> None:
    weight = integer_weight(net, (12, 4, 3, 3), kind)
    h = net.op("Conv", net.relu(net.stem()), weight, net.normal(12), name="g", group=2)
    net.head(net.relu(h))


@case({"a": 4, "after": 8}, opsets=(13, 21), each=WAYS)
def narrow_groups_of_integers_leave_whole(net: Net, kind: str) -> None:
    weight = integer_weight(net, (12, 2, 3, 3), kind)
    h = net.relu(net.op("Conv", net.relu(net.stem()), weight, name="g", group=4))
    net.head(net.conv(h, 8, name="after"))


@case({"a": 8}, opsets=(13, 21), each=WAYS)
def depthwise_conv_of_integers(net: Net, kind: str) -> None:
    weight = integer_weight(net, (16, 1, 3, 3), kind)
    net.head(net.relu(net.op("Conv", net.relu(net.stem()), weight, group=8)))


@case({"a": 12, "t": 4}, opsets=(13, 21), each=WAYS)
def grouped_transposed_conv_of_integers(net: Net, kind: str) -> None:
    """Scales are those of the outputs of a group: the second axis."""
    weight = integer_weight(net, (12, 4, 2, 2), kind, axis=1)
    net.head(net.relu(net.op("ConvTranspose", net.relu(net.stem(12)), weight, name="t", group=3)))


@case({}, {"a": "Conv is refused: it is grouped and its weight is not a plain constant"})
def grouped_conv_with_scales_of_its_inputs(net: Net) -> None:
    """Every group would need scales of its own."""
    values = net.rng.integers(-100, 100, (8, 4, 1, 1)).astype(np.int8)
    weight = net.op("DequantizeLinear", values, net.positive(4), np.zeros(4, np.int8), axis=1)
    net.head(net.op("Conv", net.stem(), weight, group=2))


@case({"a": 8, "b": 6}, net={"dtype": np.float16})
def half(net: Net) -> None:
    net.head(net.relu(net.conv(net.relu(net.bn(net.stem())), 6, name="b")))


@case({"a": 8}, net={"dtype": np.float64})
def double(net: Net) -> None:
    net.project(net.relu(net.tokens()))


@case({"a": 8})
def layer_applied_twice(net: Net) -> None:
    """Its rows and columns are the same indices both times, and chained they are all one."""
    weight = net.constant(net.normal(8, 8))
    h = net.relu(net.op("MatMul", net.tokens(), weight, name="b1"))
    net.project(net.relu(net.op("MatMul", h, weight, name="b2")))


@case({"a": 8, "b": 8})
def equal_tensors_merged(net: Net) -> None:
    """Exporters merge equal biases: one initializer, two layers, two cuts."""
    bias, x = net.constant(np.zeros(8, np.float32)), net.input(3, 6, 6)
    h = net.relu(net.op("Conv", x, net.normal(8, 3, 1, 1), bias, name="a"))
    net.head(net.relu(net.op("Conv", h, net.normal(8, 8, 1, 1), bias, name="b")))


@case({"a": 8})
def tied_embedding(net: Net) -> None:
    """One table looks up tokens and, transposed, gives the logits."""
    table = net.constant(net.normal(11, 8))
    tokens = net.declare("ids", ["N", 5], np.int64)
    h = net.op("Gather", table, tokens, name="a")
    net.output(net.op("MatMul", h, net.transpose(table, 1, 0), name="logits"))


@case({}, {"a": OVERRIDABLE, "z": OVERRIDABLE}, net={"ir": 8})
def overridable_initializer(net: Net) -> None:
    """IR version 4 and later: an initializer that is also an input may be overridden by the caller."""
    weight = net.constant(net.normal(4, 8, 1, 1), "w")
    net.declare("w", [4, 8, 1, 1])
    net.output(net.op("Conv", net.stem(), weight, name="z"))


@case(FREE, opsets=(7, 9), net={"ir": 3})
def initializers_are_inputs(net: Net) -> None:
    """Before IR version 4 every initializer is also an input, and a constant all the same."""
    net.head(net.relu(net.bn(net.stem())))


@case({}, {"a": "Conv sums over it together with an axis that cannot shrink"})
def initializer_is_an_output(net: Net) -> None:
    weight = net.constant(net.normal(4, 8, 1, 1), "w")
    net.output(net.op("Conv", net.stem(), weight, name="z"), weight)


@case({"a": 8, "b": 6}, opsets=(11, 18), each={"conv": (False,), "transposed": (True,)})
def standardised_weight(net: Net, transposed: bool) -> None:
    """(w - mean) / deviation * gain, in the graph: over the inputs that stay, with one weight for all of it."""
    weight = net.constant(net.normal(*((8, 6) if transposed else (6, 8)), 3, 3))
    over = [0 if transposed else 1, 2, 3]
    centred = net.op("Sub", weight, net.mean(weight, *over))
    deviation = net.op("Sqrt", net.add(net.mean(net.op("Mul", centred, centred), *over), net.number(1e-5)))
    gain = net.positive(1, 6, 1, 1) if transposed else net.positive(6, 1, 1, 1)
    weight = net.op("Mul", net.op("Div", centred, deviation), gain)
    operator = "ConvTranspose" if transposed else "Conv"
    net.head(net.relu(net.op(operator, net.relu(net.stem()), weight, net.normal(6), name="b")))


@case({"a": 8, "b": 6})
def weight_of_unit_norm(net: Net) -> None:
    """Weight normalisation: g * v / |v|."""
    direction = net.constant(net.normal(6, 8, 3, 3))
    norm = net.with_axes("ReduceL2", direction, 1, 2, 3, keepdims=1)
    weight = net.op("Mul", net.op("Div", direction, norm), net.positive(6, 1, 1, 1))
    net.head(net.relu(net.op("Conv", net.relu(net.stem()), weight, name="b")))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()

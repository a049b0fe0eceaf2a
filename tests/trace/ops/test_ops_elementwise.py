"""Element-wise operators, broadcasting, quantization steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from tests.builders import MICROSOFT, Net, ints, words
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
FREE = {"a": 8}
FLOAT = TensorProto.FLOAT

UNIT_INTERVAL = words("Acos Asin Atanh Log Sqrt Reciprocal")
ANYWHERE = words(
    "Abs Acosh Asinh Atan Ceil Celu Cos Cosh Elu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu Mish Neg "
    "Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Tan Tanh ThresholdedRelu"
)
ATTRIBUTES: dict[str, dict[str, Any]] = {"Shrink": {"lambd": 0.1}, "ThresholdedRelu": {"alpha": 0.1}}


@case(FREE, opsets=(18,), each={name: (name,) for name in UNIT_INTERVAL + ANYWHERE})
def unary(net: Net, op_type: str) -> None:
    h = net.stem()
    h = net.op("Sigmoid", h) if op_type in UNIT_INTERVAL else h
    h = net.op("Exp", net.op("Abs", h)) if op_type == "Acosh" else h
    net.head(net.op(op_type, h, **ATTRIBUTES.get(op_type, {})))


@case(FREE, opsets=(20,))
def gelu(net: Net) -> None:
    net.head(net.op("Gelu", net.op("Gelu", net.stem()), approximate="tanh"))


@case(FREE, opsets=(24,))
def swish(net: Net) -> None:
    net.head(net.op("Swish", net.stem(), alpha=1.5))


@case(FREE, opsets=(7, 11, 13))
def clip(net: Net) -> None:
    h = net.stem()
    if net.opset < 11:
        net.head(net.op("Clip", h, min=-0.5, max=0.5))
    else:
        net.head(net.op("Clip", net.op("Clip", h, net.number(-0.5)), None, net.number(0.5)))


@case(FREE, each={name: (name,) for name in ("IsInf", "IsNaN", "Not")})
def predicate(net: Net, op_type: str) -> None:
    """On a boolean, or on numbers that are infinite or not where another operator says so."""
    h = net.stem()
    mask = net.op("Greater", h, net.number(0.2))
    if op_type == "Not":
        found = net.op("Not", mask)
    else:
        value = np.inf if op_type == "IsInf" else np.nan
        found = net.op(op_type, net.op("Where", mask, net.number(value), h))
    net.head(net.op("Cast", found, to=FLOAT))


@case(FREE, each={name: (name,) for name in ("And", "Or", "Xor")})
def logical(net: Net, op_type: str) -> None:
    h = net.stem()
    found = net.op(op_type, net.op("Greater", h, net.number(0.2)), net.op("Less", h, net.number(0.4)))
    net.head(net.op("Cast", found, to=FLOAT))


@case(FREE, opsets=(18,), each={n: (n,) for n in words("BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor")})
def bitwise(net: Net, op_type: str) -> None:
    kind = TensorProto.UINT32 if op_type == "BitShift" else TensorProto.INT32
    h = net.op("Cast", net.op("Mul", net.op("Abs", net.stem()), net.number(9)), to=kind)
    if op_type == "BitwiseNot":
        found = net.op(op_type, h)
    elif op_type == "BitShift":
        found = net.op(op_type, h, np.array(1, np.uint32), direction="LEFT")
    else:
        found = net.op(op_type, h, np.arange(8, dtype=np.int32).reshape(8, 1, 1))
    net.head(net.op("Cast", found, to=FLOAT))


COMPARISONS = words("Equal Greater GreaterOrEqual Less LessOrEqual")


@case(FREE, each={name: (name,) for name in COMPARISONS})
def comparison(net: Net, op_type: str) -> None:
    h = net.op("Round", net.stem())
    found = net.op(op_type, h, np.round(net.normal(1, 8, 1, 1, scale=1.0)))
    net.head(net.op("Cast", found, to=FLOAT))


FORMS: dict[str, tuple[int, ...]] = {"1C11": (1, 8, 1, 1), "C11": (8, 1, 1), "scalar": (), "one": (1,), "space": (6, 6)}


@case(
    FREE,
    opsets=(7, 13),
    each={
        f"{name}-{form}-{side}": (name, shape, side)
        for name in ("Add", "Sub", "Mul", "Div")
        for form, shape in FORMS.items()
        for side in ("left", "right")
    },
)
def broadcast(net: Net, op_type: str, shape: tuple[int, ...], side: str) -> None:
    h = net.op("Sigmoid", net.stem())
    operands = (net.positive(*shape), h) if side == "left" else (h, net.positive(*shape))
    net.head(net.op(op_type, *operands))


@case(FREE, each={f"{n}-{f}": (n, FORMS[f]) for n in ("Max", "Min", "Mean", "Sum", "Pow") for f in ("C11", "scalar")})
def other_arithmetic(net: Net, op_type: str, shape: tuple[int, ...]) -> None:
    net.head(net.op(op_type, net.op("Sigmoid", net.stem()), net.positive(*shape)))


@case(FREE, each={"last": ((8,),), "1C": ((1, 8),), "LC": ((5, 8),), "1L1": ((1, 5, 1),)})
def broadcast_in_sequences(net: Net, shape: tuple[int, ...]) -> None:
    net.project(net.add(net.positive(*shape), net.tokens()))


@case({"a": 8, "b": 8})
def outer_sum_of_two_axes(net: Net) -> None:
    """(N, 8, 1) + (N, 1, 8): two groups in one tensor."""
    x = net.input(6)
    left, right = net.unsqueeze(net.gemm(x, 8, name="a"), 2), net.unsqueeze(net.gemm(x, 8, name="b"), 1)
    net.output(net.matmul(net.mean(net.relu(net.add(left, right)), 1, keepdims=0), 4))
    net.output(net.matmul(net.mean(net.add(left, right), 2, keepdims=0), 4))


@case({"a": 8}, opsets=(7, 9, 11, 13, 17, 21, 23), each={"1": ((8, 1, 1),), "one": ((1,),), "CHW": ((8, 6, 6),)})
def prelu(net: Net, shape: tuple[int, ...]) -> None:
    net.head(net.op("PRelu", net.stem(), net.positive(*shape)))


@case({"a": 8})
def sums_of_three(net: Net) -> None:
    """Three producers and a constant meet: one group."""
    x = net.input(3, 6, 6)
    parts = [net.conv(x, 8, name=name) for name in "abc"]
    h = net.op("Sum", *parts, net.normal(8, 1, 1))
    h = net.op("Max", h, net.op("Mean", *parts), net.op("Min", *parts))
    net.head(h)


@case(FREE)
def residual(net: Net) -> None:
    h = net.relu(net.bn(net.stem()))
    net.head(net.relu(net.add(net.bn(net.conv(h, 8, 3, pads=[1, 1, 1, 1])), h)))


@case(FREE)
def where(net: Net) -> None:
    h = net.stem()
    mask = net.op("Greater", h, net.normal(8, 1, 1))
    net.head(net.op("Where", mask, h, net.normal(1, 8, 1, 1)))


@case({}, {"a": "Where aligns it with an axis that cannot shrink"})
def where_with_a_constant_condition(net: Net) -> None:
    """Boolean constants are no weights."""
    h = net.stem()
    net.head(net.op("Where", np.arange(8).reshape(8, 1, 1) % 3 == 0, h, net.number(0)))


@case(FREE)
def modulo(net: Net) -> None:
    net.head(net.op("Mod", net.stem(), net.positive(8, 1, 1), fmod=1))


@case(FREE, opsets=(15, 19))
def cast_like(net: Net) -> None:
    net.head(net.op("CastLike", net.op("Cast", net.stem(), to=TensorProto.DOUBLE), net.normal(2, 5)))


@case(FREE, opsets=(7, 10, 13, 17))
def dropout(net: Net) -> None:
    net.head(net.op("Dropout", net.stem()))


@case(FREE)
def dropout_with_its_mask(net: Net) -> None:
    value, mask = net.many("Dropout", 2, net.stem())
    net.head(net.op("Mul", value, net.op("Cast", mask, to=FLOAT)))


@case({}, {"a": "Add aligns it with an axis that cannot shrink"})
def added_to_an_input(net: Net) -> None:
    net.head(net.add(net.stem(), net.input(8, 6, 6)))


@case({}, {"a": "it belongs to a graph output"})
def two_outputs_from_one_trunk(net: Net) -> None:
    h = net.stem()
    net.output(h)
    net.head(net.relu(h))


@case({}, {"a": "Add aligns it with an axis that cannot shrink"})
def added_to_64_bit_integers(net: Net) -> None:
    """A constant whose type makes it a position, not a weight."""
    h = net.op("Cast", net.op("Mul", net.stem(), net.number(5)), to=TensorProto.INT64)
    net.head(net.op("Cast", net.add(h, np.arange(8).reshape(8, 1, 1)), to=FLOAT))


@case(FREE, each={n: (n,) for n in ("QuickGelu", "FastGelu", "Gelu")})
def contrib_activation(net: Net, op_type: str) -> None:
    net.project(net.hint(net.op(op_type, net.tokens(), domain=MICROSOFT), 5, 8))


@case(FREE, each={"BiasGelu": ("BiasGelu",), "FastGelu": ("FastGelu",)})
def contrib_bias_activation(net: Net, op_type: str) -> None:
    h = net.matmul(net.input(5, 6), 8, name="a")
    net.project(net.hint(net.op(op_type, h, net.normal(8), domain=MICROSOFT), 5, 8))


@case(FREE, opsets=(10, 13, 17, 21), each={"tensor": (False,), "axis": (True,)})
def quantize(net: Net, per_axis: bool) -> None:
    """Activations through QuantizeLinear and DequantizeLinear: per tensor, or per channel since opset 13."""
    per_axis = per_axis and net.opset >= 13
    scale = np.full(8, 0.05, np.float32) * np.arange(1, 9, dtype=np.float32) if per_axis else net.number(0.05)
    zero = np.arange(8, dtype=np.uint8) + 120 if per_axis else np.array(128, np.uint8)
    extra: dict[str, Any] = {"axis": 1} if per_axis else {}
    h = net.op("QuantizeLinear", net.stem(), scale, zero, **extra)
    net.head(net.op("DequantizeLinear", h, scale, zero, **extra))


@case({"a": 3, "b": 4}, opsets=(21,))
def blockwise_weights(net: Net) -> None:
    """Three blocks of two."""
    weight = net.op(
        "DequantizeLinear",
        np.arange(24, dtype=np.int8).reshape(6, 4),
        np.full((3, 4), 0.1, np.float32),
        axis=0,
        block_size=2,
    )
    h = net.relu(net.op("MatMul", net.dense(net.input(5, 6), 6, name="a"), weight, name="b"))
    net.output(net.op("MatMul", h, net.normal(4, 3)))


@case({}, {"a": "the rank of its"})
def unknown_rank(net: Net) -> None:
    """A target that nobody knows before it runs."""
    h = net.stem()
    target = net.op("Cast", net.op("ReduceSum", net.op("Cast", net.op("Greater", h, h), to=1), keepdims=0), to=7)
    positions = net.op("Range", target, np.array(4), np.array(1))
    free = net.op("Reshape", h, net.concat(net.op("Add", positions, ints(1)), axis=0))
    net.output(net.relu(free))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()


def test_bias_add_ties_bias_skip_and_data() -> None:
    """com.microsoft.BiasAdd exists for GPUs only: traced and cut, not run."""
    from onnxprune.cut import cut
    from onnxprune.model.load import load
    from onnxprune.trace import trace_model

    net = Net()
    h = net.matmul(net.input(5, 6), 8, name="a")
    skip = net.matmul(net.input(5, 6), 8, name="b")
    net.project(net.hint(net.op("BiasAdd", h, net.normal(8), skip, domain=MICROSOFT, name="ba"), 5, 8))
    trace = trace_model(load(net.model()))
    assert {g.name: g.size for g in trace.prunable} == {"a": 8}
    keep = np.ones(trace.unit_count, bool)
    keep[trace.prunable[0].units[:3]] = False
    shapes = sorted(t.shape for t in cut(trace, keep).tensors.values())
    assert shapes == [(5,), (5, 4), (6, 5), (6, 5)]


ALSO = [(MICROSOFT, "BiasAdd")]

"""Every operator on integers gives what the operator of floats between quantisers does, and can be written back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.quantizing.qoperator.back import with_quantisers
from onnxprune.quantizing.qoperator.forward import with_operators
from onnxprune.quantizing.qoperator.table import MOVES, OPERATORS, SUFFIX
from tests.builders import Net, ints

Array = NDArray[Any]
Write = Callable[["Between"], str]


class Between(Net):
    """A network whose values can be rounded: `quantised` puts a pair of quantisers behind one."""

    def __init__(self, signed: bool = False, opset: int = 17) -> None:
        super().__init__(opset)
        self.kind = np.int8 if signed else np.uint8
        self.zero = 3 if signed else 120

    def quantised(self, x: str, scale: float = 0.02, zero: int | None = None) -> str:
        point = self.kind(self.zero if zero is None else zero)
        integers = self.op("QuantizeLinear", x, np.float32(scale), point)
        return self.op("DequantizeLinear", integers, np.float32(scale), point)

    def stored(self, *shape: int, axis: int | None = None) -> str:
        """A weight of signed integers, with a scale for each index of an axis."""
        size = () if axis is None else (shape[axis],)
        scale = self.rng.uniform(0.005, 0.02, size).astype(np.float32)
        weight = self.rng.integers(-127, 128, shape).astype(np.int8)
        attributes = {} if axis is None else {"axis": axis}
        self.last = scale
        return self.op("DequantizeLinear", weight, scale, np.zeros(size, np.int8), **attributes)

    def bias(self, count: int, scale: float = 0.02) -> str:
        steps = np.asarray(np.float32(scale) * self.last, np.float32)
        values = self.rng.integers(-3000, 3000, count).astype(np.int32)
        return self.op("DequantizeLinear", values, steps, axis=0)

    def given(self, *shape: int) -> str:
        return self.quantised(self.declare(self.fresh("x"), list(shape)))


def plain(op_type: str, *shape: int, **attributes: Any) -> Write:
    return lambda net: net.op(op_type, net.given(*shape), **attributes)


def convolution(net: Between) -> str:
    x, w = net.given(1, 4, 7, 7), net.stored(8, 2, 3, 3, axis=0)
    return net.op("Conv", x, w, net.bias(8), group=2, pads=[1, 0, 1, 2], strides=[2, 1])


def bare_convolution(net: Between) -> str:
    return net.op("Conv", net.given(1, 4, 7), net.stored(6, 4, 3), dilations=[2])


def gemm(net: Between) -> str:
    x, w = net.given(3, 5), net.stored(7, 5, axis=0)
    return net.op("Gemm", x, w, net.bias(7), transB=1, alpha=1.0, beta=1.0)


CASES: dict[str, tuple[str, Write]] = {
    "Conv": ("QLinearConv", convolution),
    "Conv without a bias": ("QLinearConv", bare_convolution),
    "Gemm": ("QGemm", gemm),
    "Gemm without a bias": ("QGemm", lambda net: net.op("Gemm", net.given(3, 5), net.stored(5, 4))),
    "MatMul": ("QLinearMatMul", lambda net: net.op("MatMul", net.given(2, 3, 5), net.stored(5, 4, axis=1))),
    "MatMul of two": ("QLinearMatMul", lambda net: net.op("MatMul", net.given(2, 3, 5), net.given(2, 5, 4))),
    "Add": ("QLinearAdd", lambda net: net.add(net.given(2, 3, 4), net.given(3, 1))),
    "Mul": ("QLinearMul", lambda net: net.op("Mul", net.given(2, 3, 4), net.given(2, 3, 4))),
    "Sigmoid": ("QLinearSigmoid", plain("Sigmoid", 3, 50)),
    "LeakyRelu": ("QLinearLeakyRelu", plain("LeakyRelu", 3, 50)),
    "LeakyRelu, alpha": ("QLinearLeakyRelu", plain("LeakyRelu", 3, 50, alpha=0.3)),
    "Softmax": ("QLinearSoftmax", plain("Softmax", 3, 10)),
    "Softmax, axis": ("QLinearSoftmax", plain("Softmax", 3, 4, 5, axis=1)),
    "AveragePool": (
        "QLinearAveragePool",
        plain("AveragePool", 1, 3, 8, 8, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1),
    ),
    "GlobalAveragePool": ("QLinearGlobalAveragePool", plain("GlobalAveragePool", 2, 3, 5, 5)),
    "Concat": ("QLinearConcat", lambda net: net.concat(net.given(1, 2, 3), net.given(1, 4, 3), net.given(1, 1, 3))),
    "MaxPool": ("MaxPool", plain("MaxPool", 1, 3, 8, 8, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
    "Resize": ("Resize", lambda net: net.op("Resize", net.given(1, 2, 3, 3), "", np.float32([1, 1, 2, 3]))),
    "Pad": ("Pad", lambda net: net.op("Pad", net.given(2, 3), ints(1, 0, 0, 2))),
    "Pad by 0": ("Pad", lambda net: net.op("Pad", net.given(2, 3), ints(1, 0, 0, 2), np.float32(0))),
    "Pad by the edge": ("Pad", lambda net: net.op("Pad", net.given(2, 3), ints(1, 0, 0, 2), mode="edge")),
    "Reshape": ("Reshape", lambda net: net.reshape(net.given(2, 3, 4), 0, -1)),
    "Transpose": ("Transpose", plain("Transpose", 2, 3, 4, perm=[2, 0, 1])),
    "Squeeze": ("Squeeze", lambda net: net.squeeze(net.given(2, 1, 4), 1)),
    "Unsqueeze": ("Unsqueeze", lambda net: net.unsqueeze(net.given(2, 4), 1)),
    "Flatten": ("Flatten", plain("Flatten", 2, 3, 4)),
    "Slice": ("Slice", lambda net: net.slice(net.given(2, 9), 1, 8, 1, 2)),
    "Gather": ("Gather", lambda net: net.op("Gather", net.given(5, 3), ints(4, 0, 0), axis=0)),
    "Split": ("Split", lambda net: net.split(net.given(2, 6), 2, 4)[1]),
}
GRIDS = {"AveragePool": (0.02, None), "Softmax": (1 / 256, -128), "Sigmoid": (1 / 256, -128)}


def network(case: str, signed: bool, opset: int) -> ModelProto:
    """Quantisers around one node; the outputs of a move are on the grid of its input."""
    name, write = CASES[case]
    net = Between(signed, opset)
    write(net)
    scale, zero = (0.02, None) if name in MOVES else GRIDS.get(case.split(",")[0], (0.07, None))
    if zero is not None and not signed:
        zero += 128
    kept = [net.quantised(key, scale, zero) for key in net.nodes[-1].output]
    net.output(kept[-1])
    return net.model()


def ran(proto: ModelProto, feed: dict[str, Array], *, fused: bool = True) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])


def feeds(proto: ModelProto) -> Iterator[dict[str, Array]]:
    rng = np.random.default_rng(0)
    for size in (1.0, 8.0):
        yield {
            one.name: (size * rng.standard_normal([d.dim_value for d in one.type.tensor_type.shape.dim])).astype("f4")
            for one in proto.graph.input
        }


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
@pytest.mark.parametrize("case", CASES)
def test_an_operator_computes_the_same(case: str, signed: bool, opset: int) -> None:
    """As floats between quantisers, which nothing fuses; but for one step, where a sum lies between two."""
    before = network(case, signed, opset)
    found = with_operators(load(before))
    after = found.model.complete_proto()
    onnx.checker.check_model(after, full_check=True)
    assert not found.left
    kinds = [node.op_type for node in after.graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    assert kinds == [CASES[case][0]]
    again = with_quantisers(load(after)).complete_proto()
    step = next(node for node in reversed(before.graph.node) if node.op_type == "DequantizeLinear").input[1]
    scale = next(onnx.numpy_helper.to_array(one) for one in before.graph.initializer if one.name == step)
    for feed in feeds(before):
        wanted, integers, floats = ran(before, feed, fused=False), ran(after, feed), ran(again, feed, fused=False)
        np.testing.assert_array_equal(floats, wanted)
        assert np.abs(integers - wanted).max() <= 1.01 * scale
        assert (integers != wanted).mean() <= 0.2  # averages of six bytes are ties as often as this


def test_all_of_the_table_is_tried() -> None:
    assert {name.split(",")[0].split(" ")[0] for name in CASES} == {*OPERATORS, *MOVES}
    assert {name for name, _ in CASES.values()} == {*(one.name for one in OPERATORS.values()), *MOVES}


@pytest.mark.parametrize("case", CASES)
def test_shapes_and_types_of_integers_are_known(case: str) -> None:
    """As those of floats, so that work is counted."""
    before = network(case, False, 17)
    after = with_operators(load(before)).model
    found, wanted = infer(build(after)), infer(build(load(before)))
    values = [key for node in after.proto.graph.node for key in node.output if key.endswith(SUFFIX)]
    assert values
    for key in values:
        assert found.shapes[key] == wanted.shapes[key.removesuffix(SUFFIX)]
        assert found.dtypes[key] == TensorProto.UINT8


# ---- what stays ------------------------------------------------------------------------------------------------
def another_bias(net: Between) -> str:
    x, w = net.given(3, 5), net.stored(7, 5, axis=0)
    return net.op("Gemm", x, w, net.bias(7, scale=0.5), transB=1)


def float_bias(net: Between) -> str:
    return net.op("Gemm", net.given(3, 5), net.stored(7, 5, axis=0), net.normal(7), transB=1)


def read_twice(net: Between) -> str:
    found = net.op("Sigmoid", net.given(3, 5))
    net.output(net.op("Exp", found))
    return found


def taken_name(net: Between) -> str:
    found = net.op("Sigmoid", net.given(3, 5))
    net.output(net.op("Neg", net.constant(np.zeros(3, np.float32), f"{found}{SUFFIX}")))
    return found


def factor(net: Between) -> str:
    return net.op("Gemm", net.given(3, 5), net.stored(5, 4), alpha=0.5)


def other_types(net: Between) -> str:
    x = net.given(2, 3)
    net.kind, net.zero = np.int8, 3
    return net.add(x, net.given(2, 3))


LEFT: dict[str, Write] = {
    "its bias is none of 32 bits in the steps of its product": another_bias,
    "it reads floats": float_bias,
    "its output is read as floats": read_twice,
    "there is another value called": taken_name,
    "its product or its bias has a factor": factor,
    "its types are none that the operator on integers takes": other_types,
    "it has dilations": plain("AveragePool", 1, 3, 8, 8, kernel_shape=[2, 2], dilations=[2, 2]),
    "mode linear computes new values": lambda net: net.op(
        "Resize", net.given(1, 2, 3, 3), "", np.float32([1, 1, 2, 2]), mode="linear"
    ),
    "it pads with something other than 0": lambda net: net.op("Pad", net.given(2, 3), ints(1, 0, 0, 2), np.float32(1)),
    "its output is on another grid than its input": plain("Transpose", 2, 3),
    "there is no operator on integers for it": plain("Tanh", 2, 3),
}


@pytest.mark.parametrize("reason", LEFT)
def test_what_has_no_operator_stays_with_a_reason(reason: str) -> None:
    net = Between(opset=21 if "dilations" in reason else 17)
    value = LEFT[reason](net)
    node = next(one for one in net.nodes if value in one.output)
    scale = 0.05 if "another grid" in reason else 0.02
    net.output(net.quantised(value, scale))
    before = net.model()
    found = with_operators(load(before))
    ((label, why),) = found.left
    assert label == load_label(node) and why.startswith(reason)
    assert why in found.notes[0] and label in found.notes[0]
    kept = [one.op_type for one in found.model.proto.graph.node]
    assert kept == [one.op_type for one in before.graph.node]


def load_label(node: onnx.NodeProto) -> str:
    return node.name or f"{node.op_type}:{node.output[0]}"


def test_many_that_stay_are_counted() -> None:
    net = Between()
    h = net.given(2, 3)
    for _ in range(5):
        h = net.quantised(net.op("Tanh", h))
    net.output(h)
    (note,) = with_operators(load(net.model())).notes
    assert note.startswith("between quantisers stay ") and note.endswith(
        " and 2 more: there is no operator on integers for it"
    )


def test_the_domain_is_imported_only_where_it_is_used() -> None:
    for case, wanted in (("Conv", {""}), ("Add", {"", "com.microsoft"})):
        found = with_operators(load(network(case, False, 17))).model.proto
        assert {one.domain for one in found.opset_import} == wanted


def test_nothing_is_left_of_what_it_replaces() -> None:
    """No initializer of a scale of a bias, no quantiser that nobody reads."""
    found = with_operators(load(network("Conv", False, 17))).model
    read = {key for node in found.proto.graph.node for key in node.input}
    assert set(found.tensors) <= read
    assert [one.op_type for one in found.proto.graph.node] == ["QuantizeLinear", "QLinearConv", "DequantizeLinear"]

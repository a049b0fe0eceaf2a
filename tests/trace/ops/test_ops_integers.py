"""Products of integers, quantisers whose range is that of the whole tensor, and operators between scales."""

from __future__ import annotations

import numpy as np
import pytest

from onnxprune.model.folding import folded
from onnxprune.model.load import load
from onnxprune.model.read_numbers import numbers
from onnxprune.shrinking.publish import prove_in_memory
from onnxprune.trace import trace_model
from tests import oracle
from tests.builders import MICROSOFT, Array, Net
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
BYTE, SIGNED, WIDE = np.uint8, np.int8, np.int32
ZERO = np.array(120, BYTE)


def bytes_of(net: Net, *shape: int, dtype: type = BYTE) -> Array:
    bounds = np.iinfo(dtype)
    return net.rng.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)


def scaled(net: Net, product: str, scale: str, weight_scale: Array) -> str:
    """Cast and Mul by both scales, as quantisers write them."""
    return net.op("Mul", net.op("Cast", product, to=1), net.op("Mul", scale, weight_scale))


def integer_conv(
    net: Net, x: str, out: int, kernel: int = 3, *, name: str = "", group: int = 1, per_channel: bool = False
) -> str:
    """A float convolution, quantised dynamically."""
    q, scale, zero = net.many("DynamicQuantizeLinear", 3, x)
    weight = bytes_of(net, out, net.channels(x) // group, kernel, kernel)
    y = net.op("ConvInteger", q, weight, zero, ZERO, name=name, group=group, pads=[kernel // 2] * 4)
    factor = net.positive(1, out, 1, 1) * np.float32(0.01) if per_channel else net.number(0.01)
    return net.add(scaled(net, y, scale, factor), net.normal(1, out, 1, 1))


def integer_matmul(net: Net, x: str, out: int, *, name: str = "", per_channel: bool = False) -> str:
    q, scale, zero = net.many("DynamicQuantizeLinear", 3, x)
    weight = bytes_of(net, net.channels(x, -1), out, dtype=SIGNED if per_channel else BYTE)
    weight_zero = np.zeros(out, SIGNED) if per_channel else ZERO
    y = net.op("MatMulInteger", q, weight, zero, weight_zero, name=name)
    factor = net.positive(out) * np.float32(0.01) if per_channel else net.number(0.01)
    return net.add(scaled(net, y, scale, factor), net.normal(out))


def quantize(net: Net, x: str, scale: float = 0.03, zero: int = 120) -> str:
    return net.op("QuantizeLinear", x, net.number(scale), np.array(zero, BYTE))


def back(net: Net, q: str, scale: float = 0.03, zero: int = 120) -> str:
    return net.op("DequantizeLinear", q, net.number(scale), np.array(zero, BYTE))


EACH = {"tensor": (False,), "channel": (True,)}


# ---- quantised in every run ------------------------------------------------------------------------------------
@case({"a": 8, "b": 8}, each=EACH)
def dynamic_convolutions(net: Net, per_channel: bool) -> None:
    h = net.relu(integer_conv(net, net.input(3, 6, 6), 8, name="a", per_channel=per_channel))
    h = net.relu(integer_conv(net, h, 8, name="b", per_channel=per_channel))
    net.output(integer_conv(net, h, 4, 1))


@case({"a": 8})
def dynamic_depthwise(net: Net) -> None:
    h = net.relu(integer_conv(net, net.stem(), 8, name="d", group=8))
    net.output(integer_conv(net, h, 4, 1))


@case({"a": 8, "g": 8})
def dynamic_groups(net: Net) -> None:
    h = net.relu(integer_conv(net, net.relu(net.stem()), 8, name="g", group=2))
    net.output(integer_conv(net, h, 4, 1))


@case({"a": 8})
def dynamic_shortcut(net: Net) -> None:
    h = net.relu(net.stem())
    h = net.add(h, integer_conv(net, h, 8, name="b"))
    net.head(net.relu(h))


@case({"a": 8, "b": 8}, each=EACH)
def dynamic_products(net: Net, per_channel: bool) -> None:
    h = net.relu(integer_matmul(net, net.input(5, 6), 8, name="a", per_channel=per_channel))
    h = net.relu(integer_matmul(net, h, 8, name="b", per_channel=per_channel))
    net.output(integer_matmul(net, h, 4))


@case({"a": 8})
def integers_that_are_moved(net: Net) -> None:
    """What ends at the product is held at the zero point of the input, which is none of the product's neighbours."""
    q, scale, zero = net.many("DynamicQuantizeLinear", 3, net.transpose(net.relu(net.tokens()), 0, 2, 1))
    y = net.op("MatMulInteger", net.transpose(q, 0, 2, 1), bytes_of(net, 8, 4), zero, ZERO)
    net.output(scaled(net, y, scale, net.number(0.01)))


@case({"q": 8})
def scores_of_integers(net: Net) -> None:
    """Queries with keys, both quantised in every run; rows of values are positions of the sequence."""
    x = net.input(5, 6)
    query, key = net.dense(x, 8, name="q"), net.transpose(net.dense(x, 8, name="k"), 0, 2, 1)
    first, scale, zero = net.many("DynamicQuantizeLinear", 3, query)
    second, other, shift = net.many("DynamicQuantizeLinear", 3, key)
    y = net.op("MatMulInteger", first, second, zero, shift)
    net.output(net.op("Mul", net.op("Cast", y, to=1), net.op("Mul", scale, other)))


@case({"a": 8, "m": 6}, each=EACH)
def dynamic_product_in_one(net: Net, per_channel: bool) -> None:
    scale, zero = (net.positive(6) * 0.01, np.zeros(6, SIGNED)) if per_channel else (net.number(0.01), np.int8(3))
    weight = bytes_of(net, 8, 6, dtype=SIGNED)
    x = net.relu(net.tokens())
    inputs = x, weight, np.asarray(scale, np.float32), np.asarray(zero), net.normal(6)
    h = net.op("DynamicQuantizeMatMul", *inputs, name="m", domain=MICROSOFT)
    net.project(net.relu(net.hint(h, 5, 6)))


@case({"a": 8})
def channels_as_rows_of_a_dynamic_product(net: Net) -> None:
    """(N, C, L): the range is that of all channels."""
    h = net.transpose(net.relu(net.tokens(8, length=6)), 0, 2, 1)
    y = net.op("DynamicQuantizeMatMul", h, bytes_of(net, 6, 5), net.number(0.01), ZERO, domain=MICROSOFT)
    net.project(net.transpose(net.hint(y, 8, 5), 0, 2, 1))


@case({"a": 8, "m": 6})
def integer_product_to_float(net: Net) -> None:
    q, scale, zero = net.many("DynamicQuantizeLinear", 3, net.relu(net.tokens()))
    inputs = q, bytes_of(net, 8, 6), scale, net.positive(6) * np.float32(0.01), zero, bytes_of(net, 6), net.normal(6)
    h = net.op("MatMulIntegerToFloat", *inputs, name="m", domain=MICROSOFT)
    net.project(net.relu(net.hint(h, 5, 6)))


@case({}, {"a": "MatMulInteger is refused: its input 2 has more than one scale or zero point"})
def rows_with_zero_points(net: Net) -> None:
    q = quantize(net, net.relu(net.tokens(length=5)))
    y = net.op("MatMulInteger", q, bytes_of(net, 8, 4), bytes_of(net, 5), ZERO)
    net.output(net.op("Cast", y, to=1))


# ---- floats between quantisers ---------------------------------------------------------------------------------
@case({"a": 8, "g": 12}, each={"tensor": (False, ""), "channel": (True, ""), "microsoft": (True, MICROSOFT)})
def grouped_convolution_between_quantisers(net: Net, per_channel: bool, domain: str) -> None:
    """Every group loses as many inputs, scales and zero points follow the outputs."""
    weight = bytes_of(net, 12, 4, 3, 3, dtype=SIGNED)
    scale = net.positive(12) * np.float32(0.005) if per_channel else net.number(0.005)
    zero = np.zeros(12, SIGNED) if per_channel else np.asarray(np.int8(2))
    w = net.op("DequantizeLinear", weight, scale, zero, axis=0)
    x = net.relu(net.stem())
    q = net.op("QuantizeLinear", x, net.number(0.03), ZERO, domain=domain)
    x = net.hint(net.op("DequantizeLinear", q, net.number(0.03), ZERO, domain=domain), 8, 6, 6)
    net.head(net.hint(net.relu(net.op("Conv", x, w, name="g", group=2)), 12, 4, 4))


# ---- between scales --------------------------------------------------------------------------------------------
def _conv(
    net: Net, q: str, out: int, *, name: str = "", kernel: int = 1, group: int = 1, per_channel: bool = False
) -> str:
    weight = bytes_of(net, out, net.channels(q) // group, kernel, kernel, dtype=SIGNED)
    scale = net.positive(out) * np.float32(0.01) if per_channel else net.number(0.01)
    zero = np.zeros(out, SIGNED) if per_channel else np.int8(0)
    bias = bytes_of(net, out).astype(WIDE)
    ends = net.number(0.03), ZERO, weight, scale, np.asarray(zero), net.number(0.03), ZERO, bias
    return net.op("QLinearConv", q, *ends, name=name, group=group, pads=[kernel // 2] * 4)


@case({"a": 8, "b": 8}, each=EACH)
def quantized_convolutions(net: Net, per_channel: bool) -> None:
    q = quantize(net, net.relu(net.stem()))
    q = _conv(net, q, 8, name="b", kernel=3, per_channel=per_channel)
    net.output(back(net, _conv(net, q, 4, per_channel=per_channel)))


@case({"a": 8})
def quantized_depthwise(net: Net) -> None:
    q = _conv(net, quantize(net, net.relu(net.stem())), 8, kernel=3, group=8)
    net.output(back(net, _conv(net, q, 4)))


@case({"a": 8, "b": 8})
def quantized_convolutions_of_signed_integers(net: Net) -> None:
    """int8 has no kernel of Where."""
    zero = np.int8(-5)
    q = net.op("QuantizeLinear", net.relu(net.stem()), net.number(0.03), np.asarray(zero))
    for out, name in ((8, "b"), (4, "")):
        ends = net.number(0.03), np.asarray(zero), bytes_of(net, out, 8, 1, 1, dtype=SIGNED), net.number(0.01)
        q = net.op("QLinearConv", q, *ends, np.asarray(np.int8(0)), net.number(0.03), np.asarray(zero), name=name)
    net.output(net.op("DequantizeLinear", q, net.number(0.03), np.asarray(zero)))


@case({"a": 8, "b": 8})
def quantized_products(net: Net) -> None:
    q = quantize(net, net.relu(net.tokens()))
    for out, name in ((8, "b"), (4, "")):
        ends = net.number(0.03), ZERO, bytes_of(net, 8, out), net.number(0.01), ZERO, net.number(0.05), ZERO
        q = net.op("QLinearMatMul", q, *ends, name=name)
    net.output(back(net, q))


@case({"a": 8, "b": 8}, each={"plain": (0,), "transposed": (1,)})
def quantized_gemms(net: Net, trans: int) -> None:
    q = quantize(net, net.relu(net.gemm(net.input(6), 8, name="a")))
    for out, name in ((8, "b"), (4, "")):
        weight = bytes_of(net, *((out, 8) if trans else (8, out)), dtype=SIGNED)
        scale, zero = net.positive(out) * np.float32(0.01), np.zeros(out, SIGNED)
        ends = net.number(0.03), ZERO, weight, scale, zero, bytes_of(net, out).astype(WIDE), net.number(0.05), ZERO
        q = net.op("QGemm", q, *ends, name=name, domain=MICROSOFT, transB=trans)
    net.output(back(net, q), rank=2)


@case({"a": 8}, each={"QLinearAdd": ("QLinearAdd",), "QLinearMul": ("QLinearMul",)})
def quantized_shortcut(net: Net, op_type: str) -> None:
    q = quantize(net, net.relu(net.stem()))
    other = net.op("QLinearSigmoid", q, net.number(0.03), ZERO, net.number(0.004), np.array(0, BYTE), domain=MICROSOFT)
    other = net.op(
        "QLinearLeakyRelu", other, net.number(0.004), np.array(0, BYTE), net.number(0.03), ZERO, domain=MICROSOFT
    )
    ends = net.number(0.03), ZERO, other, net.number(0.03), ZERO, net.number(0.06), ZERO
    net.head(net.hint(back(net, net.op(op_type, q, *ends, domain=MICROSOFT)), 8, 6, 6))


@case({"a": 8, "b": 8})
def quantized_pools_and_parts(net: Net) -> None:
    x = net.input(3, 6, 6)
    parts = [quantize(net, net.relu(net.conv(x, 8, name=name))) for name in ("a", "b")]
    ends = [end for part in parts for end in (part, net.number(0.03), ZERO)]
    q = net.op("QLinearConcat", net.number(0.03), ZERO, *ends, domain=MICROSOFT, axis=1)
    scales = net.number(0.03), ZERO, net.number(0.03), ZERO
    q = net.op("QLinearAveragePool", q, *scales, domain=MICROSOFT, kernel_shape=[2, 2])
    q = net.op("QLinearGlobalAveragePool", q, *scales, domain=MICROSOFT, channels_last=0)
    h = net.hint(net.op("Flatten", back(net, q)), 16)
    net.head(h)


@case({"b": 6}, {"a": "QLinearSoftmax normalises over it"})
def quantized_softmax(net: Net) -> None:
    q = quantize(net, net.tokens())
    ends = net.number(0.03), ZERO, net.number(0.004), np.array(0, BYTE)
    q = net.op("QLinearSoftmax", q, *ends, domain=MICROSOFT, axis=-1, opset=13)
    h = net.op("DequantizeLinear", q, net.number(0.004), np.array(0, BYTE))
    net.project(net.relu(net.dense(net.hint(h, 5, 8), 6, name="b")))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()


PROVEN = ["dynamic_convolutions-channel", "dynamic_products-tensor", "quantized_convolutions-tensor"]


@pytest.mark.parametrize("name", PROVEN)
def test_the_proof_tells_wrong_plans_apart(name: str) -> None:
    trace = trace_model(load(next(c for c in CASES if c.id == name).build().model()))
    keep, smaller, _ = oracle.remove(trace, 0)
    proof = prove_in_memory(trace, keep, smaller, threads=1)
    assert proof.sensitive and proof.worst <= proof.tolerance.relative


def test_what_leaves_takes_its_share_of_the_range_along() -> None:
    """One channel is a thousand times as large as the others: without it, these have finer steps."""
    net = Net()
    x = net.op("Mul", net.input(8), np.array([1] * 7 + [1000], np.float32))
    h = net.op("Mul", net.dense(x, 8, name="a"), net.number(1))
    net.output(integer_matmul(net, h, 4))
    proto = net.model()
    trace = trace_model(load(proto))
    keep, smaller, _ = oracle.remove(trace, 2)
    oracle.compare(trace, keep, smaller)


def test_scores_see_what_integers_stand_for() -> None:
    """Zero points are taken off, and scales that are multiplied behind the product are put on."""
    net = Net()
    net.output(integer_matmul(net, net.input(5, 6), 8, name="a", per_channel=True))
    graph = trace_model(load(net.model())).graph
    node = next(one for one in graph.nodes if one.op_type == "MatMulInteger")
    scale = next(c for c in graph.constants.values() if c.shape == (8,) and c.dtype == 1).array()
    assert np.allclose(numbers(graph, node, 1), folded(graph, node.inputs[1]).astype(float) * scale)

"""Networks that round in every run anew, compared without that: what computes with integers computes with floats."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from onnxprune.model.load import load
from onnxprune.proof.dynamic import is_understood
from onnxprune.proof.masked import mutated
from onnxprune.proof.unrounded import AlwaysRounds, unrounded
from onnxprune.trace import trace_model
from onnxprune.trace.reference import build_reference
from tests.builders import MICROSOFT, Net
from tests.hostile.support import run
from tests.oracle import difference, remove
from tests.trace.ops.test_ops_integers import integer_conv, integer_matmul


def mixed(net: Net) -> str:
    """A convolution, and three products of integers."""
    h = net.relu(integer_conv(net, net.input(3, 6, 6, name="x"), 8, 3))
    h = net.relu(integer_matmul(net, net.transpose(net.reshape(h, 0, 8, 36), 0, 2, 1), 8))
    weight = net.rng.integers(-128, 128, (8, 6)).astype(np.int8)
    parts = net.positive(6) * np.float32(0.01), np.zeros(6, np.int8), net.normal(6)
    h = net.hint(net.op("DynamicQuantizeMatMul", h, weight, *parts, domain=MICROSOFT), 36, 6)
    q, scale, zero = net.many("DynamicQuantizeLinear", 3, h)
    ends = scale, net.positive(4) * np.float32(0.01), zero, None, net.normal(4)
    weight = net.rng.integers(0, 256, (6, 4)).astype(np.uint8)
    return net.op("MatMulIntegerToFloat", q, weight, *ends, domain=MICROSOFT)


def test_it_computes_nearly_the_same() -> None:
    net = Net()
    net.output(mixed(net), rank=3)
    model = load(net.model())
    smooth = unrounded(model, trace_model(model).facts)
    operators = Counter(node.op_type for node in smooth.proto.graph.node)
    assert operators["Conv"] == 1 and operators["MatMul"] == 3
    assert not operators.keys() & {"ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
    x = {"x": np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)}
    rounded, exact = run(model, x)[0], run(smooth, x)[0]
    assert 0 < np.abs(rounded - exact).max() < 0.05 * np.abs(rounded).max()


def test_what_moves_integers_is_not_understood() -> None:
    net = Net()
    q, scale, zero = net.many("DynamicQuantizeLinear", 3, net.input(4, 5))
    weight = net.rng.integers(0, 256, (4, 3)).astype(np.uint8)
    y = net.op("MatMulInteger", net.transpose(q, 0, 2, 1), weight, zero)
    net.output(net.op("Mul", net.op("Cast", y, to=1), scale))
    model = load(net.model())
    assert not is_understood(model)
    with pytest.raises(AlwaysRounds):
        unrounded(model, trace_model(model).facts)


def test_without_steps_cut_and_masked_network_agree_to_the_last_digits() -> None:
    """Normalisations, which the reference spells out, differ in the last bit; with steps these would, some times."""
    net = Net()
    h = net.dense(net.input(12, name="x"), 16, name="a")
    for number in range(4):
        h = net.op("LayerNormalization", h, net.positive(16), net.normal(16), axis=-1)
        h = net.relu(integer_matmul(net, h, 16, name=f"m{number}"))
    net.output(integer_matmul(net, h, 4))
    trace = trace_model(load(net.model()))
    keep, smaller, _ = remove(trace, 0)
    masked = build_reference(trace)
    reference, result = unrounded(masked.model, trace.facts), unrounded(smaller, trace.facts)
    x = {"x": np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)}
    right, wrong = (run(reference, {**x, **masked.feed(one)})[0] for one in (keep, mutated(trace, keep)))
    assert difference(right, run(result, x)[0]) < 1e-5 < difference(wrong, run(result, x)[0])

"""MatMulNBits: rows of the packed weight are outputs, blocks of its inputs leave whole; other scales of blocks."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from onnxprune.cut import cut
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.model.cost import total
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.model.packed_weights import join_bits, split_bits
from onnxprune.model.read_numbers import numbers
from onnxprune.shrinking.publish import prove_in_memory
from onnxprune.trace import trace_model
from tests import oracle
from tests.builders import MICROSOFT, Array, Net, ints
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
BLOCK = 16


def packed(net: Net, x: str, inputs: int, outputs: int, *, name: str = "", **how: Any) -> str:
    """A layer of 4 (or `bits`) bits. `zero`: none, packed, floats; `flat`: scales and zero points on one axis."""
    bits, zero, flat = how.get("bits", 4), how.get("zero", ""), how.get("flat", False)
    blocks = -(-inputs // BLOCK)
    weight = net.rng.integers(0, 256, (outputs, blocks, BLOCK * bits // 8), np.uint8)
    parts: list[Array | None] = [net.positive(outputs, blocks) * np.float32(0.3 / 2**bits)]
    if zero == "packed":
        parts.append(net.rng.integers(0, 256, (outputs, -(-blocks * bits // 8)), np.uint8))
    elif zero:
        parts.append(net.positive(outputs, blocks) * np.float32(2 ** (bits - 1)))
    parts = [part.ravel() if flat and part is not None else part for part in parts]
    if how.get("bias"):
        parts += [None] * (4 - 1 - len(parts)) + [net.normal(outputs)]
    sizes = {"K": inputs, "N": outputs, "bits": bits, "block_size": BLOCK}
    return net.hint(net.op("MatMulNBits", x, weight, *parts, name=name, domain=MICROSOFT, **sizes), 5, outputs)


@case(
    {"a": 4, "b": 2},
    each={
        "plain": ({},),
        "flat": ({"flat": True},),
        "packed": ({"zero": "packed"},),
        "packed-flat": ({"zero": "packed", "flat": True},),
        "floats": ({"zero": "floats"},),
        "8-bits": ({"bits": 8, "zero": "packed"},),
        "bias": ({"zero": "packed", "bias": True},),
    },
)
def layers(net: Net, how: dict[str, Any]) -> None:
    h = net.relu(packed(net, net.input(5, 32), 32, 64, name="a", **how))
    h = net.relu(packed(net, h, 64, 32, name="b", **how))
    net.output(packed(net, h, 32, 5, **how))


@case({"a": 3}, each={"even": (48,), "short": (44,)})
def behind_a_layer_of_floats(net: Net, width: int) -> None:
    """The last block may be shorter."""
    net.output(packed(net, net.relu(net.tokens(width)), width, 6, zero="packed"))


@case({"b": 12}, {"a": "it is one block of MatMulNBits, which has one scale"})
def one_block(net: Net) -> None:
    h = net.relu(packed(net, net.relu(net.tokens(12)), 12, 12, name="b"))
    net.project(h)


@case({}, {"a": "its blocks are in another order than its inputs (g_idx)"})
def inputs_in_another_order(net: Net) -> None:
    weight, scale = net.rng.integers(0, 256, (4, 2, 8), np.uint8), net.positive(4, 2)
    order = (np.arange(32) // BLOCK).astype(np.int32)
    inputs = net.relu(net.tokens(32)), weight, scale, None, order
    y = net.op("MatMulNBits", *inputs, domain=MICROSOFT, K=32, N=4, bits=4, block_size=BLOCK)
    net.output(y, rank=3)


@case({}, {"a": "its weight, its scales or its zero points are no constants"})
def scales_from_outside(net: Net) -> None:
    weight, scale = net.rng.integers(0, 256, (4, 2, 8), np.uint8), net.declare("s", [4, 2])
    inputs = net.relu(net.tokens(32)), weight, scale
    y = net.op("MatMulNBits", *inputs, domain=MICROSOFT, K=32, N=4, bits=4, block_size=BLOCK)
    net.output(y, rank=3)


# ---- DequantizeLinear ------------------------------------------------------------------------------------------
def stored(net: Net, inputs: int, outputs: int, *, block: int = BLOCK, axis: int = 0, zero: bool = False) -> str:
    """A weight (inputs, outputs), or (outputs, inputs) for `axis` 1, of 4 bits."""
    shape, blocks = [inputs, outputs], [-(-inputs // block), outputs]
    shape, blocks = (shape, blocks) if axis == 0 else (shape[::-1], blocks[::-1])
    weight = net.rng.integers(-8, 8, shape).astype(ml_dtypes.int4)
    zeros = [net.rng.integers(-2, 3, blocks).astype(ml_dtypes.int4)] if zero else []
    scale = net.positive(*blocks) * np.float32(0.05)
    return net.op("DequantizeLinear", weight, scale, *zeros, axis=axis, block_size=block)


@case({"a": 4, "b": 2}, opsets=(21, 23), each={"plain": (False,), "zero": (True,)})
def scales_in_blocks(net: Net, zero: bool) -> None:
    h = net.relu(net.op("MatMul", net.input(5, 32), stored(net, 32, 64, zero=zero), name="a"))
    h = net.relu(net.op("MatMul", h, stored(net, 64, 32, zero=zero), name="b"))
    net.output(net.op("MatMul", h, stored(net, 32, 5, zero=zero)))


@case({"a": 3}, opsets=(21,))
def scales_in_blocks_of_a_transposed_weight(net: Net) -> None:
    h = net.relu(net.gemm(net.input(6), 48, name="a"))
    net.output(net.op("Gemm", h, stored(net, 48, 5, axis=1), transB=1))


@case({"a": 12}, opsets=(21,))
def scales_of_one_block(net: Net) -> None:
    """What stays of a single block is one."""
    net.output(net.op("MatMul", net.relu(net.tokens(12)), stored(net, 12, 5, block=12)))


@case({}, {"a": "sums over it together with an axis that cannot shrink"}, opsets=(21,))
def scales_of_another_shape(net: Net) -> None:
    weight, scale = net.rng.integers(-8, 8, (32, 5)).astype(np.int8), net.positive(4, 5)
    w = net.op("DequantizeLinear", weight, scale, axis=0, block_size=16)
    net.output(net.op("MatMul", net.relu(net.tokens(32)), w), rank=3)


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()


@pytest.mark.parametrize("name", ["layers-packed-flat", "scales_in_blocks-zero-opset21"])
def test_the_proof_tells_wrong_plans_apart(name: str) -> None:
    trace = trace_model(load(next(c for c in CASES if c.id == name).build().model()))
    keep, smaller, _ = oracle.remove(trace, 0)
    proof = prove_in_memory(trace, keep, smaller, threads=1)
    assert proof.sensitive and proof.worst <= proof.tolerance.relative


def test_its_cost_is_known_before_and_after() -> None:
    trace = trace_model(load(next(c for c in CASES if c.id == "layers-packed").build().model()))
    keep, *_ = oracle.remove(trace, 0)
    graph = build(cut(trace, keep))
    assert PlannedCost(trace).macs(keep) == total(graph, infer(graph))[0] > 0
    assert total(trace.graph, trace.facts)[0] == 5 * (32 * 64 + 64 * 32 + 32 * 5)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_numbers_are_packed_as_they_were(bits: int, count: int) -> None:
    rng = np.random.default_rng(count)
    values = rng.integers(0, 2**bits, (3, count), np.uint8)
    assert np.array_equal(split_bits(join_bits(values, bits), bits, count), values)


@pytest.mark.parametrize("how", [{}, {"zero": "packed"}, {"zero": "floats", "flat": True}, {"bits": 8}])
def test_scores_see_what_the_layer_computes_with(how: dict[str, Any]) -> None:
    """The product with the unit vectors is the weight."""
    net = Net()
    net.output(packed(net, net.input(5, 32), 32, 6, **how))
    model = net.model()
    graph = trace_model(load(model)).graph
    unit = np.eye(32, dtype=np.float32).reshape(-1, 4, 32)[:, np.arange(5) % 4]
    found = oracle.session(model).run(None, {graph.model.proto.graph.input[0].name: unit})[0][:, :4].reshape(32, 6)
    node = next(one for one in graph.nodes if one.op_type == "MatMulNBits")
    assert np.allclose(numbers(graph, node, 1).reshape(6, 32), found.T, atol=1e-5)
    assert ints(6, 2, BLOCK).tolist() == list(numbers(graph, node, 1).shape)

"""Sizes that inputs leave open: what is assumed, and what is tried where operators refuse that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.model.sizes import SIDES, default_size, input_shapes
from onnxprune.sparse.fuse import Shapes
from tests.builders import Net, ints


def lines_of_text(height: int | str, width: int | str) -> Net:
    """Rows are pooled until one is left, which is then joined with a summary of the whole: heights up to 64."""
    net = Net(17, seed=1)
    h = net.relu(net.conv(net.input(3, height, width, name="x"), 8, 3, name="a", pads=[1, 1, 1, 1], strides=[8, 1]))
    rows = net.op("MaxPool", h, kernel_shape=[8, 1], strides=[8, 1], ceil_mode=1)
    whole = net.op("ReduceMax", h, axes=[2], keepdims=1)
    net.output(net.conv(net.concat(rows, whole), 4, name="z"), rank=4)
    return net


@pytest.mark.parametrize("symbols", [("H", "W"), ("?", "?"), ("", "")])
def test_sides_that_operators_do_not_refuse(symbols: tuple[str, str], tmp_path: Path) -> None:
    proto = lines_of_text(64, 64).model()
    for dim, symbol in zip(proto.graph.input[0].type.tensor_type.shape.dim[2:], symbols, strict=True):
        dim.ClearField("dim_value")
        if symbol:
            dim.dim_param = symbol
    facts = infer(build(load(proto)))
    assert facts.inputs == {"x": (1, 3, SIDES[0], SIDES[0])}
    assert not facts.refused and all(None not in shape for shape in facts.shapes.values())
    result = onnxprune.shrink(load(proto), tmp_path / "out.onnx", ratio=0.5)
    assert result.proof is not None and "seed 0" in result.proof.cases


def test_what_fits_by_default_stays() -> None:
    facts = infer(build(load(of_symbol("H").model())))
    assert facts.inputs == {"x": (1, 3, 224, 224)} and facts.symbols == {"N": 1, "H": 224}


def of_symbol(symbol: str) -> Net:
    net = Net(17)
    net.head(net.conv(net.input(3, symbol, symbol, name="x"), 8, 3, name="a"))
    return net


def test_a_contradiction_at_any_size_leaves_the_defaults() -> None:
    net = Net(17)
    x = net.input(3, "H", 5, name="x")
    a, b = net.conv(x, 4, 1, name="a"), net.conv(x, 4, 2, name="b")
    net.output(net.op("Concat", a, b, axis=1), rank=4)
    facts = infer(build(load(net.model())))
    assert facts.refused and facts.symbols["H"] == 224


def test_symbols_that_say_nothing_are_no_symbols() -> None:
    net = Net(17)
    x = net.input("?", "?", "?", name="x")
    net.output(net.relu(x))
    model = load(net.model())
    shapes, symbols = input_shapes(model, {"x[2]": 40})
    assert shapes == {"x": (1, 224, 40, 224)} and symbols == {"x[2]": 40, "N": 1}


def test_signals_are_longer_than_texts() -> None:
    from onnx import TensorProto

    assert default_size(2, 1, TensorProto.FLOAT) == 512
    assert default_size(2, 1, TensorProto.INT64) == 32


@pytest.mark.parametrize("symbol", ["?", "", "seq"])
@pytest.mark.parametrize("order", [("ids", "mask"), ("mask", "ids")])
def test_masks_are_as_long_as_the_texts_that_they_belong_to(
    symbol: str, order: tuple[str, str], tmp_path: Path
) -> None:
    """Positions are looked up in a table of 128."""
    net = Net(17, seed=1)
    for name in order:
        net.declare(name, ["N", symbol or "L"], np.int64 if name == "ids" else np.float32)
    position = net.op("Slice", net.normal(128, 16), ints(0), net.size_of("ids", 1), ints(0))
    h = net.op("Mul", net.add(net.op("Gather", net.normal(50, 16), "ids"), position), net.unsqueeze("mask", 2))
    net.output(net.matmul(net.relu(net.matmul(h, 32)), 8), rank=3)
    proto = net.model()
    if not symbol:
        for value in proto.graph.input:
            value.type.tensor_type.shape.dim[1].ClearField("dim_param")
    assert infer(build(load(proto))).inputs == {"ids": (1, 32), "mask": (1, 32)}
    result = onnxprune.shrink(load(proto), tmp_path / "out.onnx", ratio=0.4)
    assert result.proof is not None and "seed 0" in result.proof.cases


def test_a_branch_that_is_not_taken_refuses_nothing() -> None:
    """As PyTorch exports squeeze: where the axis is not 1, its branch contradicts the shapes."""
    bodies = {}
    for name, op_type in (("then_branch", "Squeeze"), ("else_branch", "Identity")):
        inner = Net(17)
        inputs = [inner.constant(ints(2), f"{name}.axes")] if op_type == "Squeeze" else []
        bodies[name] = inner.body(name, [inner.op(op_type, "h", *inputs)])
    net = Net(17, seed=1)
    h = net.relu(net.conv(net.input(3, "H", "W", name="x"), 8, 3, name="a", strides=[32, 32]))
    net.nodes[-1].output[0] = "h"
    flag = net.op("Equal", net.size_of("h", 2), ints(1))
    net.nodes.append(onnx.helper.make_node("If", [flag], ["y"], name="If", **bodies))
    net.outputs.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None))
    facts = infer(build(load(net.model())))
    assert h and facts.inputs == {"x": (1, 3, 224, 224)} and not facts.refused


def test_what_may_broadcast_in_another_batch_is_not_equal() -> None:
    net = Net(17, seed=1, batch="?")
    one = net.conv(net.input(3, 6, 6, name="a"), 8, 3)
    other = net.conv(net.declare("b", [1, 3, 6, 6]), 8, 3)
    net.output(net.add(one, other))
    assert not Shapes.of(build(load(net.model()))).equal(one, other)


# ---- sizes that the graph forces -------------------------------------------------------------------------------
def positions() -> Net:
    """A table of 24 positions, cut to the length of the text."""
    net = Net(17)
    ids = net.declare("ids", ["N", "S"], np.int64)
    h = net.op("Gather", net.normal(20, 8), ids)
    length = net.op("Slice", net.op("Shape", ids), ints(1), ints(2))
    h = net.add(h, net.op("Slice", net.normal(1, 24, 8), ints(0), length, ints(1)))
    h = net.relu(net.op("MatMul", h, net.normal(8, 16), name="a"))
    net.output(net.op("MatMul", h, net.normal(16, 4), name="z"), rank=3)
    return net


def counted_positions() -> Net:
    """A table of 20 positions, read by 2, 3, ... up to the length of the text."""
    net = Net(17)
    ids = net.declare("ids", ["N", "S"], np.int64)
    length = net.op("Gather", net.op("Shape", ids), np.array(1))
    places = net.add(net.op("Range", np.array(0), length, np.array(1)), np.array(2))
    h = net.add(net.op("Gather", net.normal(20, 8), ids), net.op("Gather", net.normal(20, 8), places))
    h = net.relu(net.op("MatMul", h, net.normal(8, 16), name="a"))
    net.output(net.op("MatMul", h, net.normal(16, 4), name="z"), rank=3)
    return net


def pairs_of_positions() -> Net:
    """A table of 30 x 20, read at (0, 0), (0, 1), ... up to the length of the text."""
    net = Net(17)
    ids = net.declare("ids", ["N", "S"], np.int64)
    length = net.op("Gather", net.op("Shape", ids), np.array(1))
    places = net.unsqueeze(net.op("Range", np.array(0), length, np.array(1)), 1)
    pairs = net.concat(net.op("Mul", places, np.array(0)), places, axis=1)
    h = net.add(net.op("Gather", net.normal(20, 8), ids), net.op("GatherND", net.normal(30, 20, 8), pairs))
    h = net.relu(net.op("MatMul", h, net.normal(8, 16), name="a"))
    net.output(net.op("MatMul", h, net.normal(16, 4), name="z"), rank=3)
    return net


def product() -> Net:
    net = Net(17)
    h = net.relu(net.op("Gemm", net.declare("x", ["N", "L"]), net.normal(20, 16), name="a"))
    net.output(net.op("Gemm", h, net.normal(16, 4), name="z"), rank=2)
    return net


def two_tables() -> Net:
    """Two texts, each with a table of its own."""
    net = Net(17)
    sums = []
    for name, rows in (("s", 12), ("t", 7)):
        ids = net.declare(f"ids_{name}", ["N", name], np.int64)
        h = net.add(net.op("Gather", net.normal(20, 8), ids), net.normal(rows, 8))
        sums.append(net.op("ReduceMean", h, axes=[1], keepdims=0))
    h = net.relu(net.op("MatMul", net.add(*sums), net.normal(8, 16), name="a"))
    net.output(net.op("MatMul", h, net.normal(16, 4), name="z"), rank=2)
    return net


def rows_written_down() -> Net:
    """The batch is a literal, and a width hides it from who looks at one sample."""
    net = Net(17)
    h = net.op("Gemm", net.declare("x", ["N", 8]), net.normal(8, 7), name="a")
    net.output(net.op("MatMul", net.relu(net.reshape(h, 4, -1)), net.normal(7, 4), name="z"), rank=2)
    return net


@pytest.mark.parametrize(
    ("build_net", "expected"),
    [
        (positions, {"ids": (1, 24)}),
        (counted_positions, {"ids": (1, 8)}),
        (pairs_of_positions, {"ids": (1, 20)}),
        (product, {"x": (1, 20)}),
        (two_tables, {"ids_s": (1, 12), "ids_t": (1, 7)}),
        (rows_written_down, {"x": (4, 8)}),
    ],
)
def test_sizes_that_operators_force(
    build_net: Callable[[], Net], expected: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    proto = build_net().model()
    facts = infer(build(load(proto)))
    assert facts.inputs == expected and not facts.refused
    if build_net is not rows_written_down:  # its width belongs to the batch
        result = onnxprune.shrink(load(proto), tmp_path / "out.onnx", ratio=0.5)
        assert result.plan.removed_count and result.proof is not None


@pytest.mark.parametrize("state", [[2, "?", 8], [2, None, 8], [1, "", 3, 5]])
def test_what_is_open_in_a_state_counts_samples(state: list[int | str | None]) -> None:
    net = Net(17)
    net.declare("x", ["n", "t"])
    net.declare("state", state)  # type: ignore[arg-type]
    assert input_shapes(load(net.model()))[0]["state"] == tuple(1 if not isinstance(n, int) else n for n in state)


def test_a_signal_of_one_batch_is_no_state() -> None:
    net = Net(17)
    net.declare("x", [1, "t", 80])
    assert input_shapes(load(net.model()))[0]["x"] == (1, 256, 80)

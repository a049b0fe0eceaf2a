"""Sizes that inputs leave open: what is assumed, and what is tried where operators refuse that."""

from __future__ import annotations

from pathlib import Path

import pytest

import onnxprune
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.model.sizes import SIDES, default_size, input_shapes
from tests.builders import Net


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

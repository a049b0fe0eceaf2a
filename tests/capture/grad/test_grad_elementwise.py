"""Element-wise rules and broadcasting against finite differences, in float64 where the runtime has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from grad_support import SINGLE, Array, N, check, draw, reverse

F = np.float32
BENDS = np.array([[-4.0, -2.9, -2.0, -0.3], [0.2, 1.1, 2.2, 2.9], [3.1, 4.0, -3.1, 0.7]], F)  # not at -3, -2.5, 2.5, 3
CASES: list[tuple[str, dict[str, Any], Array, dict[str, Any]]] = [
    ("Abs", {}, draw(0, 3, 4), {}),
    ("Celu", {"alpha": 2.0}, draw(0, 3, 4, dtype=F), SINGLE),
    ("Cos", {}, draw(0, 3, 4), {}),
    ("Elu", {"alpha": 0.7}, draw(0, 3, 4, dtype=F), SINGLE),
    ("Erf", {}, draw(0, 3, 4, dtype=F), SINGLE),
    ("Exp", {}, draw(0, 3, 4), {}),
    ("HardSigmoid", {}, BENDS, SINGLE),
    ("HardSigmoid", {"alpha": 0.5, "beta": 0.1}, draw(0, 3, 4, dtype=F), SINGLE),
    ("HardSwish", {}, BENDS, SINGLE),
    ("Identity", {}, draw(0, 3, 4), {}),
    ("LeakyRelu", {}, draw(0, 3, 4, dtype=F), SINGLE),
    ("LeakyRelu", {"alpha": -0.5}, draw(0, 3, 4, dtype=F), SINGLE),
    ("Log", {}, draw(0, 3, 4, low=0.3), {}),
    ("Neg", {}, draw(0, 3, 4), {}),
    ("Reciprocal", {}, draw(0, 3, 4, low=0.3), {}),
    ("Selu", {}, draw(0, 3, 4, dtype=F), SINGLE),
    ("Sin", {}, draw(0, 3, 4), {}),
    ("Softplus", {}, draw(0, 3, 4, dtype=F), SINGLE),
    ("Softsign", {}, draw(0, 3, 4, dtype=F), SINGLE),
    ("Relu", {}, draw(0, 3, 4), {}),
    ("Sigmoid", {}, draw(0, 3, 4), {}),
    ("Sqrt", {}, draw(0, 3, 4, low=0.3), {}),
    ("Tanh", {}, draw(0, 3, 4), {}),
]


@pytest.mark.parametrize(("name", "attributes", "x", "how"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_unary(name: str, attributes: dict[str, Any], x: Array, how: dict[str, Any]) -> None:
    check([N(name, ["x"], ["y"], **attributes)], {"x": x}, ["x"], **how)


@pytest.mark.parametrize("name", ["Relu", "Sigmoid", "Exp", "LeakyRelu", "Clip"])
@pytest.mark.parametrize("opset", [7, 8, 10])
def test_unary_in_old_opsets(name: str, opset: int) -> None:
    check([N(name, ["x"], ["y"])], {"x": draw(0, 3, 4, dtype=F)}, ["x"], opset=opset, **SINGLE)


@pytest.mark.parametrize("bounds", [("low", "high"), ("low", ""), ("", "high"), ("", "")])
def test_clip_with_inputs(bounds: tuple[str, str]) -> None:
    constants = {"low": np.array(-0.5), "high": np.array(1.0)}
    check([N("Clip", ["x", *bounds], ["y"])], {"x": draw(0, 4, 5)}, ["x"], constants=constants)


@pytest.mark.parametrize("bounds", [{"min": 0.0, "max": 1.5}, {"min": 0.0}, {"max": 1.0}])
def test_clip_with_attributes(bounds: dict[str, float]) -> None:
    check([N("Clip", ["x"], ["y"], **bounds)], {"x": draw(0, 4, 5, dtype=F)}, ["x"], opset=9, **SINGLE)


@pytest.mark.parametrize("name", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 3)), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 1, 3), (4, 1)), ((1,), (2, 2)), ((2, 2), ())]
)
@pytest.mark.parametrize("opset", [7, 17])
def test_binary_broadcasting(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], opset: int) -> None:
    feeds = {"a": draw(0, *shapes[0]), "b": draw(1, *shapes[1], low=0.5)}
    check([N(name, ["a", "b"], ["y"])], feeds, ["a", "b"], opset=opset)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0, 0.5, -1.0])
def test_pow(exponent: float) -> None:
    check([N("Pow", ["x", "n"], ["y"])], {"x": draw(0, 3, 4, low=0.3)}, ["x"], constants={"n": np.array(exponent)})


def test_sum_of_several_inputs() -> None:
    feeds = {"a": draw(0, 2, 3), "b": draw(1, 3), "c": draw(2, 2, 1)}
    check([N("Sum", ["a", "b", "c"], ["y"])], feeds, ["a", "b", "c"])


def test_one_value_on_both_sides() -> None:
    check([N("Mul", ["x", "x"], ["y"])], {"x": draw(0, 2, 3)}, ["x"])


@pytest.mark.parametrize(("opset", "inputs"), [(7, ["x"]), (10, ["x"]), (13, ["x"]), (13, ["x", "ratio", "training"])])
def test_dropout_in_inference(opset: int, inputs: list[str]) -> None:
    constants = {"ratio": np.array(0.5, F), "training": np.array(False)}
    used = {name: constants[name] for name in inputs[1:]}
    check([N("Dropout", inputs, ["y"])], {"x": draw(0, 2, 3, dtype=F)}, ["x"], constants=used, opset=opset, **SINGLE)


def test_cast_between_floats() -> None:
    nodes = [N("Cast", ["x"], ["h"], to=11), N("Mul", ["h", "h"], ["h2"]), N("Cast", ["h2"], ["y"], to=1)]
    check(nodes, {"x": draw(0, 2, 3, dtype=F)}, ["x"], **SINGLE)


@pytest.mark.parametrize(("name", "opset"), [("Mish", 18), ("Gelu", 20)])
def test_newer_units(name: str, opset: int) -> None:
    check([N(name, ["x"], ["y"])], {"x": draw(0, 3, 4, dtype=F)}, ["x"], opset=opset, **SINGLE)


def test_gelu_by_tanh() -> None:
    nodes = [N("Gelu", ["x"], ["y"], approximate="tanh")]
    check(nodes, {"x": draw(0, 3, 4, dtype=F)}, ["x"], opset=20, **SINGLE)


@pytest.mark.parametrize("slope", [(1,), (3, 1, 1), (3, 2, 2)])
def test_prelu(slope: tuple[int, ...]) -> None:
    feeds = {"x": draw(0, 2, 3, 2, 2, dtype=F), "s": draw(1, *slope, dtype=F)}
    check([N("PRelu", ["x", "s"], ["y"])], feeds, ["x", "s"], **SINGLE)


@pytest.mark.parametrize("name", ["Max", "Min", "Mean"])
@pytest.mark.parametrize("opset", [8, 17])
def test_several_inputs(name: str, opset: int) -> None:
    feeds = {"a": draw(0, 2, 3, dtype=F), "b": draw(1, 3, dtype=F), "c": draw(2, 2, 1, dtype=F)}
    check([N(name, ["a", "b", "c"], ["y"])], feeds, ["a", "b", "c"], opset=opset, **SINGLE)


def test_ties_share() -> None:
    x = np.array([1.0, 2.0, 2.0])
    found, computed, mix = reverse([N("Max", ["x", "two"], ["y"])], {"x": x}, {"two": np.array(2.0)}, ["x"], 17)
    assert np.allclose(computed["x"], mix["mix_y"] * [0, 0.5, 0.5]) and not found.frozen


def test_where() -> None:
    constants = {"c": np.array([[True], [False]])}
    feeds = {"a": draw(0, 2, 3), "b": draw(1, 3)}
    check([N("Where", ["c", "a", "b"], ["y"])], feeds, ["a", "b"], constants=constants)


@pytest.mark.parametrize("how", ["Sqrt", "Pow", "ReduceL2"])
def test_a_root_at_zero_has_no_gradient(how: str) -> None:
    """The deviation of a constant channel: an infinite slope times nothing must not become NaN."""
    nodes = [N("Mul", ["x", "x"], ["square"]), N(how, ["square"], ["y"])]
    constants = {}
    if how == "Pow":
        nodes[1], constants = N("Pow", ["square", "half"], ["y"]), {"half": np.array(0.5)}
    elif how == "ReduceL2":
        nodes[1] = N("ReduceL2", ["square"], ["y"], axes=[1])
    x = np.array([[0.0, 0.0], [2.0, 1.0]])
    _, computed, _ = reverse(nodes, {"x": x}, constants, ["x"], 17)
    assert np.array_equal(computed["x"][0], [0, 0]) and np.isfinite(computed["x"]).all() and computed["x"][1].all()

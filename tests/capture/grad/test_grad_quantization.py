"""Rules of rounding against finite differences of what they stand for: a clip, and LSQ's slope of the scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from grad_support import Array, N, draw, reverse
from onnx import TensorProto, helper

F = np.float32
X = draw(0, 2, 6, 4, dtype=F, low=-4, high=4)
Kind = tuple[int, Any, int, dict[str, int], int]
KINDS: dict[str, Kind] = {  # type, scales, zero point, attributes, first opset
    "uint8": (TensorProto.UINT8, 0.02, 100, {}, 10),
    "int8": (TensorProto.INT8, 0.02, 0, {}, 10),
    "int8 per channel": (TensorProto.INT8, np.linspace(0.01, 0.04, 6), 3, {"axis": 1}, 13),
    "int8 on the last axis": (TensorProto.INT8, np.linspace(0.01, 0.04, 4), 0, {"axis": -1}, 13),
    "one channel": (TensorProto.UINT8, [0.02], 128, {}, 13),
    "uint16": (TensorProto.UINT16, 0.0001, 30000, {}, 21),
    "int16": (TensorProto.INT16, 0.0001, 5, {}, 21),
    "int4 in blocks": (TensorProto.INT4, np.linspace(0.1, 0.6, 24).reshape(2, 3, 4), 1, {"block_size": 2}, 21),
}
CASES = [(kind, opset) for kind in KINDS for opset in range(KINDS[kind][4], 24)]


def constants(kind: str) -> dict[str, Array]:
    dtype, scales, zero, _, _ = KINDS[kind]
    scale = np.asarray(scales, F)
    return {"s": scale, "z": np.full(scale.shape, zero, helper.tensor_dtype_to_np_dtype(dtype))}


def wide(kind: str, part: Array) -> Array:
    """A scale or a zero point for every number of X."""
    attributes = KINDS[kind][3]
    if "block_size" in attributes:
        return np.repeat(part.astype(np.float64), attributes["block_size"], 1)
    shape = [1, 1, 1]
    shape[attributes.get("axis", 1)] = part.size
    return np.broadcast_to(part.astype(np.float64).reshape(shape), X.shape)


def reach(kind: str) -> tuple[Array, Array]:
    """Between which numbers those of X are rounded to an integer next to them."""
    bounds = np.iinfo(np.int16) if "int16" in kind else np.iinfo(np.int8)
    low, high = (-8, 7) if "int4" in kind else (bounds.min, bounds.max)
    if helper.tensor_dtype_to_np_dtype(KINDS[kind][0]).kind == "u":
        low, high = 0, high - low
    scale, zero = (wide(kind, part) for part in constants(kind).values())
    return scale * (low - zero - 0.5), scale * (high - zero + 0.5)


def nodes(kind: str, between: list[Any] | None = None, domain: str = "") -> list[Any]:
    attributes = KINDS[kind][3]
    first = N("QuantizeLinear", ["x", "s", "z"], ["q"], domain=domain, **attributes)
    last = N("DequantizeLinear", ["q" if between is None else "r", "s", "z"], ["y"], domain=domain, **attributes)
    return [first, *(between or []), last]


@pytest.mark.parametrize(("kind", "opset"), CASES)
def test_straight_through_within_the_grid(kind: str, opset: int) -> None:
    low, high = reach(kind)
    found, computed, mix = reverse(nodes(kind), {"x": X}, constants(kind), ["x"], opset)
    assert not found.frozen
    step = 1e-5
    sides = [np.clip(X.astype(np.float64) + sign * step, low, high) for sign in (1, -1)]
    slope = (sides[0] - sides[1]) / (2 * step)
    assert 0 < np.count_nonzero(slope > 0.5) < slope.size  # some on each side
    np.testing.assert_allclose(computed["x"], mix["mix_y"] * slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_slope_of_scales_is_that_of_learned_step_sizes(kind: str) -> None:
    """q - z - x / s within the grid, the bound less z outside, summed over all numbers of a scale."""
    given = constants(kind)
    zero = {"z": given["z"]}
    low, high = reach(kind)
    found, computed, mix = reverse(nodes(kind), {"x": X, "s": given["s"]}, zero, ["x", "s"], 21)
    assert not found.frozen
    scale = wide(kind, given["s"])
    steps = np.rint(X / scale)
    least, most = np.rint(low / scale + 0.5), np.rint(high / scale - 0.5)
    slope = np.select([low > X, high < X], [least, most], steps - X / scale) * mix["mix_y"]
    if "blocks" in kind:
        wanted = slope.reshape(2, 3, 2, 4).sum(axis=2)
    else:
        axis = KINDS[kind][3].get("axis")
        summed = slope.sum() if axis is None else slope.sum(axis=tuple({0, 1, 2} - {axis % 3}))
        wanted = summed.reshape(given["s"].shape)
    np.testing.assert_allclose(computed["s"], wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


MOVED = {
    "MaxPool": [N("MaxPool", ["q"], ["r"], kernel_shape=[2])],
    "Transpose": [N("Transpose", ["q"], ["r"], perm=[2, 0, 1])],
    "Reshape and Concat": [N("Reshape", ["q", "to"], ["t"]), N("Concat", ["t", "more", "t"], ["r"], axis=0)],
    "Slice": [N("Slice", ["q", "from", "to"], ["r"])],
}


@pytest.mark.parametrize("between", MOVED)
def test_integers_carry_gradients_between(between: str) -> None:
    """The same as the operator in front of the rounding; none of X is out of range."""
    small = X / 4
    sizes = {"to": np.array([4, 12]), "more": np.full((1, 12), 7, np.uint8)}
    if between == "Slice":
        sizes = {"from": np.array([0, 1, 1]), "to": np.array([2, 5, 3])}
    read = {name for node in MOVED[between] for name in node.input}
    sizes = {name: value for name, value in sizes.items() if name in read}
    given = {**constants("uint8"), **sizes}
    found, computed, mix = reverse(nodes("uint8", MOVED[between]), {"x": small}, given, ["x"], 17)
    assert not found.frozen
    plain = [N("Identity", ["x"], ["q"]), *MOVED[between], N("Identity", ["r"], ["y"])]
    given = {name: value.astype(F) if name == "more" else value for name, value in sizes.items()}
    _, wanted, other = reverse(plain, {"x": small}, given, ["x"], 17)
    assert all(np.array_equal(mix[name], other[name]) for name in mix)
    np.testing.assert_allclose(computed["x"], wanted["x"], rtol=1e-5)
    assert np.abs(wanted["x"]).max() > 0


def test_what_is_read_of_integers_is_read_as_numbers() -> None:
    """Relu's rule compares: it sees integers in float, whatever their type."""
    found, computed, mix = reverse(nodes("int8", [N("Relu", ["q"], ["r"])]), {"x": X}, constants("int8"), ["x"], 17)
    assert not found.frozen
    np.testing.assert_allclose(computed["x"], np.where((X > 0.01) & (X < 2.55), mix["mix_y"], 0), rtol=1e-6)


def test_sizes_and_positions_of_integers_carry_nothing() -> None:
    layers = [
        *nodes("uint8", [N("MaxPool", ["q"], ["r", "places"], kernel_shape=[2])]),
        N("Shape", ["q"], ["size"]),
        N("Cast", ["size"], ["a"], to=TensorProto.FLOAT),
        N("Cast", ["places"], ["b"], to=TensorProto.FLOAT),
    ]
    alone, wanted, _ = reverse(layers[:3], {"x": X / 4}, constants("uint8"), ["x"], 17)
    found, computed, _ = reverse(layers, {"x": X / 4}, constants("uint8"), ["x"], 17, outputs=("y", "a", "b"))
    assert not found.frozen and not alone.frozen
    np.testing.assert_array_equal(computed["x"] != 0, wanted["x"] != 0)


@pytest.mark.parametrize("kind", ["uint16", "int16"])
def test_the_operators_of_the_runtime_have_the_same_rules(kind: str) -> None:
    found, computed, _ = reverse(nodes(kind, domain="com.microsoft"), {"x": X}, constants(kind), ["x"], 17)
    other, wanted, _ = reverse(nodes(kind), {"x": X}, constants(kind), ["x"], 21)
    assert not found.frozen and not other.frozen
    np.testing.assert_array_equal(computed["x"], wanted["x"])


def test_without_a_zero_point() -> None:
    layers = [N("QuantizeLinear", ["x", "s"], ["q"]), N("DequantizeLinear", ["q", "s"], ["y"])]
    _, computed, mix = reverse(layers, {"x": X}, {"s": np.array(0.01, F)}, ["x"], 17)
    np.testing.assert_allclose(computed["x"], np.where((X > -0.005) & (X < 2.555), mix["mix_y"], 0), rtol=1e-6)


def test_float_grids_have_no_rule() -> None:
    layers = [N("QuantizeLinear", ["x", "s", "z"], ["q"]), N("DequantizeLinear", ["q", "s", "z"], ["y"])]
    zero = np.zeros((), helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN))
    found, _, _ = reverse(layers, {"x": X}, {"s": np.array(0.01, F), "z": zero}, ["x"], 19)
    assert "its grid is not one of integers" in found.frozen["x"]


def test_round_passes_everything_on() -> None:
    _, computed, mix = reverse([N("Round", ["x"], ["y"])], {"x": X}, {}, ["x"], 17)
    np.testing.assert_array_equal(computed["x"], mix["mix_y"])

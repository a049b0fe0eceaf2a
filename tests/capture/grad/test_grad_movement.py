"""Operators that move values, against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from grad_support import Array, N, check, draw, reverse


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "opset"),
    [
        ("Reshape", ["shape"], {}, 17),
        ("Flatten", [], {"axis": 2}, 17),
        ("Squeeze", ["axes"], {}, 17),
        ("Squeeze", [], {"axes": [2]}, 11),
        ("Unsqueeze", ["axes"], {}, 17),
        ("Unsqueeze", [], {"axes": [0, 2]}, 11),
        ("Transpose", [], {}, 17),
        ("Transpose", [], {"perm": [1, 2, 0]}, 7),
    ],
)
def test_same_elements(name: str, inputs: list[str], attributes: dict[str, Any], opset: int) -> None:
    constants = {"shape": ints(2, -1), "axes": ints(2)}
    x = draw(0, 2, 3, 1)
    check(
        [N(name, ["x", *inputs], ["y"], **attributes)], {"x": x}, ["x"],
        constants={name: constants[name] for name in inputs}, opset=opset,
    )  # fmt: skip


@pytest.mark.parametrize("axis", [1, -2])
def test_concat(axis: int) -> None:
    feeds = {"a": draw(0, 2, 3, 2), "b": draw(1, 2, 1, 2), "c": draw(2, 2, 2, 2)}
    check([N("Concat", ["a", "b", "c", "a"], ["y"], axis=axis)], feeds, ["a", "b", "c"])


@pytest.mark.parametrize(("opset", "sizes"), [(7, True), (11, True), (13, True), (17, False), (18, True)])
def test_split(opset: int, sizes: bool) -> None:
    attributes: dict[str, Any] = {"axis": 1}
    inputs = ["x"]
    if sizes and opset < 13:
        attributes["split"] = [1, 3]
    elif sizes:
        inputs.append("sizes")
    nodes = [N("Split", inputs, ["p", "q"], **attributes), N("Tanh", ["p"], ["y"]), N("Tanh", ["q"], ["z"])]
    constants = {"sizes": ints(1, 3)} if len(inputs) > 1 else {}
    check(nodes, {"x": draw(0, 2, 4)}, ["x"], constants=constants, opset=opset, outputs=["y", "z"])
    check(nodes, {"x": draw(0, 2, 4)}, ["x"], constants=constants, opset=opset, outputs=["z"])


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [3], [0], [1]),
        ([0, 1], [2, 100], [0, 1], [1, 1]),
        ([-2, 0], [2**31, -1], [1, 0], [1, 1]),
        ([0, 1], [4, 5], [0, 1], [2, 3]),
        ([-1], [-(2**31)], [1], [-1]),
        ([4], [0], [1], [-2]),
        ([100], [-6], [1], [-3]),
    ],
)
def test_slice(starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> None:
    constants = {"s": ints(*starts), "e": ints(*ends), "a": ints(*axes), "t": ints(*steps)}
    check([N("Slice", ["x", "s", "e", "a", "t"], ["y"])], {"x": draw(0, 4, 5)}, ["x"], constants=constants)


def test_slice_with_attributes() -> None:
    nodes = [N("Slice", ["x"], ["y"], starts=[1, -2], ends=[3, 2**31 - 1], axes=[0, 1])]
    check(nodes, {"x": draw(0, 4, 5, dtype=np.float32)}, ["x"], opset=9, step=1.0)


@pytest.mark.parametrize("pads", [[0, 1, 2, 0], [1, -1, 0, 2], [-1, 0, -1, -2]])
def test_pad(pads: list[int]) -> None:
    check([N("Pad", ["x", "p"], ["y"])], {"x": draw(0, 4, 5)}, ["x"], constants={"p": ints(*pads)})


@pytest.mark.parametrize(("mode", "opset"), [("reflect", 10), ("reflect", 17), ("edge", 17), ("wrap", 19)])
def test_pad_with_copies_of_the_border(mode: str, opset: int) -> None:
    pads = [0, 2, 1, 3]
    nodes = [N("Pad", ["x"], ["y"], mode=mode, pads=pads) if opset < 11 else N("Pad", ["x", "p"], ["y"], mode=mode)]
    constants = {} if opset < 11 else {"p": ints(*pads)}
    check(nodes, {"x": draw(0, 4, 5, dtype=np.float32)}, ["x"], constants=constants, opset=opset, step=1.0)


@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_padding_of_no_axes(mode: str) -> None:
    constants = {"p": ints(), "v": np.array(0.0), "a": ints()}
    check(
        [N("Pad", ["x", "p", "v", "a"], ["y"], mode=mode)], {"x": draw(0, 3, 2)}, ["x"], constants=constants, opset=18
    )


def test_padding_of_a_long_axis_takes_no_matrix_of_it() -> None:
    """As of audio: 20,000 values, mirrored at both ends."""
    nodes = [N("Pad", ["x"], ["y"], mode="reflect", pads=[0, 64, 0, 64])]
    found, slopes, mix = reverse(nodes, {"x": draw(0, 1, 20_000, dtype=np.float32)}, {}, ["x"], 10)
    assert sum(constant.ByteSize() for constant in found.constants) < 100_000
    expected = np.zeros(20_000)
    np.add.at(expected, np.pad(np.arange(20_000), 64, mode="reflect"), mix["mix_y"].astype(np.float64).ravel())
    np.testing.assert_allclose(slopes["x"].ravel(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("upper", [0, 1])
def test_trilu(upper: int) -> None:
    check([N("Trilu", ["x"], ["y"], upper=upper)], {"x": draw(0, 2, 3, 3)}, ["x"])
    check([N("Trilu", ["x", "k"], ["y"], upper=upper)], {"x": draw(0, 3, 3)}, ["x"], constants={"k": np.array(1)})


def test_pad_with_attributes_and_axes() -> None:
    check([N("Pad", ["x"], ["y"], pads=[0, 1, 2, 0])], {"x": draw(0, 3, 2)}, ["x"], opset=10)
    constants = {"p": ints(2, 1), "v": np.array(1.5), "a": ints(-1)}
    check([N("Pad", ["x", "p", "v", "a"], ["y"])], {"x": draw(0, 3, 2)}, ["x"], constants=constants, opset=18)


@pytest.mark.parametrize("shape", [(3, 2, 4), (5, 3, 2, 4), (1,)])
def test_expand(shape: tuple[int, ...]) -> None:
    check([N("Expand", ["x", "s"], ["y"])], {"x": draw(0, 3, 1, 4)}, ["x"], constants={"s": ints(*shape)})


def test_tile() -> None:
    check([N("Tile", ["x", "r"], ["y"])], {"x": draw(0, 2, 3)}, ["x"], constants={"r": ints(2, 3)})


@pytest.mark.parametrize("index", [[1], [2, 0], [-1, 1], [[0, 3], [2, 1]], 2])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("opset", [10, 17])
def test_gather_of_distinct_indices(index: Any, axis: int, opset: int) -> None:
    nodes = [N("Gather", ["x", "i"], ["y"], axis=axis)]
    check(nodes, {"x": draw(0, 4, 4)}, ["x"], constants={"i": np.array(index)}, opset=opset)


@pytest.mark.parametrize("known", [True, False])
def test_gather_of_repeated_indices(known: bool) -> None:
    index = {"i": np.array([[1, 1, 0], [3, 1, -1]])}
    nodes = [N("Gather", ["x", "i"], ["y"])]
    feeds = {"x": draw(0, 4, 3)} | ({} if known else index)
    check(nodes, feeds, ["x"], constants=index if known else {})
    if known:
        check(nodes, feeds, ["x"], constants=index, opset=13)
    else:
        found, _, _ = reverse(nodes, feeds, {}, ["x"], 13)
        assert "opset 16" in found.frozen["x"]


def test_gather_elements() -> None:
    constants = {"i": np.array([[1, 1], [0, 2]])}
    nodes = [N("GatherElements", ["x", "i"], ["y"], axis=1)]
    check(nodes, {"x": draw(0, 2, 3)}, ["x"], constants=constants, opset=18)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    nodes = [N("DepthToSpace", ["x"], ["y"], blocksize=2, mode=mode)]
    check(nodes, {"x": draw(0, 1, 8, 2, 3, dtype=np.float32)}, ["x"], step=1.0)


def test_space_to_depth() -> None:
    check([N("SpaceToDepth", ["x"], ["y"], blocksize=2)], {"x": draw(0, 1, 2, 4, 6)}, ["x"])

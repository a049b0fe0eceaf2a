"""Tile, Expand, ConstantOfShape."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.builders import Net, ints
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
FREE = {"a": 8}


@case(FREE, opsets=(7, 13), each={"channels": ((1, 3, 1, 1),), "space": ((1, 1, 2, 1),), "both": ((1, 2, 1, 3),)})
def tile(net: Net, repeats: tuple[int, ...]) -> None:
    net.head(net.op("Tile", net.relu(net.stem()), ints(*repeats)))


@case(FREE, each={"channels": (ints(1, 8, 1, 1),), "all": (ints(1, 8, 6, 6),)})
def tile_of_one_channel(net: Net, repeats: Any) -> None:
    """One value for all channels: they follow what they meet."""
    gate = net.op("Tile", net.op("Sigmoid", net.mean(net.conv(net.input(3, 6, 6), 1), 2, 3)), repeats)
    net.head(net.op("Mul", net.stem(), gate))


@case(FREE)
def tile_by_the_batch(net: Net) -> None:
    """A learned row for every sample: the count is known only in a run, and the width passes."""
    h = net.relu(net.tokens())
    count = net.concat(net.size_of(h, 0), ints(1, 1), axis=0)
    rows = net.op("Tile", net.normal(1, 3, 8), count)
    net.project(net.op("Concat", h, rows, axis=1))


@case(FREE, opsets=(8, 13), each={"same": ((1, 8, 6, 6),), "one": ((1, 1, 1, 1),), "shorter": ((8, 6, 6),)})
def expand(net: Net, target: tuple[int, ...]) -> None:
    h = net.op("GlobalAveragePool", net.relu(net.stem()))
    net.head(net.op("Expand", h, ints(*target)))


@case(FREE)
def expand_of_one_channel(net: Net) -> None:
    """One value for all channels: they follow what they meet."""
    gate = net.op("Expand", net.op("Sigmoid", net.conv(net.input(3, 6, 6), 1)), ints(1, 8, 6, 6))
    net.head(net.op("Mul", net.stem(), gate))


@case({}, {"a": "Expand is refused: its target is no list of sizes"}, each={"matrix": (2,)})
def expand_to_a_matrix(net: Net, rank: int) -> None:
    h = net.relu(net.dense(net.input(6), 8, name="a"))
    target = np.array([[1] * rank], np.int64)
    net.head(net.hint(net.op("Expand", h, target), 8))


@case(FREE, each={"scalar": ((),), "row": ((6,),), "column": ((6, 1),)})
def expand_with_new_axes(net: Net, shape: tuple[int, ...]) -> None:
    """Axes that Expand puts in front hold equal values: channels among them follow what they meet."""
    net.head(net.op("Mul", net.stem(), net.op("Expand", net.normal(*shape), ints(1, 8, 6, 6))))


@case(FREE)
def expand_to_the_shape_of_another(net: Net) -> None:
    h = net.relu(net.stem())
    gate = net.op("Expand", net.op("Sigmoid", net.mean(h, 1, 2, 3)), net.op("Shape", h))
    net.head(net.op("Mul", h, net.hint(gate, 8, 6, 6)))


@case({"a": 2}, units="heads")
def repeated_heads(net: Net) -> None:
    """Grouped queries spelled Unsqueeze-Expand-Reshape: a key head serves two query heads."""
    x = net.input(5, 6)
    h = net.transpose(net.reshape(net.dense(x, 8, name="a"), 0, 5, 2, 4), 0, 2, 1, 3)
    wide = net.op("Expand", net.unsqueeze(h, 2), ints(1, 1, 2, 1, 1))
    back = net.transpose(net.reshape(wide, 0, 4, 5, 4), 0, 2, 1, 3)
    net.project(net.reshape(back, 0, 5, 16))


@case(FREE, opsets=(9, 13))
def constant_of_shape(net: Net) -> None:
    """zeros_like: computed, and literal in its channels."""
    h = net.relu(net.stem())
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.5])
    like = net.op("ConstantOfShape", net.op("Shape", h), value=value)
    literal = net.op("ConstantOfShape", ints(1, 8, 1, 1), value=value)
    net.head(net.add(net.add(h, net.hint(like, 8, 6, 6)), literal))


@case(FREE)
def constant_of_a_computed_width(net: Net) -> None:
    h = net.relu(net.stem())
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.5])
    shape = net.concat(ints(1), net.size_of(h, 1), ints(6), ints(6), axis=0)
    net.head(net.hint(net.add(h, net.op("ConstantOfShape", shape, value=value)), 8, 6, 6))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()

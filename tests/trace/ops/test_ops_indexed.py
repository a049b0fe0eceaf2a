"""Reading and writing at index tuples."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from tests.builders import Net, ints
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
FREE = {"a": 8}


@case(FREE)
def gather_nd_of_rows(net: Net) -> None:
    """Tuples address (batch, position); the width passes as a whole."""
    tuples = np.array([[0, 1], [0, 4], [0, 0]])
    net.output(net.op("Gemm", net.op("GatherND", net.relu(net.tokens()), tuples), net.normal(8, 3), net.normal(3)))


@case(FREE)
def gather_nd_per_batch(net: Net) -> None:
    h = net.relu(net.tokens())
    where = net.op("Expand", np.array([[1], [3]])[None], net.concat(net.size_of(h, 0), ints(2, 1), axis=0))
    h = net.op("GatherND", h, net.op("Cast", net.op("Cast", where, to=1), to=7), batch_dims=1)
    net.output(net.op("MatMul", h, net.normal(8, 3)), rank=3)


@case({}, {"a": "GatherND looks up positions on it"})
def gather_nd_of_channels(net: Net) -> None:
    net.output(net.op("GatherND", net.stem(), np.array([[0, 1], [0, 4]])), rank=3)


@case({}, {"a": "GatherElements takes indices of its own for each of them"})
def gather_elements(net: Net) -> None:
    h = net.stem()
    index = net.op("Cast", net.op("Mul", net.op("Sigmoid", net.input(8, 6, 6)), net.number(5)), to=TensorProto.INT64)
    net.output(net.op("GatherElements", h, index, axis=2))


@case({}, {"a": "GatherElements takes indices of its own for each of them"})
def positions_from_channels(net: Net) -> None:
    index = net.op("Cast", net.op("Mul", net.op("Sigmoid", net.stem()), net.number(5)), to=TensorProto.INT64)
    net.output(net.op("GatherElements", net.input(8, 6, 6), index, axis=2))


def best_rows(net: Net, h: str, count: int = 2, *, tiled: bool = False) -> str:
    """(N, count, 8): positions of rows of `h` (N, length, 8), the same for every feature."""
    scores = net.squeeze(net.matmul(h, 1), 2)
    _, positions = net.many("TopK", 2, scores, ints(count), axis=1)
    column = net.unsqueeze(positions, 2)
    return net.op("Tile", column, ints(1, 1, 8)) if tiled else net.op("Expand", column, ints(1, 1, 8))


@case(FREE, each={"expanded": (False,), "tiled": (True,)})
def rows_of_all_features(net: Net, tiled: bool) -> None:
    """Which rows are taken is the same for every feature: these leave, and so do copies of the positions."""
    h = net.relu(net.tokens())
    net.project(net.op("GatherElements", h, best_rows(net, h, tiled=tiled), axis=1))


@case({"a": 8, "m": 12}, each={"add": ("add",), "none": ("none",)}, opsets=(16, 18))
def rows_written_for_all_features(net: Net, reduction: str) -> None:
    """Some rows take another way, and come back where they were."""
    h = net.relu(net.tokens())
    rows = best_rows(net, h)
    taken = net.op("GatherElements", h, rows, axis=1)
    taken = net.dense(net.relu(net.dense(taken, 12, name="m")), 8, name="o")
    net.project(net.op("ScatterElements", h, rows, taken, axis=1, reduction=reduction))


@case(FREE, opsets=(9, 11, 16), each={"initializer": ("initializer",), "constant": ("constant",)})
def rows_that_are_known(net: Net, weights: str) -> None:
    """Constant indices are cut along, whether they are the same for all features or not."""
    net.weights = weights
    operator = "Scatter" if net.opset < 11 else "ScatterElements"
    data = net.relu(net.dense(net.declare("memory", [5, 6]), 8, name="a"))
    updates = net.dense(net.declare("new", [2, 6]), 8, name="u")
    where = np.stack([np.arange(8) % 3, np.arange(8) % 2 + 3])
    h = net.op(operator, data, where, updates, axis=0)
    if net.opset > 9:
        h = net.op("GatherElements", h, where[:, ::-1].copy(), axis=-2)
    net.output(net.matmul(h, 4))


@case({}, {"a": "ScatterElements writes at positions on it"})
def features_written(net: Net) -> None:
    data = net.relu(net.dense(net.declare("memory", [5, 6]), 8, name="a"))
    where = net.declare("where", [5, 2], np.int64)
    net.output(net.matmul(net.op("ScatterElements", data, where, net.declare("new", [5, 2]), axis=1), 4))


@case({}, {"a": "GatherElements has fewer indices than data on it"})
def some_features_read(net: Net) -> None:
    data = net.relu(net.dense(net.declare("memory", [5, 6]), 8, name="a"))
    net.output(net.matmul(net.op("GatherElements", data, np.zeros((2, 3), np.int64), axis=0), 4))


@case({"u": 5}, {"a": "ScatterElements takes its rows one by one"})
def rows_that_write(net: Net) -> None:
    """Rows of the updates stay: each is written somewhere."""
    updates = net.transpose(net.relu(net.gemm(net.declare("new", [3, 6]), 2, name="a")), 1, 0)
    data = net.transpose(net.relu(net.gemm(net.declare("memory", [3, 6]), 5, name="b")), 1, 0)
    where = net.op("Expand", np.array([[1], [4]]), ints(2, 3))
    h = net.transpose(net.op("ScatterElements", data, where, updates, axis=0), 1, 0)
    net.output(net.gemm(net.relu(net.gemm(h, 5, name="u")), 4))


@case(FREE, each={"add": ("add",), "none": ("none",)}, opsets=(16,))
def scattered_rows(net: Net, reduction: str) -> None:
    """Rows of a memory are written: the width passes, that of data and updates alike."""
    data = net.relu(net.dense(net.declare("memory", [5, 6]), 8, name="a"))
    updates = net.dense(net.declare("new", [2, 6]), 8, name="u")
    net.output(net.matmul(net.op("ScatterND", data, np.array([[1], [-1]]), updates, reduction=reduction), 4))


@case({"a": 6, "a#2": 2})
def scatter_at_channels(net: Net) -> None:
    """(C, N) with two channels overwritten by others: written and writing live and die together."""
    x = net.declare("x", [3, 6])
    data = net.transpose(net.relu(net.gemm(x, 8, name="a")), 1, 0)
    updates = net.transpose(net.gemm(x, 2, name="u"), 1, 0)
    written = net.op("ScatterND", data, np.array([[5], [-6]]), updates)
    net.output(net.matmul(net.transpose(net.relu(written), 1, 0), 4))


@case({}, {"a": "ScatterND writes at positions on it"})
def scatter_at_pairs(net: Net) -> None:
    x = net.declare("x", [3, 6])
    data = net.gemm(x, 8, name="a")
    written = net.op("ScatterND", data, np.array([[0, 5], [2, 1]]), net.declare("new", [2]))
    net.output(net.matmul(written, 4))


@case({}, {"a": "ScatterND writes at positions on it"})
def scatter_at_unknown_positions(net: Net) -> None:
    data = net.transpose(net.gemm(net.declare("x", [3, 6]), 8, name="a"), 1, 0)
    written = net.op("ScatterND", data, net.declare("where", [2, 1], np.int64), net.declare("new", [2, 3]))
    net.output(net.matmul(net.transpose(written, 1, 0), 4))


@case(FREE, opsets=(14, 17))
def triangle_of_leading_axes(net: Net) -> None:
    net.head(net.op("Trilu", net.relu(net.stem()), upper=0))


@case({}, {"a": "Trilu masks it by position"})
def triangle_of_channels(net: Net) -> None:
    net.output(net.op("Trilu", net.tokens()))


@case({}, {"a": "NonZero gives positions on it"})
def nonzero(net: Net) -> None:
    net.output(net.op("NonZero", net.relu(net.stem())), dtype=np.int64, rank=2)


@case({"a": 8, "q": 4, "v": 4})
def causal_attention(net: Net) -> None:
    """A triangle of -inf over the positions."""
    h = net.relu(net.tokens())
    q, k, v = (net.dense(h, 4, name=name) for name in "qkv")
    mask = net.op("Trilu", np.full((5, 5), -1e4, np.float32), np.array(1), upper=1)
    scores = net.softmax(net.add(net.op("MatMul", q, net.transpose(k, 0, 2, 1)), mask))
    net.project(net.op("MatMul", scores, v))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()

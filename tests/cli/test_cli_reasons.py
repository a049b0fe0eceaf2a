"""Why groups stay in a run: what `inspect` does not know is said by `shrink`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from cli_support import Call
from onnx import TensorProto, helper, numpy_helper

HIDDEN = 16


@pytest.fixture
def recurrent(folder: Path) -> Path:
    """x (T, N, 4) -> LSTM "first" -> LSTM "second" -> its last state, MatMul "last": "second" has a computed weight."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)

    tensors = [weight("l", HIDDEN, 3), numpy_helper.from_array(np.array([1], np.int64), "one")]
    tensors.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    for name, inputs in (("a", 4), ("b", HIDDEN)):
        tensors += [weight(f"{name}.w", 1, 4 * HIDDEN, inputs), weight(f"{name}.r", 1, 4 * HIDDEN, HIDDEN)]
    first = helper.make_node("LSTM", ["x", "a.w", "a.r"], ["h"], name="first", hidden_size=HIDDEN)
    second = helper.make_node("LSTM", ["s", "b.half", "b.r"], ["", "k"], name="second", hidden_size=HIDDEN)
    nodes = [
        first,
        helper.make_node("Squeeze", ["h", "one"], ["s"]),
        helper.make_node("Mul", ["b.w", "half"], ["b.half"]),
        second,
        helper.make_node("MatMul", ["k", "l"], ["y"], name="last"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [5, 2, 4])],
        [value("y", TensorProto.FLOAT, [1, 2, 3])],
        tensors,
    )
    path = folder / "recurrent.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_what_the_criterion_cannot_judge_leaves_by_other_means(call: Call, recurrent: Path) -> None:
    """No layer with a plain weight reads "first": that must not put a target out of reach."""
    data = ("--data", "random", "--samples", "8", "--dry-run")
    assert "3 groups: 2 shrink, 1 stays" in call("shrink", recurrent, *data, "--ratio", "0.5").stdout
    assert "macs=40% asked" in call("shrink", recurrent, *data, "--target", "macs=40%").stdout
    advised = ("--criterion", "l1", "--scope", "local")
    assert "macs=40% asked" in call("shrink", recurrent, *data, "--target", "macs=40%", *advised).stdout


def test_excluded_groups_are_named(call: Call) -> None:
    assert (
        "pointwise.conv stays: excluded"
        in call("shrink", "digits.onnx", "--dry-run", "--exclude", "pointwise.conv").stdout
    )

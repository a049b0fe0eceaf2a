"""Which axis counts samples: states of recurrent networks, what is the same for all, calls as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from data_models import model
from onnx import TensorProto

from onnxprune.data import open_data
from onnxprune.data.axes import sample_axes
from onnxprune.errors import DataError

F, I64 = TensorProto.FLOAT, TensorProto.INT64
VOICE = model({"x": (F, ("b", "n")), "state": (F, (2, "b", 3)), "rate": (I64, ())})
GRAPH = model({"feat": (F, ("nodes", 4)), "edges": (I64, (2, "n_edges"))})


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        ([("N", 3, "H", "W")], [0]),
        ([("b", "n"), (2, "b", 128), ()], [0, 1, 0]),
        ([("N", "s"), (2, "N", 128)], [0, 1]),
        ([("time", "batch_size", 8)], [1]),
        ([("time", "batch", 8), (2, "batch", 16)], [1, 1]),
        ([("batch", "seq"), ("seq",), ("batch", "seq")], [0, 0, 0]),
        ([("nodes", 12), (2, "edges")], [0, 0]),
        ([(1, "n")], [0]),
        ([("N", "a", "b")], [0]),
        ([(None, None), (2, None, 128)], [0, 0]),
    ],
)
def test_axes_by_the_declared_shapes(shapes: list[Any], axes: list[int]) -> None:
    assert sample_axes(shapes) == axes


def voice(count: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((count, 5)).astype("f"),
        "state": rng.standard_normal((2, count, 3)).astype("f"),
        "rate": np.array(16000),
    }


def test_a_state_has_its_samples_on_the_second_axis() -> None:
    whole = voice()
    by_rows = ({"x": whole["x"][k], "state": whole["state"][:, k], "rate": 16000} for k in range(6))
    by_one = ({"x": whole["x"][k : k + 1], "state": whole["state"][:, k : k + 1], "rate": 16000} for k in range(6))
    by_two = ({"x": whole["x"][k : k + 2], "state": whole["state"][:, k : k + 2], "rate": 16000} for k in (0, 2, 4))
    for data in (whole, lambda: by_rows, lambda: by_one, lambda: by_two):
        found = open_data(data, VOICE)
        assert found.samples == 6 and not found.fixed_batch
        batch = found.batch(1, 4)
        assert batch.samples == 3 and batch["rate"].shape == ()
        np.testing.assert_array_equal(batch["state"], whole["state"][:, 1:4])
        np.testing.assert_array_equal(batch.take(1, 2)["state"], whole["state"][:, 2:3])
        assert [one["x"].shape for one in batch.one_by_one()] == [(1, 5)] * 3


def test_sizes_tell_where_symbols_do_not() -> None:
    nameless = model({"x": (F, (None, None)), "state": (F, (2, None, 3))})
    found = open_data({"x": np.ones((6, 5), "f"), "state": np.ones((2, 6, 3), "f")}, nameless)
    assert found.samples == 6 and found.batch(0, 2)["state"].shape == (2, 2, 3)
    fixed = model({"x": (F, ("N", "S")), "place": (F, (1, "S"))})  # S is no number of samples, though there are as many
    found = open_data({"x": np.ones((6, 6), "f"), "place": np.ones((1, 6), "f")}, fixed)
    assert found.batch(0, 1)["place"].shape == (1, 6)


def test_a_rate_that_differs_is_fed_alone() -> None:
    found = open_data(lambda: ({**voice(1), "rate": k} for k in range(3)), VOICE)
    assert found.fixed_batch and [int(one["rate"]) for one in found.batches(8)] == [0, 1, 2]


def test_thresholds_that_no_sample_has_go_with_all() -> None:
    target = model({"x": (F, ("batch", 3)), "levels": (F, ("k",))})
    found = open_data({"x": np.ones((6, 3), "f"), "levels": np.arange(4, dtype="f")}, target)
    assert found.samples == 6 and found.batch(0, 2)["levels"].tolist() == [0, 1, 2, 3]
    found = open_data(lambda: ({"x": np.ones((1, 3)), "levels": np.arange(4.0)} for _ in range(5)), target)
    assert found.samples == 5 and found.batch(0, 3)["levels"].shape == (4,)


def graph(nodes: int, edges: int) -> dict[str, Any]:
    rng = np.random.default_rng(nodes)
    return {"feat": rng.standard_normal((nodes, 4)), "edges": rng.integers(0, nodes, (2, edges))}


def test_calls_whose_inputs_differ_in_rows_are_one_sample_each() -> None:
    found = open_data(lambda: (graph(n, n + 3) for n in range(4, 9)), GRAPH)
    assert found.samples == 5 and found.fixed_batch and not found.uniform
    assert [(b["feat"].shape, b["edges"].shape) for b in found.batches(8)] == [
        ((n, 4), (2, n + 3)) for n in range(4, 9)
    ]
    assert {b.samples for b in found.batches(8)} == {1}
    assert found.shapes(2) == {"feat": (6, 4), "edges": (2, 9)}
    fit, judge = found.split()
    assert fit.samples == 4 and judge.samples == 1
    one = open_data(lambda: (graph(n, n + 3) for n in range(4, 9)), GRAPH, samples=3)
    assert one.samples == 3
    mixed = [{**graph(5, 6), "edges": np.zeros((4, 6), int)}, graph(5, 6)]
    with pytest.raises(DataError, match="'edges' has 4 rows, the model takes 2"):
        open_data(lambda: mixed, GRAPH)


def test_pieces_can_be_calls_where_rows_do_not_stand_alone() -> None:
    rows = open_data(lambda: ({"x": np.ones((n, 3))} for n in (2, 3, 4)), model({"x": (F, ("T", 3))}))
    assert rows.samples == 9
    calls = rows.calls()
    assert calls is not None and [len(one["x"]) for one in calls.batches(8)] == [2, 3, 4]
    assert rows.grouped(4) is not None and rows.grouped(10) is None
    whole = rows.one_call()
    assert whole is not None and whole.samples == 1 and whole.batch(0, 1)["x"].shape == (9, 3)


def test_rows_in_groups_that_the_model_takes() -> None:
    found = open_data({"x": np.arange(30).reshape(10, 3)}, model({"x": (F, ("N", 3))})).grouped(4)
    assert found is not None and found.samples == 2 and found.rows == 8 and "2 left over" in found.source
    fit, judge = found.split()
    sizes = [(len(one["x"]), one.samples) for part in (fit, judge) for one in part.batches(16)]
    assert sizes == [(4, 4), (4, 4)]
    assert sorted(int(one["x"][0, 0]) for part in (fit, judge) for one in part.batches(1)) == [0, 12]
    assert found.shapes(0) == {"x": (4, 3)}


def test_an_array_is_enough_for_a_model_of_one_input(tmp_path: Any) -> None:
    target = model({"x": (F, ("N", 3))})
    assert open_data(np.ones((5, 3), "f"), target).samples == 5
    with pytest.raises(DataError, match="a dict of arrays is needed"):
        open_data(np.ones((5, 3), "f"), GRAPH)

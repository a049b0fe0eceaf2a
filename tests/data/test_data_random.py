"""The data-free mode."""

from __future__ import annotations

import numpy as np
import pytest
from data_models import gather, model, one
from onnx import TensorProto, helper

from onnxprune.data import open_data

F = TensorProto.FLOAT


def test_normal_numbers_of_the_input_shape() -> None:
    c = open_data("random", one("N", 3, "H", "W"), samples=4)
    x = c.batch(0, 4)["x"]
    assert x.shape == (4, 3, 224, 224) and x.dtype == np.float32 and c.source == "random"
    assert abs(x.mean()) < 0.01 and abs(x.std() - 1) < 0.01
    assert open_data("random", one(4, 2)).batch(0, 2)["x"].shape == (8, 2)


def test_it_does_not_depend_on_how_it_is_read() -> None:
    c = open_data("random", one("N", 5), samples=20)
    whole = c.batch(0, 20)["x"]
    assert np.array_equal(np.concatenate([b["x"] for b in c.batches(3)]), whole)
    assert np.array_equal(open_data("random", one("N", 5), samples=9).batch(0, 9)["x"], whole[:9])
    assert not np.array_equal(open_data("random", one("N", 5), seed=1).batch(0, 20)["x"], whole)
    assert len(np.unique(whole)) == whole.size
    assert c.split()[1].batch(0, 4)["x"].shape == (4, 5)


MEAN, STD = np.array([10.0, 20.0, 30.0], "f4"), np.array([1.0, 2.0, 3.0], "f4")
CHANNELS = (1, 3, 1, 1)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([("BatchNormalization", ["x", "s", "s", "m", "v"])], {"s": STD, "m": MEAN, "v": STD**2}),
        ([("Sub", ["x", "m"]), ("Div", ["", "v"])], {"m": MEAN.reshape(CHANNELS), "v": STD.reshape(CHANNELS)}),
        ([("Add", ["m", "x"]), ("Mul", ["", "v"])], {"m": -MEAN.reshape(3, 1, 1), "v": 1 / STD.reshape(3, 1, 1)}),
        ([("Sub", ["m", "x"]), ("Div", ["", "v"])], {"m": MEAN.reshape(CHANNELS), "v": STD.reshape(CHANNELS)}),
        (
            [("Div", ["x", "c"]), ("Identity", [""]), ("BatchNormalization", ["", "s", "s", "m", "v"])],
            {"c": np.array(4, "f4"), "s": STD, "m": MEAN / 4, "v": (STD / 4) ** 2},
        ),
    ],
)
def test_the_first_operators_tell_mean_and_deviation(nodes: list, constants: dict) -> None:
    made, last = [], "x"
    for number, (operator, inputs) in enumerate(nodes):
        out = f"t{number}"
        made.append(helper.make_node(operator, [i or last for i in inputs], [out], name=f"n{number}"))
        last = out
    m = model({"x": (F, ("N", 3, 32, 32))}, made, constants)
    c = open_data("random", m, samples=64)
    x = c.batch(0, 64)["x"]
    np.testing.assert_allclose(x.mean((0, 2, 3)), MEAN, atol=0.05)
    np.testing.assert_allclose(x.std((0, 2, 3)), STD, rtol=0.02)
    assert f"'x' as 'n{len(nodes) - 1}' expects" in c.source


@pytest.mark.parametrize(
    ("operator", "constant"),
    [
        ("Div", np.zeros(1, "f4")),
        ("Mul", np.zeros((1, 3, 1), "f4")),
        ("Mul", np.ones((1, 1, 3, 7), "f4")),
        ("Add", np.ones((2, 3, 7), "f4")),
        ("Add", np.full((1, 3, 1), np.nan, "f4")),
    ],
)
def test_constants_that_tell_nothing(operator: str, constant: np.ndarray) -> None:
    m = model({"x": (F, ("N", 3, 7))}, [helper.make_node(operator, ["x", "c"], ["y"])], {"c": constant})
    x = open_data("random", m).batch(0, 64)["x"]
    assert abs(x.std() - 1) < 0.1


def test_integers() -> None:
    ids = open_data("random", gather(5), samples=64).batch(0, 64)["ids"]
    assert ids.dtype == np.int64 and ids.min() == 0 and ids.max() == 4
    kinds = {
        "attention_mask": (TensorProto.INT64, ("N", 4)),
        "flag": (TensorProto.BOOL, ("N",)),
        "pixels": (TensorProto.UINT8, ("N", 9, 9, 3)),
        "text": (TensorProto.STRING, ("N",)),
        "half": (TensorProto.FLOAT16, ("N", 2)),
        "brain": (TensorProto.BFLOAT16, ("N", 2)),
        "choice": (TensorProto.INT64, ("N", 4)),
    }
    batch = open_data("random", model(kinds), samples=8).batch(0, 8)
    assert (batch["attention_mask"] == 1).all() and batch["flag"].all() and batch["pixels"].max() > 250
    assert batch["text"].dtype == object and batch["half"].dtype == np.float16 and batch["brain"].dtype != np.float32
    assert set(batch["choice"].ravel()) == {0, 1}


def test_a_switch_takes_its_values_in_turn() -> None:
    node = helper.make_node("Equal", ["rate", "c"], ["y"])
    m = model({"rate": (TensorProto.INT64, ())}, [node], {"c": np.array(16000)})
    c = open_data("random", m, samples=4)
    assert [int(b["rate"]) for b in c.batches(1)] == [16000, 16001] * 2 and c.batch(0, 1)["rate"].shape == ()


def test_an_input_of_a_single_number() -> None:
    multiplied = [helper.make_node("Mul", ["x", "k"], ["y"], name="scaled")]
    c = open_data("random", model({"x": (F, ("N", 4)), "k": (F, ())}, multiplied), samples=6)
    feeds = list(c.batches(2))
    assert all(feed["k"].shape == () and feed["k"].dtype == np.float32 for feed in feeds)
    assert all(feed["x"].shape[1:] == (4,) for feed in feeds)
    rows = open_data("random", one("N"), samples=6).batch(0, 6)["x"]
    assert rows.shape == (6,) and len(np.unique(rows)) == 6

"""Arrays in files and in memory: names, shapes, types, values, batches."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from data_models import gather, model, one
from onnx import TensorProto

from onnxprune.data import Calibration, input_specs, open_data
from onnxprune.errors import DataError, UsageError

F, I64, U8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def rows(calibration: Calibration, name: str = "x") -> np.ndarray:
    return calibration.batch(0, calibration.samples)[name]


def fails(match: str, data: object, target: object, kind: type = DataError, **options: object) -> str:
    with pytest.raises(kind, match=match) as caught:
        open_data(data, target, **options)
    return str(caught.value)


# ---- forms -----------------------------------------------------------------------------------------------------------
def test_specs_leave_out_initializers_and_keep_symbols() -> None:
    m = model({"x": (F, ("N", 3, None, "?")), "w": (F, (2,))}, constants={"w": np.ones(2, np.float32)})
    (spec,) = input_specs(m)
    assert (spec.name, spec.dtype, spec.shape, str(spec)) == ("x", F, ("N", 3, None, None), "x: float32 (N, 3, ?, ?)")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: object) -> None:
    x, y = floats(7, 3), RNG.integers(0, 9, (7, 2))
    save(tmp_path / "c.npz", b=y, a=x)
    m = model({"a": (F, ("N", 3)), "b": (I64, ("N", 2))})
    c = open_data(str(tmp_path / "c.npz"), m)
    assert (c.samples, len(c), c.names, c.source) == (7, 7, ("a", "b"), "c.npz")
    batch = c.batch(2, 5)
    assert np.array_equal(batch["a"], x[2:5]) and np.array_equal(batch["b"], y[2:5])
    assert batch["a"].flags.c_contiguous and batch["a"].flags.aligned
    assert str(tmp_path) not in c.source and "7 samples" in repr(c)


def test_npz_of_one_array_under_any_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", floats(2, 3))
    assert open_data(tmp_path / "c.npz", one("N", 3)).source == "c.npz (array 'arr_0' for input 'x')"


def test_npy_is_mapped_and_named(tmp_path: Path) -> None:
    x = floats(4, 3)
    np.save(tmp_path / "a=b.npy", x)
    for text in (f"x={tmp_path}/a=b.npy", [f"x={tmp_path}/a=b.npy"], str(tmp_path / "a=b.npy")):
        c = open_data(text, one("N", 3))
        assert np.array_equal(rows(c), x) and c.source in ("x=a=b.npy", "a=b.npy")
    base = rows(c)
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base.base, mmap.mmap) and not base.flags.writeable


def test_several_npy_and_input_names_with_colon_and_equals(tmp_path: Path) -> None:
    m = model({"in:0": (F, ("N", 3)), "a=b": (F, ("N",))})
    np.save(tmp_path / "p.npy", floats(4, 3))
    np.save(tmp_path / "q.npy", floats(4))
    p, q = f"in:0={tmp_path}/p.npy", f"a=b={tmp_path}/q.npy"
    assert open_data([p, q], m).source == "in:0=p.npy, a=b=q.npy"
    fails("no data for input 'a=b'", [p], m)
    fails("given twice", [p, p], m, UsageError)
    fails("NAME=FILE", [p, str(tmp_path / "q.npy")], m, UsageError)
    fails("a .npy file is needed", [p, "a=b=q.txt"], m, UsageError)
    fails("say which", str(tmp_path / "p.npy"), m)
    assert "Did you mean 'in:0'" in fails("'in0' is not an input", [f"in0={tmp_path}/p.npy"], m)


def test_mapping_forms_and_fortran_order(tmp_path: Path) -> None:
    x = np.asfortranarray(floats(5, 3, 4))
    np.save(tmp_path / "f.npy", x)
    for data in ({"x": x}, tmp_path / "f.npy", {"x": x.tolist()}, {"x": x.astype(">f4")}):
        found = rows(open_data(data, one("N", 3, 4)))
        assert np.array_equal(found, x) and found.flags.c_contiguous and found.dtype == "=f4"


def test_missing_paths_and_unknown_forms_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "a.py").write_text("")
    m = one("N", 3)
    for text in ("nothing.npz", "", "a\0b", str(tmp_path / "a.txt"), str(tmp_path / "a.py"), "x=nothing.npy"):
        fails("no such file|not a data source|is not a .npz", text, m, UsageError)
    assert "random" in fails("no such file", "randon", m, UsageError)
    fails("samples= must be at least 1", "random", m, UsageError, samples=0)


# ---- names and counts ------------------------------------------------------------------------------------------------
def test_extra_and_missing_keys_name_the_expected_inputs() -> None:
    m = model({"a": (F, ("N", 3)), "mask": (I64, ("N", 2))})
    text = fails("'label' is not an input", {"a": floats(2, 3), "mask": np.ones((2, 2), int), "label": floats(2)}, m)
    assert "a: float32 (N, 3); mask: int64 (N, 2)" in text
    assert "Did you mean 'mask'" in fails("'maks'", {"a": floats(2, 3), "maks": np.ones((2, 2), int)}, m)
    fails("no data for input 'mask'", {"a": floats(2, 3)}, m)


def test_counts_must_agree_and_be_positive() -> None:
    m = model({"a": (F, ("N", 3)), "b": (F, ("N", 2))})
    fails("different numbers of samples: a 4, b 3", {"a": floats(4, 3), "b": floats(3, 2)}, m)
    fails("no samples", {"a": floats(0, 3), "b": floats(0, 2)}, m)
    fails("nothing to feed", {}, model({"w": (F, (2,))}, constants={"w": np.ones(2, np.float32)}))


@pytest.mark.parametrize("shape", [(4, 5), (4,), (4, 3, 1), (4, 0), (3,)])
def test_rank_and_static_sizes_must_match(shape: tuple[int, ...]) -> None:
    fails(r"x: float32 \(N, 3\)", {"x": floats(*shape)}, one("N", 3))


def test_hints_for_the_usual_mistakes() -> None:
    m = one("N", 3, 8, 8)
    assert "array[None]" in fails("does not fit", {"x": floats(3, 8, 8)}, m)
    assert "moveaxis" in fails("does not fit", {"x": floats(2, 8, 8, 3)}, m)
    assert "resized with preprocess=" in fails("does not fit", {"x": floats(2, 3, 9, 9)}, m)


def test_one_symbol_is_one_size() -> None:
    m = model({"a": (I64, ("N", "S")), "b": (I64, ("N", "S")), "c": (I64, ("N", None))})
    good = {"a": np.ones((2, 4), int), "b": np.ones((2, 4), int), "c": np.ones((2, 9), int)}
    assert open_data(good, m).samples == 2
    fails("'S' is 4 in input 'a' and 5 in 'b'", {**good, "b": np.ones((2, 5), int)}, m)


# ---- types -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (np.float64, F),
        (np.float32, TensorProto.FLOAT16),
        (np.float32, TensorProto.BFLOAT16),
        (np.float16, TensorProto.DOUBLE),
        (np.int64, F),
        (np.int8, F),
        (bool, F),
        (np.int64, TensorProto.INT32),
        (np.int64, U8),
        (np.uint8, I64),
        (np.int64, TensorProto.BOOL),
        (bool, I64),
        (np.int64, TensorProto.INT4),
    ],
)
def test_safe_conversions(given: type, wanted: int) -> None:
    x = np.array([[0, 1, 1], [1, 0, 0]]).astype(given)
    m = one("N", 3, dtype=wanted)
    found = rows(open_data({"x": x}, m))
    assert found.dtype == input_specs(m)[0].numpy and np.array_equal(found.astype(np.float64), x.astype(np.float64))


@pytest.mark.parametrize(
    ("given", "wanted", "match"),
    [
        (np.array([[1.0]]), I64, "whole numbers"),
        (np.array([[1.0]]), TensorProto.BOOL, "whole numbers"),
        (np.array([[1 + 1j]]), F, "complex"),
        (np.array([["a"]]), F, "Convert the data"),
        (np.array([[7]], np.uint8), F, "how the values are scaled"),
        (np.array([[0], [300]]), U8, "row 1: 300 cannot be held by uint8"),
        (np.array([[-1]]), TensorProto.UINT64, "-1 cannot be held"),
        (np.array([[2**63]], np.uint64), I64, "cannot be held"),
        (np.array([[2**24 + 1]]), F, "16777217 cannot be held by float32"),
        (np.array([[2]]), TensorProto.BOOL, "2 cannot be held by bool"),
        (np.array([[1e300]]), F, "1e.300 is too large for float32"),
        (np.array([[1e6]], np.float32), TensorProto.FLOAT16, "too large for float16"),
    ],
)
def test_unsafe_conversions(given: np.ndarray, wanted: int, match: str) -> None:
    fails(match, {"x": given}, one("N", 1, dtype=wanted))


def test_strings_and_bfloat16_files(tmp_path: Path) -> None:
    found = rows(open_data({"x": np.array([["a", "bc"]])}, one("N", 2, dtype=TensorProto.STRING)))
    assert found.dtype == object and found.tolist() == [["a", "bc"]]
    np.save(tmp_path / "b.npy", floats(2, 3).astype(ml_dtypes.bfloat16))
    assert rows(open_data(tmp_path / "b.npy", one("N", 3, dtype=TensorProto.BFLOAT16))).dtype == ml_dtypes.bfloat16
    fails("Python objects", {"x": np.array([[{}]])}, one("N", 1, dtype=TensorProto.STRING))


# ---- values ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_found_with_their_place(bad: float) -> None:
    x = floats(9, 2, 3)
    x[6, 1, 2] = bad
    fails(r"input 'x', arrays, row 6, position \(1, 2\): -?(nan|inf) is not a finite number", {"x": x}, one("N", 2, 3))


def test_integers_within_the_table() -> None:
    m = gather(5)
    assert open_data({"ids": np.array([[0, 4], [-1, -5]])}, m).samples == 2
    fails(r"row 1, position \(0,\): 5 is outside of the table of 5 rows", {"ids": np.array([[0, 4], [5, 0]])}, m)
    fails("-6 is outside", {"ids": np.array([[-6, 0]])}, m)


# ---- batches ---------------------------------------------------------------------------------------------------------
def test_batches_split_take() -> None:
    x = np.arange(10, dtype=np.float32)[:, None]
    c = open_data({"x": x}, one("N", 1))
    assert [len(b["x"]) for b in c.batches(4)] == [4, 4, 2] and not c.fixed_batch and c.uniform
    assert np.array_equal(np.concatenate([b["x"] for b in c.batches(3)]), x)
    fit, held = c.split(0.3, seed=1)
    assert (fit.samples, held.samples) == (7, 3) and held.source.endswith("(held out)")
    assert sorted(rows(fit).ravel().tolist() + rows(held).ravel().tolist()) == list(range(10))
    assert np.array_equal(rows(c.split(0.3, seed=1)[1]), rows(held))
    assert not np.array_equal(rows(c.split(0.3, seed=2)[1]), rows(held))
    assert c.take(3).samples == 3 and c.take(99).samples == 10
    assert np.array_equal(rows(held.take(2)), rows(held)[:2])
    assert len(c.batch(8, 99)["x"]) == 2
    assert open_data({"x": x}, one("N", 1), samples=4).source == "arrays (4 of 10 samples)"
    for bad in (lambda: c.batch(10, 12), lambda: c.batch(3, 3), lambda: c.batch(-1, 2)):
        with pytest.raises(IndexError):
            bad()
    for wrong in (lambda: c.take(0), lambda: list(c.batches(0)), lambda: c.split(0.0), lambda: c.split(1.0)):
        with pytest.raises(ValueError):
            wrong()


@pytest.mark.parametrize(("samples", "held"), [(1, 1), (2, 1), (3, 1), (100, 20)])
def test_split_leaves_something_on_both_sides(samples: int, held: int) -> None:
    fit, judge = open_data({"x": floats(samples, 1)}, one("N", 1)).split()
    assert judge.samples == held and fit.samples == max(samples - held, 1)
    assert ("only one" in judge.source) == (samples == 1)


def test_samples_is_a_seeded_draw_in_order() -> None:
    x = np.arange(100, dtype=np.float32)[:, None]
    draws = [rows(open_data({"x": x}, one("N", 1), samples=10, seed=s)).ravel() for s in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    assert np.array_equal(draws[0], np.sort(draws[0])) and draws[0][-1] > 50


def test_a_fixed_batch_groups_the_rows() -> None:
    x = np.arange(11, dtype=np.float32)[:, None]
    c = open_data({"x": x}, one(4, 1))
    assert c.samples == 2 and c.fixed_batch and "3 left over" in c.source
    assert [b["x"].ravel().tolist() for b in c.batches(8)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert c.batch(0, 2)["x"].shape == (8, 1) and c.shapes(1) == {"x": (4, 1)}
    fails("has 3 rows, the model takes 4 at a time", {"x": x[:3]}, one(4, 1))
    assert open_data({"x": x.reshape(11, 1, 1)}, one(1, 1)).samples == 11


def test_a_model_without_a_batch_axis_takes_one_more_axis() -> None:
    x = floats(5, 3, 8, 8)
    c = open_data({"x": x}, one(3, 8, 8))
    assert c.samples == 5 and np.array_equal(c.batch(2, 3)["x"], x[2])


def test_scalars_and_shared_inputs() -> None:
    m = model({"x": (F, ("N", 3)), "rate": (I64, ()), "position": (I64, (1, 4))})
    x = floats(3, 3)
    c = open_data({"x": x, "rate": np.array(16000), "position": np.arange(4)[None]}, m)
    feeds = list(c.batches(8))
    assert (
        c.samples == 3
        and [f["rate"].shape for f in feeds] == [()] * 3
        and feeds[2]["position"].tolist() == [[0, 1, 2, 3]]
    )
    c = open_data({"x": x, "rate": np.array([1, 2, 3]), "position": np.arange(12).reshape(3, 4)}, m)
    assert [int(f["rate"]) for f in c.batches(1)] == [1, 2, 3]
    with pytest.raises(DataError, match="one sample at a time"):
        c.batch(0, 2)
    assert int(c.split()[1].batch(0, 1)["rate"]) in (1, 2, 3)


def test_a_source_has_no_absolute_path(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", floats(2, 3))
    (tmp_path / "d").mkdir()
    os.link(tmp_path / "a.npy", tmp_path / "d" / "1.npy")
    for text in (tmp_path / "a.npy", f"x={tmp_path / 'a.npy'}", tmp_path / "d"):
        assert str(tmp_path) not in open_data(text, one("N", 3)).source

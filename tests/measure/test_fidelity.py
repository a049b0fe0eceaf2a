"""Fidelity on real files, against numpy on all samples at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import onnxprune
from onnxprune.errors import DataError, ModelError
from onnxprune.measure import tally
from onnxprune.measure.fidelity import fidelity
from onnxprune.measure.wilson import wilson
from onnxprune.model import load, write
from onnxprune.results import OutputFidelity

Array = NDArray[Any]
ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits.onnx"


def images(count: int = 100) -> Array:
    with np.load(ROOT / "models" / "digits_calib.npz") as file:
        return np.asarray(file["image"][:count])


def feeds(array: Array, size: int, name: str = "image") -> list[dict[str, Array]]:
    return [{name: array[start : start + size]} for start in range(0, len(array), size)]


def scores(path: Path, array: Array) -> Array:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": array})[0], np.float64)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_digits_against_numpy(tmp_path: Path, size: int) -> None:
    candidate = onnxprune.shrink(DIGITS, tmp_path / "out.onnx", ratio=0.4).written[0]
    x = images()
    heard: list[tuple[int, int]] = []
    found = fidelity(DIGITS, candidate, feeds(x, size), progress=lambda *step: heard.append(step))
    a, b = scores(DIGITS, x), scores(candidate, x)
    (output,) = found.outputs
    same = float(np.mean(a.argmax(1) == b.argmax(1)))
    assert 0 < same < 1, "a candidate that differs, or this shows nothing"
    assert output.agreement is not None and output.agreement.share == pytest.approx(same) == found.agreement
    assert (output.agreement.low, output.agreement.high) == pytest.approx(wilson(same, 100))
    assert output.relative_error == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a), rel=1e-5)
    assert output.relative_error == found.worst_error
    assert output.max_absolute == pytest.approx(np.abs(a - b).max(), rel=1e-4)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert output.cosine == pytest.approx(cosine.mean(), rel=1e-5)
    assert found.samples == output.agreement.samples == 100 and output.elements == 1000
    total = math.ceil(100 / size)
    assert heard == [(k, total) for k in range(1, total + 1)]


def test_models_in_memory_and_with_external_data(tmp_path: Path) -> None:
    """A Model, its own file, a changed one, one behind a link, one in two files: all the same network."""
    model = load(DIGITS)
    two = write(model, tmp_path / "two.onnx", external_data="always")[0]
    (tmp_path / "link").mkdir()
    for part in tmp_path.glob("two.onnx*"):
        (tmp_path / "link" / part.name).symlink_to(part)
    changed = model.replace(onnx.ModelProto.FromString(model.proto.SerializeToString()), model.tensors)
    assert changed.source is None
    for candidate in (model, changed, two, load(two), load(tmp_path / "link" / "two.onnx")):
        found = fidelity(model, candidate, feeds(images(20), 10))
        assert found.agreement == 1.0 and found.worst_error is not None and found.worst_error < 1e-6


# ---- one output at a time ------------------------------------------------------------------------------------------
def constant(path: Path, values: Array | list[str], batch: bool = True) -> Path:
    """A model that gives rows of `values` whatever its input holds: y = Gather(values, x) (or all of them)."""
    array = np.asarray(values)
    kind = TensorProto.STRING if array.dtype.kind == "U" else helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = numpy_helper.from_array(array.astype(object) if array.dtype.kind == "U" else array, "v")
    shape: list[Any] = ["N" if batch else "M", *array.shape[1:]]
    nodes = [helper.make_node("Gather", ["v", "x"], ["y"], axis=0)]
    if not batch:
        nodes = [helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0), helper.make_node("Sub", ["s", "s"], ["o"])]
        nodes += [helper.make_node("Range", ["o", "count", "one"], ["all"])]
        nodes += [helper.make_node("Gather", ["v", "all"], ["y"], axis=0)]
    extra = [numpy_helper.from_array(np.array(k, np.int64), n) for n, k in (("count", len(array)), ("one", 1))]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("y", kind, shape)],
        [tensor, *(extra if not batch else [])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def compare(
    tmp_path: Path, a: Any, b: Any, *, size: int = 2, batch: bool = True, rows: int | None = None
) -> OutputFidelity:
    files = [constant(tmp_path / f"{name}.onnx", np.asarray(v), batch) for name, v in (("a", a), ("b", b))]
    count = len(np.asarray(a)) if rows is None else rows
    return fidelity(files[0], files[1], feeds(np.arange(count), size, "x")).outputs[0]


RNG = np.random.default_rng(0)
REALS = [RNG.normal(size=(5, 4)), RNG.normal(size=(5, 3, 1, 1)), RNG.normal(size=(5, 2, 3)), RNG.normal(size=(5,))]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("a", REALS, ids=lambda a: str(a.shape))
def test_shapes_and_types(tmp_path: Path, a: Array, dtype: type) -> None:
    a = a.astype(dtype)
    b = (a + RNG.normal(size=a.shape).astype(dtype)).astype(dtype)
    found = compare(tmp_path, a, b)
    x, y = a.astype(np.float64).reshape(5, -1), b.astype(np.float64).reshape(5, -1)
    assert found.relative_error == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(x))
    assert found.max_absolute == pytest.approx(np.abs(x - y).max())
    expected = [float(p @ q / np.linalg.norm(p) / np.linalg.norm(q)) for p, q in zip(x, y, strict=True)]
    assert found.cosine == pytest.approx(np.mean(expected))
    if a.ndim in (2, 4):
        assert found.agreement is not None and found.agreement.share == np.mean(x.argmax(1) == y.argmax(1))
        assert found.reason is None
    else:
        assert found.agreement is None and found.reason in (tally.ONE_CLASS, tally.NOT_SCORES.format(rank=2))


def test_large_outputs_are_compared_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = RNG.normal(size=(9, 6)), RNG.normal(size=(9, 6))
    whole = compare(tmp_path, a, b, size=9)
    monkeypatch.setattr(tally, "CHUNK", 13)
    pieces = compare(tmp_path, a, b, size=9)
    assert pieces.agreement == whole.agreement and pieces.max_absolute == whole.max_absolute
    assert (pieces.relative_error, pieces.cosine) == pytest.approx((whole.relative_error, whole.cosine))


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        (np.array([1, 2, 3, 4]), np.array([1, 2, 0, 4]), 3 / 4),
        (np.array([[1, 2], [3, 4]], np.int32), np.array([[1, 0], [0, 4]], np.int32), 1 / 2),
        (np.array([True, False]), np.array([True, True]), 1 / 2),
        (np.array(["cat", "dog", "cow"]), np.array(["cat", "dog", "cat"]), 2 / 3),
    ],
    ids=["integers", "rows", "booleans", "strings"],
)
def test_symbols(tmp_path: Path, a: Array, b: Array, share: float) -> None:
    found = compare(tmp_path, a, b)
    assert found.agreement is not None and found.agreement.share == pytest.approx(share)
    assert found.agreement.samples == len(a), "elements of one sample hang together: the interval counts samples"
    assert found.relative_error is None and found.cosine is None


def test_what_is_not_finite_is_told(tmp_path: Path) -> None:
    a = np.array([[1.0, np.nan, 2.0], [np.inf, 1.0, 1.0]])
    same = compare(tmp_path, a, a)
    assert (same.not_finite, same.clashes, same.relative_error, same.max_absolute) == (2, 0, 0.0, 0.0)
    assert same.cosine == pytest.approx(1.0)
    for wrong in (np.nan, np.inf, -np.inf):
        b = np.array([[1.0, np.nan, 2.0], [np.inf, 1.0, wrong]])
        found = compare(tmp_path, a, b)
        assert (found.not_finite, found.clashes) == (3, 1)
        assert found.relative_error == math.inf == found.max_absolute and found.cosine is None
    other = compare(tmp_path, a, np.array([[1.0, np.nan, 2.0], [-np.inf, 1.0, 1.0]]))
    assert (other.not_finite, other.clashes) == (2, 1)


def test_zeros(tmp_path: Path) -> None:
    zero, one = np.zeros((2, 3)), np.ones((2, 3))
    assert compare(tmp_path, zero, zero).relative_error == 0 and compare(tmp_path, zero, zero).cosine == 1
    assert compare(tmp_path, zero, one).relative_error == math.inf and compare(tmp_path, zero, one).cosine == 0
    assert compare(tmp_path, np.zeros((2, 0)), np.zeros((2, 0))).reason == "it has no elements"


def test_outputs_without_samples(tmp_path: Path) -> None:
    """The first axis is something else: what a feed gives is one sample, and nothing is a class."""
    a, b = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
    found = compare(tmp_path, a, b, batch=False, size=2, rows=4)
    assert found.reason == tally.NO_SAMPLES and found.agreement is None and found.elements == 24
    cosine = float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
    assert found.cosine == pytest.approx(cosine)


def test_shapes_that_depend_on_values(tmp_path: Path) -> None:
    a, b = RNG.normal(size=(3, 4)), RNG.normal(size=(2, 4))
    found = compare(tmp_path, a, b, batch=False, rows=4)
    assert found.reason == tally.RESHAPED.format(count=2, total=2)
    assert found.relative_error is None and found.agreement is None


def sequence(path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_outputs_that_are_no_tensors(tmp_path: Path) -> None:
    path = sequence(tmp_path / "s.onnx")
    found = fidelity(path, path, feeds(np.zeros(3, np.float32), 3, "x"))
    assert found.agreement is None and found.worst_error is None
    assert found.outputs[0].reason == "it is a seq(tensor(float)), which is not compared"


def test_models_that_cannot_be_compared(tmp_path: Path) -> None:
    a = constant(tmp_path / "a.onnx", np.ones((2, 2)))
    with pytest.raises(DataError, match="the original does not run on the samples"):
        fidelity(a, a, feeds(np.array([5]), 1, "x"))
    with pytest.raises(DataError, match="no samples"):
        fidelity(a, a, [])
    (tmp_path / "b.onnx").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="cannot load the candidate"):
        fidelity(a, tmp_path / "b.onnx", feeds(np.array([0]), 1, "x"))
    with pytest.raises(ModelError, match="has no output 'y'"):
        fidelity(a, DIGITS, feeds(np.array([0]), 1, "x"))


def test_samples_are_counted_where_the_outputs_say_so() -> None:
    """Of axes of equal length: 4 samples beside 4 classes, or beside 4 steps in time."""
    for declared, axis in (([4, "N"], 1), (["N", 4], 0), (["T", "N", 7], 1), ([None, "N"], 1), ([None, None], 0)):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, declared)
        node = helper.make_node("Identity", ["x"], ["y"])
        model = load(helper.make_model(helper.make_graph([node], "g", [x], [y])))
        counting = tally.counting_axes(model)["y"]
        assert tally.sample_axis((4,) * len(declared), 4, counting) == axis
    assert tally.sample_axis((1, 1), 1, [0, 1]) == 0 and tally.sample_axis((4, 1), 1, [1]) is None

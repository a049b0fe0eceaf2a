"""Samples from code: what it returns, yields, raises, and never finishes."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data_models import model, one
from onnx import TensorProto

from onnxprune.data import open_data, pieces
from onnxprune.errors import DataError, UsageError

M = one("N", 3)
TWO = model({"a": (TensorProto.FLOAT, ("N", "S")), "b": (TensorProto.INT64, ("N", "S"))})


def write(tmp_path: Path, text: str) -> str:
    (tmp_path / "load.py").write_text(text)
    return f"{tmp_path / 'load.py'}:samples"


def fails(match: str, data: object, kind: type = DataError, target: object = M) -> str:
    with pytest.raises(kind, match=match) as caught:
        open_data(data, target)
    return str(caught.value)


def test_a_dict_of_arrays(tmp_path: Path) -> None:
    text = write(tmp_path, "import numpy as np\ndef samples():\n    return {'x': np.ones((4, 3))}\n")
    c = open_data(text, M)
    assert c.samples == 4 and c.source == "load.py:samples"


def test_it_yields_samples_or_batches_and_imports_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_load.py").write_text("import numpy as np\ndef one(i): return np.full(3, i, 'float32')\n")
    text = write(
        tmp_path,
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport neighbour_of_load\n"
        "@dataclass\nclass A:\n    x: int\n"
        "def samples():\n    print('hello')\n"
        "    for i in range(4):\n        yield {'x': neighbour_of_load.one(i)}\n"
        "    yield {'x': neighbour_of_load.one(4)[None].repeat(2, 0)}\n",
    )
    c = open_data(text, M)
    assert c.batch(0, 6)["x"][:, 0].tolist() == [0, 1, 2, 3, 4, 4] and c.source == "load.py:samples (all it gave)"
    assert not (tmp_path / "__pycache__").exists() and str(tmp_path) not in sys.path
    assert "onnxprune_data_function" not in sys.modules
    sys.modules.pop("neighbour_of_load")


def test_what_it_prints_stays_off_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_data(write(tmp_path, "print('one')\ndef samples():\n    print('two')\n    return {'x': [[1., 2., 3.]]}\n"), M)
    out, err = capsys.readouterr()
    assert out == "" and err == "one\ntwo\n"


def test_one_that_never_ends_is_asked_for_samples_only() -> None:
    closed = []

    def forever() -> Iterator[object]:
        try:
            for i in itertools.count():
                yield {"x": np.full(3, i, np.float32)}
        finally:
            closed.append(True)

    c = open_data(forever, M)
    assert c.samples == 1024 and c.source == "forever (first 1024 samples)" and closed
    c = open_data(forever, M, samples=5)
    assert c.batch(0, 5)["x"][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert open_data(forever, one(4, 3), samples=5).samples == 5
    assert open_data(lambda: ({"x": np.ones((7, 3))} for _ in itertools.count()), M, samples=10).samples == 10


def test_one_that_gives_too_much_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LIMIT_BYTES", 10_000)
    fails("larger than", lambda: ({"x": np.ones((1000, 3), np.float32)} for _ in itertools.count()))


def test_what_it_raises_comes_with_message_and_line(tmp_path: Path) -> None:
    text = write(tmp_path, "import math\ndef samples():\n    yield {'x': [1., 2., 3.]}\n    math.sqrt(-1)\n")
    fails(r"load.py:samples failed in line 4 \(math.sqrt\(-1\)\): ValueError: ", text)
    fails("failed in line 1 .*ZeroDivisionError", write(tmp_path, "1 / 0\n"))
    fails("failed in line 2: SyntaxError", write(tmp_path, "x = 1\ndef f(:\n"))
    fails("SystemExit: 3", write(tmp_path, "import sys\ndef samples():\n    sys.exit(3)\n"))
    fails("missing 1 required positional argument", write(tmp_path, "def samples(a):\n    return a\n"))

    def broken() -> object:
        raise RuntimeError("the disk is gone")

    fails(r"broken failed in line \d+ .*RuntimeError: the disk is gone", broken)


def test_names_that_do_not_exist(tmp_path: Path) -> None:
    assert "Did you mean 'sample'" in fails(
        "no function 'samples'", write(tmp_path, "def sample(): pass\n"), UsageError
    )
    fails("no such file", str(tmp_path / "gone.py:f"), UsageError)
    assert "file.py:function" in fails("not a .npz", str(tmp_path / "load.py"), UsageError)


@pytest.mark.parametrize(
    ("result", "match"),
    [
        (None, "returned NoneType"),
        (3, "returned int"),
        ("x", "returned str"),
        ([], "gave no samples"),
        ([None], "item 1: a dict of arrays"),
        ([{"y": np.ones(3)}], "item 1: 'y' is not an input"),
        ([{"x": np.ones(3)}, {}], "item 2: no data for input 'x'"),
        ([{"x": np.ones((0, 3))}], "item 1: no samples"),
        ([{"x": np.ones(4)}], "item 1: shape"),
        ([{"x": np.ones((1, 1, 1, 3))}], "item 1: shape"),
        ([{"x": np.ones(3)}, {"x": np.array([1, np.nan, 2])}], r"item 2, position \(1,\): nan"),
        ([{"x": [[1.0], [2.0, 3.0]]}], "is not an array"),
        ([{"x": {}}], "Python objects"),
        ([{"x": np.ones(3)}, {"x": np.zeros(3, np.uint8)}], "item 2: input 'x' is float32, the data is uint8"),
    ],
)
def test_results_that_do_not_fit(result: object, match: str) -> None:
    fails(match, lambda: result)


def test_the_sizes_may_differ_between_samples_but_not_within_one() -> None:
    sizes = [4, 4, 7, 7, 7, 4]
    c = open_data(lambda: [{"a": np.full(s, s, np.float32), "b": np.full(s, s)} for s in sizes], TWO)
    assert not c.uniform and c.samples == 6
    assert [b["a"].shape for b in c.batches(2)] == [(2, 4), (2, 7), (1, 7), (1, 4)]
    assert [b["a"].shape for b in c.batches(1)] == [(1, s) for s in sizes]
    assert c.batch(2, 5)["b"].tolist() == [[7] * 7] * 3
    with pytest.raises(DataError, match="different sizes cannot share a batch"):
        c.batch(0, 3)
    fails("'S' is 4 in input 'a' and 5 in 'b'", lambda: [{"a": np.ones(4), "b": np.ones(5, int)}], target=TWO)
    fails(
        "different numbers of samples: a 2, b 1",
        lambda: [{"a": np.ones((2, 4)), "b": np.ones((1, 4), int)}],
        target=TWO,
    )
    fixed = one(2, "S")
    fails("differs from .* within a batch of 2", lambda: [{"x": np.ones(4)}, {"x": np.ones(5)}], target=fixed)


def test_types_may_differ_between_samples() -> None:
    c = open_data(lambda: [{"x": np.ones(3, t)} for t in ("f4", "f8", "i4")], M)
    assert c.batch(0, 3)["x"].dtype == np.float32


def test_tensors_of_other_libraries() -> None:
    class Tensor:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return np.ones((2, 3), np.float32)

    assert open_data(lambda: {"x": Tensor()}, M).samples == 2
    assert open_data(lambda: iter([Tensor()]), M).samples == 2
    assert open_data(lambda: Tensor(), M).samples == 2

"""The user's metric: what it gets, what it may return, how it fails."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import onnxprune
from onnxprune.errors import DataError, UsageError
from onnxprune.measure.metric import open_metric

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits.onnx"
ACCURACY = """
import numpy as np
import onnxruntime

def accuracy(path):
    print("scoring")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with np.load(TEST) as test:
        scores, = session.run(None, {"image": test["image"]})
        return np.mean(scores.argmax(1) == test["label"])
"""


def script(folder: Path, text: str) -> str:
    (folder / "score.py").write_text(text)
    return f"{folder / 'score.py'}:metric"


def test_a_real_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is called with the path of a model that it can run; what it prints stays off stdout."""
    test = str(ROOT / "models" / "digits_test.npz")
    text = script(tmp_path, ACCURACY.replace("accuracy", "metric").replace("TEST", repr(test)))
    smaller = onnxprune.shrink(DIGITS, tmp_path / "out.onnx", ratio=0.7).written[0]
    with open_metric(text) as metric:
        before, after = metric(DIGITS), metric(smaller)
    assert metric.label == "score.py:metric"
    assert before > 0.9 and 0 <= after < before
    out, err = capsys.readouterr()
    assert out == "" and err == "scoring\nscoring\n"
    assert str(tmp_path) not in sys.path and not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.array(0.5), -3])
def test_numbers_of_every_kind(value: float) -> None:
    with open_metric(lambda path: value) as metric:
        assert metric(DIGITS) == float(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "returned nan for digits.onnx"),
        (float("-inf"), "returned -inf"),
        (None, "returned NoneType, not a number"),
        ("0.9", "returned str, not a number"),
        (np.ones(3), "returned ndarray, not a number"),
        ({"accuracy": 0.9}, "returned dict, not a number"),
    ],
)
def test_what_is_no_number(value: object, words: str) -> None:
    with open_metric(lambda path: value) as metric, pytest.raises(DataError, match=words) as caught:
        metric(DIGITS)
    assert "higher is better" in str(caught.value) and caught.value.exit_code == 3


def test_what_it_raises_comes_with_its_line(tmp_path: Path) -> None:
    text = script(tmp_path, "import math\ndef metric(path):\n    return math.sqrt(-1)\n")
    with (
        open_metric(text) as metric,
        pytest.raises(DataError, match=r"score.py:metric failed in line 3 \(return math.sqrt\(-1\)\): ValueError"),
    ):
        metric(DIGITS)
    with (
        open_metric(script(tmp_path, "def metric():\n    return 1\n")) as metric,
        pytest.raises(DataError, match="0 pos"),
    ):
        metric(DIGITS)
    with (
        pytest.raises(DataError, match="failed in line 2: SyntaxError"),
        open_metric(script(tmp_path, "x = 1\ndef f(:\n")),
    ):
        raise AssertionError("it cannot be loaded")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accuracy", "is file.py:function"),
        ("gone.py:metric", "no such file"),
        ("score.py:metrik", "Did you mean 'metric'"),
    ],
)
def test_metrics_that_do_not_exist(tmp_path: Path, text: str, words: str) -> None:
    script(tmp_path, "def metric(path): return 1\n")
    where = text if ":" not in text else str(tmp_path / text)
    with pytest.raises(UsageError, match=words), open_metric(where):
        raise AssertionError("it does not exist")

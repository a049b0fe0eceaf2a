"""`--metric` and `--max-drop`: a gate for a given amount, a search without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_schema import check
from cli_support import ROOT, Call, Document

import onnxprune
from onnxprune.errors import GateError, UsageError

TEST = str(ROOT / "models" / "digits_test.npz")
SCORE = f"""
import numpy as np
import onnxruntime

def accuracy(path):
    print("scoring", path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with np.load({TEST!r}) as test:
        return np.mean(session.run(None, {{"image": test["image"]}})[0].argmax(1) == test["label"])

def broken(path):
    return 1 / 0

def nothing(path):
    return float("nan")
"""
METRIC = ("--metric", "score.py:accuracy")


@pytest.fixture(autouse=True)
def score(folder: Path) -> None:
    (folder / "score.py").write_text(SCORE)


def accuracy(path: Path) -> float:
    scope: dict[str, object] = {}
    exec(SCORE, scope)
    return float(scope["accuracy"](str(path)))  # type: ignore[operator]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_it_is_reported_without_a_bound(call: Call, document: Document, folder: Path) -> None:
    found = document("shrink", "digits.onnx", "--ratio", "0.3", *METRIC)
    check(found)
    metric = found["metric"]
    assert metric["name"] == "score.py:accuracy" and metric["max_drop_absolute"] is None and metric["trials"] == []
    assert metric["before_absolute"] == accuracy(folder / "digits.onnx")
    assert metric["after_absolute"] == accuracy(folder / "digits.pruned.onnx") < metric["before_absolute"]
    text = call("shrink", "digits.onnx", "--ratio", "0.3", *METRIC, "--force").stdout
    assert f"measured  score.py:accuracy {metric['before_absolute']:.4g} before" in text


def test_a_gate(document: Document, folder: Path) -> None:
    """An amount that costs too much: exit code 1, and nothing is written; with room enough it is."""
    before = files(folder)
    failed = document("shrink", "digits.onnx", "--ratio", "0.3", *METRIC, "--max-drop", "0.05", code=1)
    check(failed)
    assert failed["error"]["type"] == "GateError" and "score.py:accuracy falls by 0." in failed["error"]["message"]
    assert "--max-drop allows 0.05" in failed["error"]["message"] and files(folder) == before
    found = document("shrink", "digits.onnx", "--ratio", "0.3", *METRIC, "--max-drop", "0.9")
    assert found["written"] and found["metric"]["trials"] == [] and found["asked_ratio"] == 0.3
    document("shrink", "digits.onnx", "--target", "macs=40%", *METRIC, "--max-drop", "0.05", "-o", "x.onnx", code=1)
    document("shrink", "digits.onnx", "--ratio", "0.3", *METRIC, "--max-drop", "0.05", "--dry-run", code=1)


def test_a_search(document: Document, folder: Path) -> None:
    """The file that is written is within the bound; the next ratio that was tried is not."""
    found = document("shrink", "digits.onnx", *METRIC, "--max-drop", "0.02")
    check(found)
    metric, trials = found["metric"], found["metric"]["trials"]
    assert metric["after_absolute"] == accuracy(folder / "digits.pruned.onnx") >= metric["before_absolute"] - 0.02
    within = [t for t in trials if t["value_absolute"] >= metric["before_absolute"] - 0.02]
    best = max(within, key=lambda trial: trial["asked_ratio"])
    assert best["removed_count"] == found["plan"]["removed_count"] > 0
    assert best["value_absolute"] == metric["after_absolute"], "what is written is what was tried"
    assert any(best["asked_ratio"] < t["asked_ratio"] < best["asked_ratio"] + 0.02 for t in trials if t not in within)
    assert found["asked_ratio"] is None
    dry = document("shrink", "digits.onnx", *METRIC, "--max-drop", "0.02", "--dry-run")
    assert dry["plan"]["digest"] == found["plan"]["digest"] and dry["metric"] == metric and not dry["written"]


def test_samples_let_more_go(document: Document) -> None:
    data = ("--data", ROOT / "models" / "digits_calib.npz", "--samples", 100, "--repair", "least-squares")
    bound = (*METRIC, "--max-drop", "0.03", "--dry-run")
    without, refitted = document("shrink", "digits.onnx", *bound), document("shrink", "digits.onnx", *bound, *data)
    assert refitted["plan"]["removed_count"] > 2 * without["plan"]["removed_count"] > 0


def test_with_samples_targets_are_searched(document: Document) -> None:
    """What is chosen is what the target by itself would choose, and the trials say which targets there were."""
    data = ("--data", ROOT / "models" / "digits_calib.npz", "--samples", 60, "--repair", "least-squares", "--dry-run")
    found = document("shrink", "digits.onnx", *METRIC, "--max-drop", "0.004", *data)
    check(found)
    asked = [trial["asked"] for trial in found["metric"]["trials"]]
    assert len(asked) > 1 and all(text.startswith("macs=") for text in asked)
    assert found["target"]["asked"] in asked and found["asked_ratio"] is None
    again = document("shrink", "digits.onnx", "--target", found["target"]["asked"], *data)
    assert again["plan"]["digest"] == found["plan"]["digest"]
    shares = document("shrink", "digits.onnx", *METRIC, "--max-drop", "0.004", "--scope", "local", *data)
    assert all(trial["asked"].startswith("ratio ") for trial in shares["metric"]["trials"])


def test_a_bound_that_nothing_reaches(folder: Path) -> None:
    """A metric that only the original satisfies."""
    size = (folder / "digits.onnx").stat().st_size
    with pytest.raises(GateError, match="however little is removed") as caught:
        onnxprune.shrink("digits.onnx", metric=lambda path: float(Path(path).stat().st_size >= size), max_drop=0)
    assert caught.value.exit_code == 1 and files(folder) == {"digits.onnx", "score.py"}


def test_everything_that_can_go(folder: Path) -> None:
    found = onnxprune.shrink("digits.onnx", metric=lambda path: 1, max_drop=0, multiple_of=4)
    assert found.metric is not None and [trial.ratio for trial in found.metric.trials] == [1.0]
    assert found.metric.name == "<lambda>" and found.reached_ratio > 0.9 and found.written


def test_nothing_to_remove_is_no_failure(document: Document) -> None:
    found = document("shrink", "digits.onnx", "--exclude", "*", *METRIC, "--max-drop", "0.02")
    assert found["metric"]["trials"] == [] and found["metric"]["after_absolute"] is None and not found["written"]


def test_drops_at_the_bound_are_within_it(folder: Path) -> None:
    """0.98 - 0.97 is more than 0.01 in binary; nobody means that."""
    values = iter([0.98, 0.97, 0.98, 0.9699])
    assert onnxprune.shrink("digits.onnx", ratio=0.1, metric=lambda path: next(values), max_drop=0.01).written
    with pytest.raises(GateError):
        onnxprune.shrink("digits.onnx", "b.onnx", ratio=0.1, metric=lambda path: next(values), max_drop=0.01)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--max-drop", "0.1"), 2, "--max-drop needs --metric"),
        ((*METRIC, "--max-drop", "-1"), 2, "at least 0"),
        ((*METRIC, "--max-drop", "nan"), 2, "at least 0"),
        (("--metric", "accuracy"), 2, "is file.py:function"),
        (("--metric", "gone.py:accuracy"), 2, "no such file"),
        (("--metric", "score.py:acuracy"), 2, "Did you mean 'accuracy'"),
        (("--metric", "score.py:broken"), 3, "failed in line 12 (return 1 / 0): ZeroDivisionError"),
        (("--metric", "score.py:nothing"), 3, "returned nan for digits.onnx"),
        ((*METRIC, "-o", "score.py", "--force"), 2, "is an input file"),
    ],
)
def test_metrics_that_cannot_be_used(
    call: Call, folder: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    before = files(folder)
    assert words in call("shrink", "digits.onnx", *arguments, code=code).stderr
    assert files(folder) == before


def test_no_code_from_a_configuration(call: Call, folder: Path) -> None:
    (folder / "onnxprune.toml").write_text('metric = "score.py:accuracy"\n')
    assert "unknown key 'metric'" in call("shrink", "digits.onnx", code=2).stderr


def test_what_a_metric_prints_stays_off_stdout(call: Call) -> None:
    result = call("shrink", "digits.onnx", "--ratio", "0.1", *METRIC, "--format", "json")
    json.loads(result.stdout)
    assert result.stderr.count("scoring") == 2


def test_models_in_memory(folder: Path) -> None:
    """The metric gets a file of a model that was never in one."""
    model = onnxprune.load("digits.onnx")
    changed = model.replace(type(model.proto).FromString(model.proto.SerializeToString()), model.tensors)
    found = onnxprune.shrink(changed, "out.onnx", ratio=0.1, metric=lambda path: accuracy(Path(path)))
    assert found.metric is not None and found.metric.before == accuracy(folder / "digits.onnx")
    with pytest.raises(UsageError, match="needs metric="):
        onnxprune.shrink(changed, "out2.onnx", max_drop=0.1)

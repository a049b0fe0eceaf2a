"""What is asked for, and what is fed: given, or chosen and said; everything wrong is an error that names it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_support import DIGITS, convolutions, quick

from onnxprune.benching.candidates import names_of
from onnxprune.benching.inputs import check_shapes, from_data, noise
from onnxprune.benching.options import limit, positive_list, shapes
from onnxprune.data import open_data
from onnxprune.errors import OnnxPruneError, UsageError
from onnxprune.model.load import load
from onnxprune.results.providers import providers

INSTALLED = ("AzureExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


def test_lists_and_shares() -> None:
    assert positive_list("1,8,1", "--batch") == (1, 8)
    assert positive_list(2, "--threads") == (2,)
    assert [limit(value) for value in ("5%", "0.05", 0.05, None)] == [0.05, 0.05, 0.05, None]
    assert shapes(["x=1x3x224x224", "a=b=7"]) == {"x": (1, 3, 224, 224), "a=b": (7,)}


@pytest.mark.parametrize(
    ("value", "option"), [("0", "--batch"), ("1,x", "--threads"), ("", "--batch"), ("-1", "--batch")]
)
def test_wrong_lists(value: str, option: str) -> None:
    with pytest.raises(UsageError, match=f"{option[2:]}="):
        positive_list(value, option)


@pytest.mark.parametrize("value", ["x", "-1%", "nan", "inf"])
def test_wrong_limits(value: str) -> None:
    with pytest.raises(UsageError, match="fail_above="):
        limit(value)


@pytest.mark.parametrize("item", ["x", "x=", "=3", "x=3x", "x=0", "x=1e3"])
def test_wrong_shapes(item: str) -> None:
    with pytest.raises(UsageError, match="shape="):
        shapes([item])


def test_providers() -> None:
    assert providers((), INSTALLED) == ("CPUExecutionProvider",)
    assert providers(("cuda", "CPUExecutionProvider"), INSTALLED) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert providers(("all",), INSTALLED) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    with pytest.raises(UsageError, match="remote"):
        providers(("azure",), INSTALLED)
    with pytest.raises(UsageError, match="not installed"):
        providers(("cuda",), ("CPUExecutionProvider",))


def test_sizes_are_given_or_chosen_and_said(tmp_path: Path) -> None:
    model = load(convolutions(tmp_path / "m.onnx", 4, size="S"))
    fed = noise(model, {}, None, 0)
    assert fed.used[0].shape == (1, 3, 224, 224) and fed.used[0].chosen == ("N=1", "S=224", "S=224")
    fed = noise(model, {"S": (8,)}, 5, 0)
    assert fed.used[0].shape == (5, 3, 8, 8) and fed.used[0].chosen == () and fed.samples == 5
    fed = noise(model, {"x": (2, 3, 8, 8)}, None, 0)
    assert fed.used[0].shape == (2, 3, 8, 8) and fed.samples == 2
    assert noise(model, {}, None, 0, larger=True).used[0].shape == (1, 3, 320, 320)
    assert np.array_equal(noise(model, {}, None, 1).feeds[0]["x"], noise(model, {}, None, 1).feeds[0]["x"])


@pytest.mark.parametrize(
    ("given", "batch", "words"),
    [
        ({"x": (1, 4, 8, 8)}, None, "fixes axis 1 at 3, not 4"),
        ({"x": (1, 3, 8)}, None, "4 axes, not 3"),
        ({"x": (2, 3, 8, 8)}, 5, "both 2 and 5"),
        ({"x": (2, 3, 8, 9)}, None, "both 8 and 9"),
        ({"S": (1, 2)}, None, "one number"),
    ],
)
def test_sizes_that_contradict(tmp_path: Path, given: Any, batch: int | None, words: str) -> None:
    model = load(convolutions(tmp_path / "m.onnx", 4, size="S"))
    with pytest.raises(UsageError, match=re.escape(words)):
        noise(model, given, batch, 0)


def test_a_fixed_batch_and_unknown_names(tmp_path: Path) -> None:
    model = load(convolutions(tmp_path / "m.onnx", 4, batch=2))
    assert noise(model, {}, 2, 0).samples == 2
    with pytest.raises(UsageError, match="fixes its batch at 2"):
        noise(model, {}, 8, 0)
    with pytest.raises(UsageError, match="neither an input nor a symbolic size"):
        check_shapes({"y": (1,)}, [model])


def test_data_is_fed_batch_by_batch_and_repeated_where_it_is_too_little() -> None:
    model = load(DIGITS)
    rows = np.arange(10, dtype=np.float32)[:, None, None, None] + np.zeros((10, 1, 8, 8), np.float32)
    fed = from_data(open_data({"image": rows}, model), 4)
    assert fed.samples == 4 and [feed["image"][0, 0, 0, 0] for feed in fed.feeds] == [0, 4] and not fed.notes
    fed = from_data(open_data({"image": rows}, model), 16)
    assert fed.feeds[0]["image"].shape == (16, 1, 8, 8) and fed.feeds[0]["image"][10, 0, 0, 0] == 0
    assert "10 samples" in fed.notes[0] and "repeated" in fed.notes[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": 1.0, "runs": 3}, "exclude each other"),
        ({"seconds": 0.0}, "seconds="),
        ({"runs": 0}, "runs="),
        ({"data": "random", "shape": ("x=1",)}, "shape= has no effect with data="),
        ({"preprocess": "imagenet"}, "preprocess= needs data="),
        ({"fail_above": "5%"}, "something to compare with"),
        ({"provider": ("tpu",)}, "not installed"),
        ({"baseline": Path("missing.onnx")}, "missing.onnx"),
    ],
)
def test_contradictions_are_said_before_anything_runs(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OnnxPruneError, match=words) as caught:
        quick(DIGITS, **options)
    assert caught.value.exit_code == 2


def test_names_tell_models_apart() -> None:
    a, b = Path("one/m.onnx"), Path("two/m.onnx")
    assert names_of([a, Path("one/n.onnx")]) == ["m.onnx", "n.onnx"]
    assert len(set(names_of([a, b]))) == 2
    assert names_of([a, a]) == ["m.onnx", "m.onnx (2)"]

"""`inspect` on every model that the onnx package brings: all operators of all opsets, old and new, in tiny graphs."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import pytest
from onnx.backend.test.case.node import collect_testcases

from onnxprune import inspect, shrink
from onnxprune.model.load import load

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def test_stored_models_never_raise() -> None:
    """Among them opsets below 7, where broadcasting was an attribute: they load, and such operators are pinned."""
    paths = sorted(DATA.glob("**/model.onnx"))
    assert len(paths) >= 100
    oldest = 99
    for path in paths:
        found = inspect(path)
        assert found.model.nodes > 0
        oldest = min(oldest, found.model.opset)
        if found.model.opset < 7:
            assert found.removable == 0, path
    assert oldest < 7


@pytest.mark.filterwarnings("ignore")
def test_node_models_never_raise() -> None:
    """The generated cases of every operator, the expanded function bodies included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    assert len(cases) > 1000
    for case in cases:
        assert case.model is not None
        inspect(load(case.model))


@pytest.mark.parametrize("name", ["test_mnist", "test_resnet", "test_basic_conv_with_padding", "test_Conv2d_groups"])
def test_stored_models_shrink_or_stay(tmp_path: Path, name: str) -> None:
    for path in sorted(DATA.glob(f"**/{name}*/model.onnx"))[:2]:
        result = shrink(path, tmp_path / "small.onnx", threads=1, force=True)
        assert (result.proof is not None) == bool(result.written)

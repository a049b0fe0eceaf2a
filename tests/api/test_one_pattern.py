"""A pattern by itself is one pattern, not its letters; a name that is no input of the model is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxprune
from onnxprune.errors import DataError
from onnxprune.model.load import Model, load
from onnxprune.packing.recipe import recipe
from onnxprune.results.units import listed
from tests.builders import Net


def network() -> Model:
    net = Net()
    h = net.relu(net.conv(net.input(3, 6, 6, name="image"), 16, 3, name="stage1.a", pads=[1, 1, 1, 1]))
    h = net.relu(net.conv(h, 16, 3, name="stage2.a", pads=[1, 1, 1, 1]))
    net.output(net.conv(h, 4, name="z"))
    return load(net.model())


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_shrink_and_sparsify(option: str, tmp_path: Path) -> None:
    by_name = onnxprune.shrink(network(), tmp_path / "a.onnx", dry_run=True, **{option: "stage1*"})
    in_list = onnxprune.shrink(network(), tmp_path / "a.onnx", dry_run=True, **{option: ["stage1*"]})
    assert by_name.plan == in_list.plan and by_name.plan.removed_count
    how: dict[str, Any] = {"sparsity": 0.5, "pattern": "unstructured", "emit": "dense-zeros", "dry_run": True}
    one = onnxprune.sparsify(network(), tmp_path / "a.onnx", **how, **{option: "stage1*"})
    assert one.plan == onnxprune.sparsify(network(), tmp_path / "a.onnx", **how, **{option: ["stage1*"]}).plan


def test_others_that_take_several() -> None:
    assert recipe("shared", None, None, None, "stage1*").exclude == ("stage1*",)
    assert listed("ab") == ("ab",) and listed(["a", "b"]) == ("a", "b") and listed(()) == ()


def test_an_array_of_another_name(tmp_path: Path) -> None:
    images = np.zeros((4, 3, 6, 6), np.float32)
    with pytest.raises(DataError, match="'imag' is not an input of the model") as caught:
        onnxprune.shrink(network(), tmp_path / "a.onnx", data={"imag": images})
    assert "Did you mean 'image'?" in str(caught.value)
    np.savez(tmp_path / "c.npz", imag=images)
    with pytest.raises(DataError, match="'imag' is not an input"):
        onnxprune.shrink(network(), tmp_path / "a.onnx", data=tmp_path / "c.npz")


def test_an_array_needs_no_name_where_there_is_one_input(tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((12, 3, 6, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    np.savez(tmp_path / "x.npz", images)
    found = [
        onnxprune.shrink(network(), tmp_path / "a.onnx", data=data, dry_run=True).plan.digest
        for data in (images, {"image": images}, tmp_path / "x.npy", tmp_path / "x.npz")
    ]
    assert len(set(found)) == 1

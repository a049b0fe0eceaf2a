"""Bounds: the fastest choice that keeps them, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.errors import GateError, UsageError
from onnxprune.quantizing.limits import first_within
from tests.builders import Net


@pytest.mark.parametrize("kept", range(8))
def test_the_first_that_breaks_nothing(kept: int) -> None:
    asked: list[int] = []

    def broken(choice: int) -> str | None:
        asked.append(choice)
        return None if choice >= kept else "too far"

    assert first_within(range(8), broken) == kept and len(asked) <= 4


def test_none_is_an_error() -> None:
    with pytest.raises(GateError, match=r"however few layers are quantised.*too far off"):
        first_within([1, 2], lambda _: "too far off")


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    net = Net()
    x = net.input(3, 12, 12)
    h = net.relu(net.conv(x, 16, name="a"))
    h = net.relu(net.conv(h, 16, name="b"))
    net.output(net.conv(h, 4, name="c"))
    onnx.save(net.model(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx", {x: net.rng.standard_normal((30, 3, 12, 12)).astype(np.float32)}


def test_a_bound_that_can_be_kept_is_kept(model: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, data = model
    result = onnxprune.quantize(path, None, data=data, max_error=0.05, repair="none")
    assert result.fidelity is not None and result.fidelity.worst_error is not None
    assert result.fidelity.worst_error <= 0.05 and result.quantization.quantized_layers


def test_a_bound_that_cannot_be_kept_leaves_nothing(model: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, data = model
    for scheme in ("auto", "static"):
        with pytest.raises(GateError, match="output error"):
            onnxprune.quantize(path, path.with_name("q.onnx"), data=data, max_error=1e-6, scheme=scheme, repair="none")
    assert not path.with_name("q.onnx").exists()


def test_a_metric_is_a_bound_as_well(model: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, data = model
    values = iter([1.0])
    with pytest.raises(GateError, match="falls by"):
        onnxprune.quantize(path, None, data=data, metric=lambda _: next(values, 0.0), max_drop=0.5, repair="none")
    result = onnxprune.quantize(path, None, data=data, metric=lambda _: 1.0, max_drop=0.5, repair="none")
    assert result.metric is not None and result.metric.after == 1.0


def test_bounds_need_samples(model: tuple[Path, dict[str, np.ndarray]]) -> None:
    with pytest.raises(UsageError, match="measured on samples"):
        onnxprune.quantize(model[0], None, max_error=0.1)
    with pytest.raises(UsageError, match="share above 0"):
        onnxprune.quantize(model[0], None, data=model[1], min_agreement=1.5)

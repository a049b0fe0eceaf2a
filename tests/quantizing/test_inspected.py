"""`inspect --quantization`: what integers would cost each layer, and why some cannot have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxprune
from onnxprune.errors import UsageError
from onnxprune.report.inspect import quantization_report
from onnxprune.report.render import plain
from tests.builders import Net
from tests.oracle import session

Array = np.ndarray[Any, Any]


def network() -> tuple[Net, dict[str, Array]]:
    """One layer reads a channel of outliers that it hardly needs; one has no kernel with integers, one no weight."""
    net = Net(seed=0)
    h = net.relu(net.conv(net.input(3, 8, 8, name="x"), 16, 3, name="first"))
    h = net.relu(net.transposed(h, 16, 3, name="transposed"))
    scale = np.ones((16, 1, 1), np.float32)
    scale[0] = 500.0
    weight = net.normal(8, 16, 3, 3)
    weight[:, 0] *= 1e-3
    h = net.op("Conv", net.op("Mul", h, scale), weight, name="harmed")
    flat = net.op("Flatten", net.relu(net.conv(h, 8, 1, name="between")))
    net.output(net.gemm(flat, 10, name="last"))
    return net, {"x": np.random.default_rng(1).standard_normal((60, 3, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def inspected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Array], onnxprune.Inspection]:
    net, feed = network()
    path = tmp_path_factory.mktemp("inspected") / "m.onnx"
    onnx.save(net.model(), path)
    page = path.parent / "page.html"
    return path, feed, onnxprune.inspect(path, data=feed, quantization=True, report=page)


def test_every_layer_has_an_error_or_a_reason(
    inspected: tuple[Path, dict[str, Array], onnxprune.Inspection],
) -> None:
    path, _, result = inspected
    found = result.quantization
    assert found is not None and found.samples == 4 and found.together is not None
    layers = {layer.node: layer for layer in found.layers}
    assert set(layers) == {"first", "transposed", "harmed", "between", "last"}
    assert layers["transposed"].reason == "ONNX Runtime has no kernel with integers for it"
    assert layers["transposed"].error is None and layers["transposed"].precision == "float32"
    errors = {name: layer.error for name, layer in layers.items() if layer.error is not None}
    assert set(errors) == {"first", "harmed", "between", "last"} and min(errors.values()) > 0
    assert max(errors, key=lambda name: errors[name]) == "harmed"
    assert errors["harmed"] > 5 * errors["last"]
    assert 0.2 * found.together < sum(errors.values()) < 5 * found.together, "errors add up, nearly"
    assert not list(path.parent.glob("*.int8.onnx"))


def test_the_error_is_that_of_a_file_with_this_layer_alone(
    inspected: tuple[Path, dict[str, Array], onnxprune.Inspection], tmp_path: Path
) -> None:
    path, feed, result = inspected
    assert result.quantization is not None
    said = next(layer.error for layer in result.quantization.layers if layer.node == "last")
    options = {"scheme": "static", "repair": "none", "include": ["last"]}
    onnxprune.quantize(path, tmp_path / "q.onnx", data=feed, **options)
    a, b = (session(onnx.load(one)).run(None, feed)[0] for one in (path, tmp_path / "q.onnx"))
    assert said == pytest.approx(np.mean((a - b) ** 2) / np.var(a), rel=0.7)


def test_what_is_printed(inspected: tuple[Path, dict[str, Array], onnxprune.Inspection]) -> None:
    """The most sensitive first, those that stay float last; and on the page."""
    path, _, result = inspected
    lines = plain(quantization_report(result)).splitlines()
    assert "4 of 5 layers can be in int8" in lines[1] and "all together, before any repair" in lines[1]
    assert lines[3].split()[0] == "harmed" and lines[-1].split()[0] == "transposed"
    page = (path.parent / "page.html").read_text()
    assert "Integers" in page and "4 of 5 layers can be in int8" in page


def test_a_model_without_layers(tmp_path: Path) -> None:
    net = Net(seed=0)
    net.output(net.relu(net.input(3, name="x")))
    onnx.save(net.model(), tmp_path / "m.onnx")
    found = onnxprune.inspect(tmp_path / "m.onnx", data="random", quantization=True).quantization
    assert found is not None and found.layers == () and found.together is None
    assert found.words == "0 of 0 layers can be in int8"


def test_what_has_no_effect(inspected: tuple[Path, dict[str, Array], onnxprune.Inspection]) -> None:
    path, feed, _ = inspected
    assert onnxprune.inspect(path).quantization is None
    with pytest.raises(UsageError, match=r"quantization=.* there are none"):
        onnxprune.inspect(path, quantization=True)
    with pytest.raises(UsageError, match="data= has no effect without quantization="):
        onnxprune.inspect(path, data=feed)
    with pytest.raises(UsageError, match="samples= has no effect without data="):
        onnxprune.inspect(path, samples=3)


def test_weights_stay_those_of_the_file(inspected: tuple[Path, dict[str, Array], onnxprune.Inspection]) -> None:
    """Nothing is changed in place: a second look finds the same."""
    path, feed, result = inspected
    again = onnxprune.inspect(path, data=feed, quantization=True)
    assert again.quantization == result.quantization
    first = onnx.load(path).graph.initializer[0]
    assert np.isfinite(numpy_helper.to_array(first)).all()

"""Integer layers: zeros by magnitude, or those that are there, in sparse integer operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.errors import VerificationError
from onnxprune.model.load import load
from onnxprune.report.sparsity import remarks
from onnxprune.sparsifying.layers import integer_layers
from tests.builders import Net
from tests.quantized import images, quantized
from tests.sparse.quantized import QuantizedCase
from tests.sparse.sessions import needs_library, session

CASES = {
    "qdq": QuantizedCase("qdq", (1, 12, 8, 8), (16, 12, 3, 3), attributes={"pads": [1, 1, 1, 1]}),
    "qlinear": QuantizedCase("qlinear", (1, 8, 6, 6), (12, 8, 1, 1)),
    "dynamic": QuantizedCase("dynamic", (9, 24), (20, 24)),
    "gemm": QuantizedCase("gemm", (5, 24), (20, 24)),
}


@pytest.fixture(params=CASES)
def quantised(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    onnx.save(CASES[request.param].model(), tmp_path / "q.onnx")
    return tmp_path / "q.onnx"


def test_blocks_of_four_inputs(quantised: Path) -> None:
    result = onnxprune.sparsify(quantised, sparsity=0.75)
    (layer,) = result.sparsity.layers
    assert (layer.node, layer.weight, layer.pattern) == ("layer", "w", "4x4")
    assert layer.operator in ("SparseQConv", "SparseQMatMul")
    assert layer.kept / layer.size == pytest.approx(0.25, abs=0.1)
    found = onnxprune.verify(quantised, result.written[0])
    assert found.refitted == () and found.sparse is not None and found.sparse.nonzero <= layer.kept


@needs_library
def test_the_library_gives_the_same(quantised: Path) -> None:
    written = onnxprune.sparsify(quantised, sparsity=0.5, pattern="1x4").written[0]
    proto = onnx.load(written)
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    feed = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    a, b = (session(proto, library=library).run(None, feed)[0] for library in (False, True))
    assert np.abs(a - b).max() <= 0.05 * np.abs(a).max()


def test_zeros_that_are_there(quantised: Path, tmp_path: Path) -> None:
    """The way to sparse int8: zeros first, then a quantiser, then operators for what it left."""
    model = load(quantised)
    (layer,) = integer_layers(model)
    zeros = onnxprune.sparsify(quantised, tmp_path / "zeros.onnx", sparsity=0.75, emit="dense-zeros")
    result = onnxprune.sparsify(zeros.written[0], sparsity=0, pattern="unstructured", lock=True)
    assert result.sparsity.nonzero == zeros.sparsity.nonzero < np.prod(layer.shape) / 2
    assert result.sparsity.layers[0].operator is not None


@needs_library
def test_auto_times_layers_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sparse in blocks that they have, or dense because that is measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    onnx.save(QuantizedCase("gemm", (64, 512), (512, 512)).model(), tmp_path / "q.onnx")
    (layer,) = onnxprune.sparsify(tmp_path / "q.onnx", sparsity=0.95, pattern="auto").sparsity.layers
    if layer.sparse:
        assert layer.pattern in ("unstructured", "1x4", "2x4", "4x4") and layer.operator == "SparseQMatMul"
    else:
        assert layer.reason is not None and "faster" in layer.reason


def test_layers_of_bytes_can_be_excluded(quantised: Path) -> None:
    result = onnxprune.sparsify(quantised, sparsity=0.5, exclude=["layer"], dry_run=True)
    assert [layer.reason for layer in result.sparsity.layers] == ["excluded"]


TRAINED = ("qdq", "gemm")
"""Their weights are numbers behind DequantizeLinear, which samples choose and refit."""


def test_errors_are_those_of_the_outputs(quantised: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """And --max-error looks at them."""
    trained = request.node.callspec.params["quantised"] in TRAINED
    size = [dim.dim_value for dim in onnx.load(quantised).graph.input[0].type.tensor_type.shape.dim]
    data = {
        "x": np.tile(np.random.default_rng(0).standard_normal(size).astype(np.float32), (10, *[1] * (len(size) - 1)))
    }
    result = onnxprune.sparsify(quantised, tmp_path / "o.onnx", sparsity=0.5, data=data, method="obs")
    (layer,) = result.sparsity.layers
    assert result.sparsity.integers == (not trained) and layer.error is not None
    assert (layer.error_masked is not None) == trained
    wanted, found = (
        session(onnx.load(path), library=False).run(None, {"x": data["x"][: size[0]]})[0]
        for path in (quantised, tmp_path / "o.onnx")
    )
    assert layer.error == pytest.approx(float(np.square(found - wanted).sum() / wanted.var() / wanted.size), rel=0.05)
    for limit in (0.9 * layer.error, 1.1 * layer.error):
        kept = onnxprune.sparsify(quantised, sparsity=0.5, data=data, max_error=limit, dry_run=True).sparsity
        assert kept.layers[0].sparse == (limit > layer.error)


def test_methods_that_integers_do_not_have_are_told(quantised: Path, request: pytest.FixtureRequest) -> None:
    trained = request.node.callspec.params["quantised"] in TRAINED
    size = [dim.dim_value for dim in onnx.load(quantised).graph.input[0].type.tensor_type.shape.dim]
    data = {"x": np.random.default_rng(0).standard_normal((10 * size[0], *size[1:])).astype(np.float32)}
    told = remarks(onnxprune.sparsify(quantised, sparsity=0.9, data=data, dry_run=True).sparsity)
    assert any("int8: the smallest weights left" in text for text in told) == (not trained)
    assert not any(
        "int8" in text for text in remarks(onnxprune.sparsify(quantised, sparsity=0.9, dry_run=True).sparsity)
    )


def test_blocks_that_no_kernel_has_are_stored_in_those_that_fit(quantised: Path) -> None:
    proto = onnx.load(onnxprune.sparsify(quantised, sparsity=0.5, pattern="8x8").written[0])
    (block,) = [a.i for node in proto.graph.node for a in node.attribute if a.name == "block"]
    assert block == 4


def test_rows_and_back() -> None:
    """Of weights the file has outputs last, too."""
    for case in CASES.values():
        (layer,) = integer_layers(load(case.model()))
        mask = np.random.default_rng(0).random(layer.shape) < 0.5
        np.testing.assert_array_equal(layer.in_file(layer.rows(mask) != 0), mask)


@pytest.mark.parametrize(("given", "sparse"), [({}, True), ({"output_dtype": onnx.TensorProto.INT8}, False)])
def test_bytes_without_a_zero_point(given: dict[str, int], sparse: bool) -> None:
    """Since opset 21 these may be signed, which kernels do not take."""
    proto = CASES["gemm"].model(opset=21)
    proto.ir_version = 10
    for node in proto.graph.node[:2]:
        node.input.remove("xz")
    proto.graph.node[0].attribute.extend(onnx.helper.make_attribute(*item) for item in given.items())
    (layer,) = onnxprune.sparsify(load(proto), sparsity=0.8, dry_run=True).sparsity.layers
    assert layer.sparse == sparse
    assert sparse or "may not be of unsigned bytes" in (layer.reason or "")


def test_costs_of_quantised_layers() -> None:
    """In every spelling what the float layer would cost."""
    costs = {name: onnxprune.inspect(load(case.model())).model.macs for name, case in CASES.items()}
    assert costs == {"qdq": 16 * 12 * 9 * 64, "qlinear": 12 * 8 * 36, "dynamic": 9 * 24 * 20, "gemm": 5 * 24 * 20}


FEEDS = images(96)


def network(bias: bool = True) -> onnx.ModelProto:
    net = Net()
    h = net.relu(net.conv(net.input(3, 8, 8, name="x"), 16, 3, bias=bias, name="first"))
    h = net.relu(net.conv(h, 16, 3, bias=bias, name="second"))
    h = net.op("Flatten", net.op("GlobalAveragePool", net.relu(net.conv(h, 16, bias=bias, name="third"))))
    net.output(net.gemm(h, 8, name="last"))
    return net.model()


@pytest.mark.parametrize("emit", ["operators", "dense-zeros", "sparse-initializers"])
@pytest.mark.parametrize("bias", [True, False])
def test_samples_choose_and_refit_integers(emit: str, bias: bool, tmp_path: Path) -> None:
    """Weights behind DequantizeLinear: what stays makes up for what left, and stays int8."""
    source = tmp_path / "q.onnx"
    onnx.save(quantized(network(bias), FEEDS), source)
    errors = {}
    for repair in ("none", "least-squares", "reconstruct"):
        method = "magnitude" if repair == "none" else "obs"
        target = tmp_path / f"{repair}.onnx"
        options = {"sparsity": 0.6, "data": FEEDS, "method": method, "repair": repair, "pattern": "1x4", "emit": emit}
        result = onnxprune.sparsify(source, target, **options)
        layers = result.sparsity.layers
        assert result.sparsity.integers == (len(layers) if repair == "none" else 0)
        assert all(layer.sparse for layer in layers) and result.sparsity.reached == pytest.approx(0.6, abs=0.1)
        assert result.fidelity is not None
        errors[repair] = sum(one.relative_error or 0.0 for one in result.fidelity.outputs)
        found = onnxprune.verify(source, target)
        assert bool(found.refitted) == (repair != "none")
    assert errors["reconstruct"] < errors["none"] and errors["least-squares"] < errors["none"]
    kinds = {t.data_type for t in onnx.load(target).graph.initializer}
    assert emit == "sparse-initializers" or onnx.TensorProto.INT8 in kinds


def test_wrong_scales_of_sparse_integers_are_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "q.onnx", tmp_path / "o.onnx"
    onnx.save(quantized(network(), FEEDS), source)
    onnxprune.sparsify(source, target, sparsity=0.6, data=FEEDS, pattern="1x4")
    model = onnx.load(target)
    node = next(n for n in model.graph.node if n.op_type == "SparseQConv")
    for slot, value in ((5, np.nan), (1, 2.0)):
        wrong = onnx.ModelProto()
        wrong.CopyFrom(model)
        tensor = next(t for t in wrong.graph.initializer if t.name == node.input[slot])
        array = np.full(tuple(tensor.dims), value, np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        onnx.save(wrong, tmp_path / "wrong.onnx")
        with pytest.raises(VerificationError):
            onnxprune.verify(source, tmp_path / "wrong.onnx")

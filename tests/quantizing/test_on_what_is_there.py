"""Cut, sparse and quantised files as input of everything else: what comes of it is right, or refused with a reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import onnxprune
from onnxprune.errors import ModelError, OnnxPruneError
from onnxprune.quantizing import stage
from onnxprune.quantizing.zeros import made_sparse
from tests.builders import Net
from tests.oracle import session
from tests.small import small_network

Array = np.ndarray[Any, Any]
SCHEMES: dict[str, dict[str, Any]] = {
    "static": {"scheme": "static", "repair": "none"},
    "dynamic": {"scheme": "dynamic"},
    "int8": {"scheme": "weights", "weights": "int8"},
    "int4": {"scheme": "weights", "weights": "int4"},
    "fp16": {"scheme": "weights", "weights": "fp16"},
}
SPARSE_REASON = "its weight is stored sparse: quantise the dense model, and let sparsify make zeros in that"
QUANTISED_REASON = "the model has quantisers already: quantise the model of floats"


def convolutions() -> tuple[Net, dict[str, Array]]:
    """A shortcut, grouped convolutions, a classifier large enough for blocks and products of integers."""
    net = Net(seed=0)
    h = net.relu(net.conv(net.input(3, 8, 8, name="x"), 16, 3, name="a", pads=[1, 1, 1, 1]))
    h = net.relu(net.add(h, net.conv(h, 16, 3, name="b", group=4, pads=[1, 1, 1, 1])))
    h = net.op("MaxPool", net.relu(net.conv(h, 16, 3, name="c")), kernel_shape=[2, 2], strides=[2, 2])
    h = net.relu(net.gemm(net.op("Flatten", h), 64, name="d"))
    net.output(net.gemm(h, 10, name="e"))
    return net, {"x": np.random.default_rng(1).standard_normal((120, 3, 8, 8)).astype(np.float32)}


def sequences() -> tuple[Net, dict[str, Array]]:
    """Products around a normalisation, and an LSTM."""
    net = Net(seed=1)
    x = net.input(6, 64, name="x")
    h = net.op("LayerNormalization", net.relu(net.dense(x, 64, name="p")), net.positive(64), net.normal(64), axis=-1)
    h = net.add(h, net.dense(h, 64, name="q"))
    weights = net.normal(1, 4 * 32, 64, scale=0.2), net.normal(1, 4 * 32, 32, scale=0.2)
    y = net.op("LSTM", net.transpose(h, 1, 0, 2), *weights, hidden_size=32, name="lstm")
    net.output(net.matmul(y, 5, name="r"))
    return net, {"x": np.random.default_rng(2).standard_normal((120, 6, 64)).astype(np.float32)}


NETS = {"convolutions": convolutions, "sequences": sequences}


class Files:
    """Files made of a small network, each when it is first asked for."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        net, self.data = NETS[name]()
        onnx.save(net.model(), folder / "plain.onnx")

    def get(self, kind: str) -> Path:
        """plain, cut, zeros, operators, initializers, or a scheme."""
        path = self.folder / f"{kind}.onnx"
        if path.exists():
            return path
        plain, repair = self.folder / "plain.onnx", {"data": self.data, "repair": "least-squares"}
        if kind == "cut":
            onnxprune.shrink(plain, path, ratio=0.25, multiple_of=1, **repair)  # type: ignore[arg-type]
        elif kind in SCHEMES:
            onnxprune.quantize(plain, path, data=self.data, **SCHEMES[kind])
        else:
            emit = {"zeros": "dense-zeros", "initializers": "sparse-initializers"}.get(kind, "operators")
            onnxprune.sparsify(plain, path, sparsity=0.6, emit=emit, **repair)  # type: ignore[arg-type]
        return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    return {name: Files(tmp_path_factory.mktemp(name), name) for name in NETS}


def run(path: Path, data: dict[str, Array]) -> Array:
    found: Array = session(onnx.load(path)).run(None, data)[0]
    return found


def difference(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def zeros(proto: ModelProto) -> list[float]:
    """Of the weights of at least 256 numbers, the shares of zeros."""
    arrays = [numpy_helper.to_array(one) for one in proto.graph.initializer]
    return sorted(float((a == 0).mean()) for a in arrays if a.ndim > 1 and a.size >= 256)


# ---- quantize of what was made -------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETS)
def test_a_cut_file(files: dict[str, Files], tmp_path: Path, name: str, scheme: str) -> None:
    made = files[name]
    cut = made.get("cut")
    result = onnxprune.quantize(cut, tmp_path / "q.onnx", data=made.data, **SCHEMES[scheme])
    assert len(result.quantization.quantized_layers) >= 2
    onnxprune.verify(cut, tmp_path / "q.onnx")
    assert difference(run(cut, made.data), run(tmp_path / "q.onnx", made.data)) < 0.1
    assert result.after is not None and result.after.size_bytes < result.before.size_bytes


@pytest.mark.parametrize("with_samples", [False, True])
@pytest.mark.parametrize("scheme", ["static", "dynamic", "int8", "fp16"])
@pytest.mark.parametrize("name", NETS)
def test_zeros_stay(files: dict[str, Files], tmp_path: Path, name: str, scheme: str, with_samples: bool) -> None:
    """Also where the rest would make up for rounding: integers have a zero as well."""
    made = files[name]
    before = made.get("zeros")
    if scheme == "static" and not with_samples:
        with pytest.raises(OnnxPruneError, match="no data"):
            onnxprune.quantize(before, tmp_path / "q.onnx", **SCHEMES[scheme])
        return
    given = {"data": made.data} if with_samples else {}
    onnxprune.quantize(before, tmp_path / "q.onnx", **given, **SCHEMES[scheme])
    onnxprune.verify(before, tmp_path / "q.onnx")
    sparse = [share for share in zeros(onnx.load(before)) if share > 0.5]
    there = [share for share in zeros(onnx.load(tmp_path / "q.onnx")) if share > 0.5]
    assert sparse and len(there) >= len(sparse)
    assert all(b >= a - 1e-9 for a, b in zip(sorted(sparse), sorted(there)[-len(sparse) :], strict=True))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sparse_operators_say_what_to_do(files: dict[str, Files], tmp_path: Path, scheme: str) -> None:
    made = files["convolutions"]
    result = onnxprune.quantize(made.get("operators"), tmp_path / "q.onnx", data=made.data, **SCHEMES[scheme])
    reasons = Counter(layer.reason for layer in result.quantization.all_layers)
    assert reasons[SPARSE_REASON] >= 4 and result.plan.quantization is None
    assert not (tmp_path / "q.onnx").exists()


@pytest.mark.parametrize("scheme", ["static", "dynamic", "int8"])
def test_sparse_initializers_stay_and_samples_run(files: dict[str, Files], tmp_path: Path, scheme: str) -> None:
    made = files["convolutions"]
    before = made.get("initializers")
    result = onnxprune.quantize(before, tmp_path / "q.onnx", data=made.data, **SCHEMES[scheme])
    reasons = {layer.reason for layer in result.quantization.all_layers}
    assert "its weight is a sparse initializer" in reasons
    if result.written:
        onnxprune.verify(before, tmp_path / "q.onnx")


def test_a_network_of_sparse_initializers_runs_piece_by_piece(files: dict[str, Files], tmp_path: Path) -> None:
    made = files["convolutions"]
    result = onnxprune.shrink(made.get("initializers"), tmp_path / "c.onnx", ratio=0.3, data=made.data)
    assert result.plan.removed_count == 0  # every weight is one that stays


# ---- what was quantised, once more -----------------------------------------------------------------------------------
@pytest.mark.parametrize("again", ["static", "dynamic", "int8", "int4"])
@pytest.mark.parametrize(
    ("name", "scheme"), [("convolutions", "static"), ("sequences", "static"), ("sequences", "dynamic")]
)
def test_quantisers_are_not_quantised(
    files: dict[str, Files], tmp_path: Path, name: str, scheme: str, again: str
) -> None:
    made = files[name]
    result = onnxprune.quantize(made.get(scheme), tmp_path / "q.onnx", data=made.data, **SCHEMES[again])
    layers = [layer for layer in result.quantization.all_layers if layer.operator in ("Conv", "Gemm", "MatMul")]
    assert {layer.reason for layer in layers} <= {QUANTISED_REASON, "its weight is in integers already"}
    assert result.plan.quantization is None and not (tmp_path / "q.onnx").exists()


@pytest.mark.parametrize("again", ["static", "dynamic", "int8"])
@pytest.mark.parametrize("name", NETS)
def test_products_in_blocks_stay(files: dict[str, Files], tmp_path: Path, name: str, again: str) -> None:
    """What else is float, or can be, is quantised beside them, and proven: both round their inputs in the same way."""
    made = files[name]
    before = made.get("int4")
    result = onnxprune.quantize(before, tmp_path / "q.onnx", data=made.data, **SCHEMES[again])
    blocks = [layer for layer in result.quantization.all_layers if layer.operator == "MatMulNBits"]
    assert blocks and {layer.reason for layer in blocks} == {"its weight is in integers already"}
    if result.written:
        onnxprune.verify(before, tmp_path / "q.onnx")
        assert difference(run(before, made.data), run(tmp_path / "q.onnx", made.data)) < 0.1


# ---- other commands on quantised files -------------------------------------------------------------------------------
@pytest.mark.parametrize("repair", ["none", "least-squares"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETS)
def test_shrink_of_a_quantised_file(
    files: dict[str, Files], tmp_path: Path, name: str, scheme: str, repair: str
) -> None:
    """It stays quantised; nothing leaves where operators are not understood, or of groups of a block or three."""
    made = files[name]
    before = made.get(scheme)
    options: dict[str, Any] = {"ratio": 0.25, "multiple_of": 1, "repair": repair, "data": made.data}
    result = onnxprune.shrink(before, tmp_path / "c.onnx", **options)
    if not result.written:
        found = onnxprune.inspect(before)
        sizes = [group.size for group in found.groups if group.pinned is None]
        assert scheme in ("dynamic", "int4") and (
            found.operators_without_rule or all(size * 0.25 < 1 for size in sizes)
        )
        return
    onnxprune.verify(before, tmp_path / "c.onnx")
    kinds = [Counter(node.op_type for node in onnx.load(path).graph.node) for path in (before, tmp_path / "c.onnx")]
    assert kinds[0] == kinds[1]
    assert np.isfinite(run(tmp_path / "c.onnx", made.data)).all()


@pytest.mark.parametrize("emit", ["operators", "dense-zeros"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETS)
def test_sparsify_of_a_quantised_file(
    files: dict[str, Files], tmp_path: Path, name: str, scheme: str, emit: str
) -> None:
    made = files[name]
    before = made.get(scheme)
    options: dict[str, Any] = {"sparsity": 0.5, "repair": "least-squares", "data": made.data}
    result = onnxprune.sparsify(before, tmp_path / "s.onnx", emit=emit, **options)
    assert result.sparsity.sparse_layers or scheme == "int4"
    if result.written:
        onnxprune.verify(before, tmp_path / "s.onnx")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETS)
def test_pack_bench_diff_and_check(files: dict[str, Files], tmp_path: Path, name: str, scheme: str) -> None:
    made = files[name]
    plain, quantised = made.get("plain"), made.get(scheme)
    onnxprune.pack(quantised, tmp_path / "q.onnxpack", weights="exact")
    onnxprune.unpack(tmp_path / "q.onnxpack", tmp_path / "u.onnx")
    assert (tmp_path / "u.onnx").read_bytes() == quantised.read_bytes()
    timed = onnxprune.bench(plain, quantised, runs=3, threads=1, data=made.data)
    assert not timed.rejected and len(timed.settings[0].comparisons) == 1
    found = onnxprune.diff(plain, quantised)
    assert not found.same and found.nodes
    assert set(found.signature) <= {"operator set 'com.microsoft': only in b"}
    assert onnxprune.diff(quantised, quantised).same
    share = onnxprune.check(quantised, min_int8=0).models[0].checks[0].measured
    assert (share > 0) == (scheme in ("static", "dynamic", "int4")), "the others are float when they are loaded"
    assert onnxprune.check(plain, min_int8=0).models[0].checks[0].measured == 0.0


def test_zeros_stay_where_all_weights_are_adjusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together, on their grids; here also where that takes little of the error."""
    monkeypatch.setattr(stage, "WORTH", 10.0)
    data = str(Path(__file__).parents[2] / "models" / "digits_calib.npz")
    small_network(tmp_path / "m.onnx")
    options: dict[str, Any] = {"data": data, "samples": 200}
    onnxprune.sparsify(
        tmp_path / "m.onnx", tmp_path / "z.onnx", sparsity=0.6, emit="dense-zeros", repair="none", **options
    )
    result = onnxprune.quantize(tmp_path / "z.onnx", tmp_path / "q.onnx", scheme="static", **options)
    rebuilt = result.quantization.reconstruction
    assert rebuilt is not None and rebuilt.steps > 0
    before, after = (zeros(onnx.load(tmp_path / name)) for name in ("z.onnx", "q.onnx"))
    assert all(b >= a for a, b in zip(before, after, strict=True)) and before[-1] == pytest.approx(0.6, abs=0.02)


def test_a_model_that_the_runtime_does_not_load(tmp_path: Path) -> None:
    """Its output is of another type than it says: that is said, and nothing is written."""
    net = Net(seed=0)
    net.output(net.matmul(net.input(64, name="x"), 64))
    proto = net.model()
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="ONNX Runtime does not load the quantised model: Type Error"):
        onnxprune.quantize(tmp_path / "m.onnx", tmp_path / "q.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_which_weights_were_made_sparse() -> None:
    """A third of zeros is no chance; a few small numbers that are rounded to zero are."""
    weight = np.ones((3, 10))
    weight[0, :9] = 0
    assert not made_sparse(weight) and not made_sparse(np.zeros((0, 4)))
    weight[0, 9] = 0
    assert made_sparse(weight)

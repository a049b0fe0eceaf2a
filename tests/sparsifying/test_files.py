"""What sparsify writes: the zeros that were asked for, in files that run everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

import onnxprune
from onnxprune import native
from onnxprune.errors import GateError, ModelError, OutputError, UsageError, VerificationError
from onnxprune.model.load import load
from onnxprune.model.metadata import metadata
from onnxprune.report import render
from onnxprune.report.sparsify import report
from onnxprune.report.sparsity import remarks
from onnxprune.sparse.decode import dense_again
from tests.builders import Net
from tests.sparse.sessions import needs_library, session
from tests.sparsifying.conftest import MODELS, Made

KINDS = ("operators", "zeros", "initializers", "both")


def weights(made: Made) -> dict[str, NDArray[np.float32]]:
    """The dense weights behind a file's layers, by the node they belong to."""
    model = dense_again(load(made.path))
    found = {}
    for node in model.proto.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            array = model.tensors[node.input[1]].array()
            found[node.name] = array.T if node.op_type == "MatMul" else array
    return found


def blocks(weight: NDArray[np.float32], rows: int) -> NDArray[np.bool_]:
    """(row blocks, inputs) whether something is not zero."""
    flat = weight.reshape(len(weight), -1)
    flat = np.pad(flat, ((0, -len(flat) % rows), (0, 0)))
    return np.asarray((flat.reshape(-1, rows, flat.shape[1]) != 0).any(axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_runs_in_a_stock_runtime(kind: str, request: pytest.FixtureRequest) -> None:
    made: Made = request.getfixturevalue(kind)
    feed = {"image": np.load(MODELS / "digits_calib.npz")["image"][:8]}
    stock = onnxruntime.InferenceSession(str(made.path)).run(None, feed)[0]
    dense = onnxruntime.InferenceSession(dense_again(load(made.path)).complete_proto().SerializeToString())
    np.testing.assert_allclose(stock, dense.run(None, feed)[0], rtol=1e-4, atol=1e-4)
    onnx.checker.check_model(str(made.path))


@needs_library
def test_the_library_gives_the_same(operators: Made) -> None:
    feed = {"image": np.load(MODELS / "digits_calib.npz")["image"][:8]}
    proto = onnx.load(operators.path)
    found = [session(proto, library=library).run(None, feed)[0] for library in (False, True)]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)
    assert operators.result.sparsity is not None
    assert operators.result.sparsity.runs == ("without the library", f"with it ({native.instruction_set()})")


def test_zeros_are_blocks_of_the_pattern(operators: Made) -> None:
    found, sparsity = weights(operators), operators.result.sparsity
    assert sparsity is not None and len(sparsity.sparse_layers) == 11
    for layer in sparsity.sparse_layers:
        weight = found[layer.node]
        stays = blocks(weight, 4)
        assert stays.mean() == pytest.approx(0.2, abs=0.02), layer.node
        assert np.count_nonzero(weight) == layer.kept == stays.sum() * 4
        assert layer.operator is not None and layer.operator.startswith("SparseConv") and layer.reason is None


def test_two_of_four(initializers: Made) -> None:
    found, sparsity = weights(initializers), initializers.result.sparsity
    assert sparsity is not None and sparsity.reached == 0.5
    for layer in sparsity.sparse_layers:
        weight = found[layer.node]
        by_input = np.moveaxis(weight, 1, -1).reshape(-1, weight.shape[1] // 4, 4)
        assert ((by_input != 0).sum(axis=-1) <= 2).all(), layer.node


@pytest.mark.parametrize("pattern", ["2x1", "8x1", "1x4"])
def test_other_blocks(digits: Path, pattern: str) -> None:
    """By the layers that a dry run tells of."""
    rows, columns = map(int, pattern.split("x"))
    result = onnxprune.sparsify(digits, sparsity=0.5, pattern=pattern, include=["stage*"], dry_run=True)
    layers = result.sparsity.sparse_layers
    assert {layer.pattern for layer in layers} == {pattern} and len(layers) == 5
    assert all(layer.kept % (rows * columns) == 0 for layer in layers)
    assert result.sparsity.reached == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("pattern", "rows"), [("4x4", 4), ("16x1", 8), ("6x1", 2), ("3x1", 1), ("2:4", 1)])
def test_blocks_are_stored_in_those_that_kernels_have(digits: Path, tmp_path: Path, pattern: str, rows: int) -> None:
    """The largest that fit: 4x4 is not read weight by weight."""
    out = tmp_path / "o.onnx"
    onnxprune.sparsify(digits, out, sparsity=None if ":" in pattern else 0.5, pattern=pattern, include=["stage*"])
    found = [a.i for node in onnx.load(out).graph.node for a in node.attribute if a.name == "block"]
    assert found == [rows] * 5
    assert onnxprune.verify(digits, out).sparse is not None


def test_few_zeros_are_told(digits: Path) -> None:
    """Where operators need more zeros to be faster than dense ones."""
    for pattern, share, told in (
        ("4x1", 0.2, True),
        ("4x1", 0.5, False),
        ("3x1", 0.5, True),
        ("unstructured", 0.7, False),
    ):
        found = onnxprune.sparsify(digits, sparsity=share, pattern=pattern, dry_run=True).sparsity
        assert any("so few zeros" in text for text in remarks(found)) == told, pattern
    zeros = onnxprune.sparsify(digits, sparsity=0.2, emit="dense-zeros", dry_run=True).sparsity
    assert not any("so few zeros" in text for text in remarks(zeros))


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    net = Net()
    net.output(net.gemm(net.relu(net.gemm(net.input(16), 16, name="first")), 8, name="second"))
    proto = net.model()
    weight = next(t for t in proto.graph.initializer if t.name == proto.graph.node[0].input[1])
    array = onnx.numpy_helper.to_array(weight).copy()
    array[0, :3] = np.nan, np.inf, -np.inf
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=f"of 'first' holds NaN or infinity: 3 of {array.size}") as caught:
        onnxprune.sparsify(tmp_path / "m.onnx", sparsity=0.5)
    assert "exclude='first'" in str(caught.value)
    result = onnxprune.sparsify(tmp_path / "m.onnx", sparsity=0.5, exclude=["first"], dry_run=True)
    assert [layer.node for layer in result.sparsity.sparse_layers] == ["second"]


def test_errors_of_a_single_position_are_finite(tmp_path: Path) -> None:
    """One row to fit by and one to judge by have no variance."""
    net = Net()
    net.output(net.gemm(net.relu(net.gemm(net.input(16), 16)), 8))
    onnx.save(net.model(), tmp_path / "m.onnx")
    for repair in ("none", "least-squares"):
        found = onnxprune.sparsify(
            tmp_path / "m.onnx", sparsity=0.5, data="random", samples=2, repair=repair, dry_run=True
        ).sparsity
        assert all(layer.error_masked is not None and layer.error_masked < 10 for layer in found.sparse_layers)


def test_weights_that_are_in_no_layer_are_told(operators: Made, initializers: Made) -> None:
    """Inside functions that are not written out, recurrent, on the left, or sparse already: they stay as they are, and
    not in silence.
    """
    text = "<ir_version: 8, opset_import: ['': 17, 'my': 1]> g (float[4, 4] x) => (float[4, 4] y)"
    text += " <float[4, 4] w = {" + ", ".join(["1"] * 16) + "}> { a = MatMul(w, x) b = my.Block(a, w) y = Relu(b) }"
    text += " <domain: 'my', opset_import: ['': 11]> Block (p, q) => (r) { t = MatMul(p, q) r = Softmax(t) }"
    proto = onnx.parser.parse_model(text.replace("'", '"'))
    told = onnxprune.sparsify(load(proto), sparsity=0.5, dry_run=True).sparsity
    assert told.layers == () and len(told.notes) == 2
    assert "1 MatMul with the weight as left operand" in told.notes[0] and "functions (Block)" in told.notes[1]
    (again,) = onnxprune.sparsify(operators.path, sparsity=0.5, dry_run=True).sparsity.notes
    assert again.startswith("11 sparse operators of the file as before")
    assert onnxprune.sparsify(operators.original, sparsity=0.5, dry_run=True).sparsity.notes == ()
    (stored,) = onnxprune.sparsify(initializers.path, sparsity=0.5, dry_run=True).sparsity.notes
    assert stored.startswith("11 sparse initializers of the file as before")


def test_layers_stay_dense_with_a_reason(operators: Made) -> None:
    assert operators.result.sparsity is not None
    reasons = {layer.node: layer.reason for layer in operators.result.sparsity.layers if not layer.sparse}
    assert reasons == {"depthwise.conv": "it is depthwise", "classifier": "excluded"}
    original = load(operators.original).tensors["classifier.weight"].array()
    np.testing.assert_array_equal(weights(operators)["classifier"], original)


def test_include_leaves_the_others_dense(digits: Path) -> None:
    result = onnxprune.sparsify(digits, sparsity=0.5, include=["type:Gemm"], dry_run=True)
    assert [layer.node for layer in result.sparsity.sparse_layers] == ["classifier"]
    with pytest.raises(UsageError, match="matches no node"):
        onnxprune.sparsify(digits, sparsity=0.5, include=["clasifier"], dry_run=True)


def test_sizes_and_costs_are_those_of_what_is_stored(operators: Made, zeros: Made, initializers: Made) -> None:
    before = operators.result.before
    after = {made.path.stem: made.result.after for made in (operators, zeros, initializers)}
    sparse, dense, stored = (after[name] for name in ("operators", "zeros", "initializers"))
    assert sparse is not None and dense is not None and stored is not None
    assert sparse.macs < 0.25 * before.macs and sparse.size_bytes < 0.3 * before.size_bytes
    assert dense.macs == stored.macs == before.macs and dense.parameters == before.parameters
    assert stored.parameters < 0.55 * before.parameters
    assert onnxprune.inspect(operators.path).model.macs == sparse.macs


def test_shrink_then_zeros(both: Made) -> None:
    assert both.result.sparsity is not None and both.result.after is not None
    assert both.result.plan.removed_count > 100 and len(both.result.sparsity.sparse_layers) == 12
    assert both.result.after.macs < 0.3 * both.result.before.macs
    assert both.result.sparsity.nonzero < 0.35 * both.result.sparsity.nonzero_before
    assert both.result.sparsity.nonzero_before == 222976, "that of the original"


def test_same_input_same_bytes(digits: Path, operators: Made, tmp_path: Path) -> None:
    again = onnxprune.sparsify(digits, tmp_path / "again.onnx", sparsity=0.8, exclude=["classifier"])
    assert Path(again.written[0]).read_bytes() == operators.path.read_bytes()


def test_lock_keeps_zeros(zeros: Made, tmp_path: Path) -> None:
    """Without it the choice is by blocks alone; with it, nothing that was zero comes back, and zeros count."""
    path = tmp_path / "locked.onnx"
    result = onnxprune.sparsify(zeros.path, path, sparsity=0.6, pattern="unstructured", lock=True)
    before, after = weights(zeros), weights(Made(zeros.path, path, result))
    assert all(np.array_equal(before[name] != 0, after[name] != 0) for name in before)
    assert result.sparsity.nonzero == result.sparsity.nonzero_before
    onnxprune.verify(zeros.path, path)


def test_steps_end_at_the_same_share(digits: Path) -> None:
    result = onnxprune.sparsify(digits, sparsity=0.7, schedule="cube", steps=2, dry_run=True)
    assert result.sparsity.reached == pytest.approx(0.7, abs=0.01)
    assert result.plan.options["schedule"] == "cube" and result.plan.options["steps"] == 2


def test_global_takes_more_where_it_costs_less(digits: Path) -> None:
    local, other = (
        onnxprune.sparsify(digits, sparsity=0.7, scope=scope, dry_run=True).sparsity for scope in ("local", "global")
    )
    assert other.reached == pytest.approx(local.reached, abs=0.02)
    shares = [layer.kept / layer.size for layer in other.sparse_layers]
    assert max(shares) - min(shares) > 0.1


def test_methods_with_samples(digits: Path, tmp_path: Path) -> None:
    data = {"data": MODELS / "digits_calib.npz", "samples": 40, "sparsity": 0.8}
    found = {
        method: onnxprune.sparsify(digits, method=method, repair="none", dry_run=True, **data).sparsity
        for method in ("magnitude", "wanda")
    }
    assert found["magnitude"].layers != found["wanda"].layers
    result = onnxprune.sparsify(digits, tmp_path / "o.onnx", method="obs", repair="least-squares", **data)
    errors = {layer.node: layer.error for layer in result.sparsity.sparse_layers}
    naive = {layer.node: layer.error for layer in found["magnitude"].sparse_layers}
    assert sum(map(float, errors.values())) < 0.5 * sum(map(float, naive.values()))
    assert result.fidelity is not None and result.fidelity.agreement is not None
    assert result.fidelity.agreement > 0.7
    verified = onnxprune.verify(digits, tmp_path / "o.onnx")
    assert "stage1.conv1.conv.weight" in verified.refitted


def test_max_error_keeps_layers_dense(digits: Path) -> None:
    data = {"data": MODELS / "digits_calib.npz", "samples": 40, "method": "magnitude", "repair": "none"}
    free = onnxprune.sparsify(digits, sparsity=0.8, dry_run=True, **data).sparsity
    limit = float(np.median([layer.error for layer in free.sparse_layers]))
    kept = onnxprune.sparsify(digits, sparsity=0.8, max_error=limit, dry_run=True, **data).sparsity
    assert 0 < len(kept.sparse_layers) < len(free.sparse_layers)
    assert all(layer.error is not None and layer.error <= limit for layer in kept.sparse_layers)
    assert any("--max-error" in (layer.reason or "") for layer in kept.layers)


def test_nothing_is_written_in_vain(digits: Path, tmp_path: Path) -> None:
    """A dry run; a run in which nothing can be sparse; an output that is there, or is the input."""
    out = tmp_path / "out.onnx"
    assert onnxprune.sparsify(digits, out, sparsity=0.5, dry_run=True).written == ()
    nothing = onnxprune.sparsify(digits, out, sparsity=0.5, include=["depthwise.conv"])
    assert nothing.written == () and nothing.after is None and not nothing.sparsity.sparse_layers
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        onnxprune.sparsify(digits, out, sparsity=0.5)
    before = digits.read_bytes()
    with pytest.raises(OutputError, match="input"):
        onnxprune.sparsify(digits, digits, sparsity=0.5, force=True)
    assert out.read_text() == "mine" and digits.read_bytes() == before


def test_a_failed_proof_leaves_nothing(tmp_path: Path) -> None:
    """A function of others with the name of ours: the file would compute with it."""
    net = Net()
    net.output(net.gemm(net.input(8), 16))
    proto = net.model()
    body = [onnx.helper.make_node("Identity", ["x"], ["y"])]
    opsets = [onnx.helper.make_opsetid("", 17)]
    foreign = onnx.helper.make_function(
        "onnxprune", "SparseMatMul", ["x", "values", "gaps", "bias"], ["y"], body, opsets
    )
    proto.functions.append(foreign)
    proto.opset_import.append(onnx.helper.make_opsetid("onnxprune", 1))
    onnx.save(proto, tmp_path / "foreign.onnx")
    with pytest.raises(VerificationError, match="functions of the domain"):
        onnxprune.sparsify(tmp_path / "foreign.onnx", tmp_path / "out.onnx", sparsity=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.onnx"]


def test_a_sparse_file_is_pinned_with_a_reason(operators: Made) -> None:
    found = onnxprune.inspect(operators.path)
    assert any("it is an operator of onnxprune" in note for note in found.notes)
    assert onnxprune.shrink(operators.path, ratio=0.5, dry_run=True).plan.removed_count == 0
    assert not onnxprune.diff(operators.original, operators.path).same


def test_without_the_library_it_is_said(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was not built: the file is made and proven all the same."""
    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "not built")
    result = onnxprune.sparsify(digits, tmp_path / "o.onnx", sparsity=0.8)
    assert result.sparsity.runs == ("without the library",)
    assert result.sparsity.library is not None and "compiler" in result.sparsity.library
    assert "at dense speed" in render.plain(report(result))
    with pytest.raises(UsageError, match="missing here"):
        onnxprune.sparsify(digits, sparsity=0.8, pattern="auto")
    assert onnxprune.verify(digits, tmp_path / "o.onnx").sparse is not None


def test_repair_after_a_cut_aims_at_the_original(digits: Path, tmp_path: Path) -> None:
    data = {"data": MODELS / "digits_calib.npz", "samples": 60, "repair": "least-squares"}
    result = onnxprune.shrink(digits, tmp_path / "o.onnx", ratio=0.2, sparsity=0.6, method="magnitude", **data)
    assert result.sparsity is not None and result.fidelity is not None and result.fidelity.agreement is not None
    assert result.fidelity.agreement >= 0.75
    assert all(layer.error is not None for layer in result.sparsity.sparse_layers)
    assert result.plan.options["sparsity"]["repair"] == "least-squares"
    assert onnxprune.verify(digits, tmp_path / "o.onnx").plan_digest == result.plan.digest


def test_a_metric_judges_the_zeros(digits: Path, tmp_path: Path) -> None:
    def kept(path: str) -> float:
        """The share of weights that are not zero."""
        tensors = dense_again(load(path)).tensors
        arrays = [t.array() for t in tensors.values() if len(t.shape) == 4]
        return float(sum(map(np.count_nonzero, arrays)) / sum(a.size for a in arrays))

    with pytest.raises(GateError, match="falls by"):
        onnxprune.shrink(digits, tmp_path / "o.onnx", ratio=0, sparsity=0.6, metric=kept, max_drop=0.3)
    assert not (tmp_path / "o.onnx").exists()
    result = onnxprune.shrink(digits, tmp_path / "o.onnx", ratio=0, sparsity=0.6, metric=kept, max_drop=0.7)
    assert result.metric is not None and result.metric.after == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 22])
def test_other_opsets(tmp_path: Path, opset: int) -> None:
    """A Conv with Clip, a MatMul with a bias, in the words of each opset."""
    net = Net(opset)
    x = net.conv(net.input(3, 6, 6), 8, 3, name="conv")
    bounds = {"min": 0.0, "max": 6.0} if opset < 11 else {}
    x = net.op("Clip", x, *([] if bounds else [np.float32(0), np.float32(6)]), **bounds)
    net.output(net.dense(net.op("Flatten", net.conv(x, 8)), 12, name="dense"))
    onnx.save(net.model(), tmp_path / "m.onnx")
    result = onnxprune.sparsify(tmp_path / "m.onnx", sparsity=0.5, pattern="2x1")
    assert {layer.operator for layer in result.sparsity.layers} == {"SparseConvClip", "SparseConv", "SparseMatMul"}
    assert onnxprune.verify(tmp_path / "m.onnx", result.written[0]).refitted == ()


@pytest.mark.parametrize("emit", ["operators", "dense-zeros"])
def test_a_layer_that_was_left_out_can_follow(operators: Made, tmp_path: Path, emit: str) -> None:
    path = tmp_path / "o.onnx"
    result = onnxprune.sparsify(operators.path, path, sparsity=0.5, emit=emit)
    (layer,) = result.sparsity.sparse_layers
    assert layer.node == "classifier" and (layer.operator == "SparseMatMul") == (emit == "operators")
    assert onnxprune.verify(operators.path, path).refitted == ()
    history = json.loads(metadata(load(path))["onnxprune.history"])
    assert len(history) == 2, "made in two runs"


def test_models_that_operators_do_not_have(tmp_path: Path) -> None:
    net = Net(opset=8, ir=3)
    net.output(net.gemm(net.input(8), 16))
    onnx.save(net.model(), tmp_path / "old.onnx")
    with pytest.raises(ModelError, match="opset"):
        onnxprune.sparsify(tmp_path / "old.onnx", sparsity=0.5)
    done = onnxprune.sparsify(tmp_path / "old.onnx", sparsity=0.5, emit="dense-zeros")
    assert done.written == (tmp_path / "old.sparse.onnx",)

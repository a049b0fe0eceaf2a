"""The promises of the README, one by one. Numbers are those of docs/reliability.md where it exists."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxprune import inspect, shrink, verify
from onnxprune.cut.plan import GroupPlan, Plan
from onnxprune.errors import OutputError, PlanError, VerificationError
from onnxprune.model.load import Model, load
from onnxprune.model.metadata import metadata
from onnxprune.trace.ops import registry
from onnxprune.trace.ops.context import Op
from tests.hostile.support import DIGITS, cnn, info, listing, mlp, model_of, run, save, shrunk, weights


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    path = tmp_path / "digits.onnx"
    path.write_bytes(DIGITS.read_bytes())
    return path


# ---- 1: the input is never changed -----------------------------------------------------------------------------
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["same", "dotted", "symlink", "hard link", "linked folder"])
def test_the_input_is_never_overwritten(tmp_path: Path, digits: Path, kind: str, force: bool) -> None:
    """Under no other name either, with or without --force."""
    out = tmp_path / "other.onnx"
    if kind == "same":
        out = digits
    elif kind == "dotted":
        (tmp_path / "sub").mkdir()
        out = tmp_path / "sub" / ".." / "digits.onnx"
    elif kind == "symlink":
        out.symlink_to(digits)
    elif kind == "hard link":
        os.link(digits, out)
    else:
        (tmp_path / "elsewhere").symlink_to(tmp_path)
        out = tmp_path / "elsewhere" / "digits.onnx"
    with pytest.raises(OutputError, match="input file"):
        shrink(digits, out, force=force)
    assert digits.read_bytes() == DIGITS.read_bytes()


def test_an_existing_output_needs_force(tmp_path: Path, digits: Path) -> None:
    out = tmp_path / "small.onnx"
    out.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        shrink(digits, out)
    assert out.read_bytes() == b"precious"
    shrink(digits, out, force=True, threads=1)
    assert load(out).proto.graph.node


def test_shrinking_changes_nothing_else(tmp_path: Path, digits: Path) -> None:
    """Not the input, its time stamps, or anything beside it; one file appears."""
    (tmp_path / "notes.txt").write_text("mine")
    before, status = listing(tmp_path), os.stat(digits)
    model = load(digits)
    proto = model.proto.SerializeToString(deterministic=True)
    shrink(model, tmp_path / "small.onnx", threads=1)
    after = listing(tmp_path)
    assert after.pop("small.onnx") and after == before
    assert os.stat(digits).st_mtime_ns == status.st_mtime_ns
    assert model.proto.SerializeToString(deterministic=True) == proto


# ---- 2 and 5: nothing is written before it is proven -----------------------------------------------------------
def forgetful(op: Op) -> None:
    """A wrong rule for Sigmoid: it reverses the channels, so that the layer behind loses other ones."""
    axes = op.axes(0)
    op.set(0, [axes[0], None if axes[1] is None else axes[1][::-1].copy()])


def leaky(op: Op) -> None:
    """A wrong rule for Sigmoid: channels that go in are forgotten, fresh ones come out."""
    op.set(0, [op.label(0, 0), op.fresh(op.size(0, 1))])


@pytest.mark.parametrize("wrong", [forgetful, leaky])
@pytest.mark.parametrize("previous", [b"precious", None])
def test_nothing_is_written_when_a_rule_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: registry.Rule, previous: bytes | None
) -> None:
    """A rule with a bug cuts the wrong channels: the proof says so (exit code 4), and no file appears or changes."""
    monkeypatch.setitem(registry._RULES, ("", "Sigmoid"), wrong)
    path, out = save(tmp_path, mlp([helper.make_node("Sigmoid", ["a"], ["b"], name="act")])), tmp_path / "small.onnx"
    if previous is not None:
        out.write_bytes(previous)
    before = listing(tmp_path)
    with pytest.raises(VerificationError) as failure:
        shrink(path, out, force=previous is not None, threads=1)
    assert failure.value.exit_code == 4
    assert listing(tmp_path) == before


def test_the_right_rule_passes_where_the_wrong_ones_fail(tmp_path: Path) -> None:
    result, _ = shrunk(tmp_path, mlp([helper.make_node("Sigmoid", ["a"], ["b"], name="act")]))
    assert result.proof is not None and result.proof.sensitive


def test_a_tampered_file_does_not_verify(tmp_path: Path, digits: Path) -> None:
    """`verify` repeats the proof; a file with another node, shape or plan is refused."""
    out = tmp_path / "small.onnx"
    shrink(digits, out, ratio=0.3, threads=1)
    assert verify(digits, out, threads=1).proof.compared_elements > 0
    proto = load(out).complete_proto()
    proto.graph.node[0].op_type, old = "ConvTranspose", proto.graph.node[0].op_type
    with pytest.raises(VerificationError, match="node"):
        verify(digits, load(proto), threads=1)
    proto.graph.node[0].op_type = old
    widest = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
    widest.CopyFrom(numpy_helper.from_array(np.zeros([d + 1 for d in widest.dims], np.float32), widest.name))
    with pytest.raises(VerificationError, match="initializer"):
        verify(digits, load(proto), threads=1)


# ---- 3: the same signature -------------------------------------------------------------------------------------
def annotated() -> ModelProto:
    proto = cnn()
    proto.domain, proto.model_version, proto.doc_string = "org.example", 7, "what it is"
    proto.producer_name, proto.producer_version = "maker", "1.2"
    helper.set_model_props(proto, {"author": "me", "labels": "cat,dog"})
    proto.graph.doc_string = "graph"
    proto.graph.input[0].doc_string, proto.graph.output[0].doc_string = "pixels", "scores"
    proto.graph.input.append(info("scale", [1]))
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "scale"))
    proto.graph.node.insert(2, helper.make_node("Mul", ["a", "scale"], ["scaled"], doc_string="optional"))
    proto.graph.node[3].input[0] = "scaled"
    proto.graph.value_info.append(info("a", ["N", 8, "H", 6]))
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    proto.graph.node[0].metadata_props.add(key="from", value="here")
    proto.graph.output.append(info("extra", ["N", 3, 6, 6], TensorProto.FLOAT16))
    proto.graph.node.append(helper.make_node("Cast", ["x"], ["extra"], to=TensorProto.FLOAT16))
    return proto


def test_the_signature_stays(tmp_path: Path) -> None:
    """Inputs, outputs, names, order, types, symbols, imports, metadata, documentation, overridable initializers."""
    proto = annotated()
    result, small = shrunk(tmp_path, proto)
    assert result.plan.removed_count == 4
    for name in ("ir_version", "domain", "model_version", "doc_string", "producer_name", "producer_version"):
        assert getattr(small.proto, name) == getattr(proto, name)
    assert small.proto.opset_import == proto.opset_import
    assert small.proto.graph.input == proto.graph.input
    assert small.proto.graph.output == proto.graph.output
    assert small.proto.graph.doc_string == "graph"
    assert small.proto.graph.node[0].metadata_props == proto.graph.node[0].metadata_props
    kept = {k: v for k, v in metadata(small.proto).items() if not k.startswith("onnxprune.")}
    assert kept == {"author": "me", "labels": "cat,dog"}
    shape = small.proto.graph.value_info[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["N", 4, "H", 6]


def test_overridable_initializers_still_override(tmp_path: Path) -> None:
    _, small = shrunk(tmp_path, annotated())
    x = weights(1, 3, 6, 6)
    doubled = run(small, {"x": x, "scale": np.full(1, 2, np.float32)})[0]
    np.testing.assert_allclose(doubled, 2 * run(small, {"x": x})[0], rtol=1e-4, atol=1e-6)


# ---- 6: the tolerance is a policy ------------------------------------------------------------------------------
def test_the_tolerance_is_tight_and_printed(tmp_path: Path, digits: Path) -> None:
    result = shrink(digits, tmp_path / "small.onnx", threads=1)
    assert result.proof is not None
    assert result.proof.worst_relative <= result.proof.tolerance_relative <= 1e-3
    assert "terms" in result.proof.tolerance_policy and "layers" in result.proof.tolerance_policy


# ---- 7: deterministic (other surroundings: test_environment.py) ------------------------------------------------
def test_the_same_call_gives_the_same_bytes(tmp_path: Path, digits: Path) -> None:
    """From a path, another path, bytes or a ModelProto; into another folder. No time, name or path is recorded."""
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "renamed.onnx"
    copy.write_bytes(digits.read_bytes())
    outs = [tmp_path / "a.onnx", tmp_path / "elsewhere" / "b.onnx", tmp_path / "c.onnx"]
    sources: list[Path | Model] = [digits, copy, load(digits.read_bytes())]
    for source, out in zip(sources, outs, strict=True):
        shrink(source, out, ratio=0.3, threads=1)
    assert len({hashlib.sha256(out.read_bytes()).hexdigest() for out in outs}) == 1
    assert str(tmp_path).encode() not in outs[0].read_bytes()


# ---- 12: composable --------------------------------------------------------------------------------------------
def test_a_shrunk_model_shrinks_again(tmp_path: Path, digits: Path) -> None:
    """The history grows, each step names its source, and each step can be verified."""
    steps = [digits]
    for number in range(3):
        steps.append(tmp_path / f"{number}.onnx")
        result = shrink(steps[-2], steps[-1], ratio=0.25, threads=1)
        assert result.plan.removed_count > 0
    history = json.loads(metadata(load(steps[-1]).proto)["onnxprune.history"])
    assert [entry["source_sha256"] for entry in history] == [load(step).sha256 for step in steps[:3]]
    assert verify(steps[-2], steps[-1], threads=1).plan_digest == history[-1]["plan"]
    sizes = [inspect(step).removable for step in steps]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4


def test_a_plan_replays_to_the_same_bytes(tmp_path: Path, digits: Path) -> None:
    planned = shrink(digits, tmp_path / "unwritten.onnx", ratio=0.3, dry_run=True).plan
    shrink(digits, tmp_path / "a.onnx", ratio=0.3, threads=1)
    shrink(digits, tmp_path / "b.onnx", plan=planned, threads=1)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert not (tmp_path / "unwritten.onnx").exists()


def test_a_plan_applies_only_to_its_model(tmp_path: Path, digits: Path) -> None:
    """Not to one whose weights differ in one bit, nor to its own result; and a forged one does not fit."""
    planned: Plan = shrink(digits, tmp_path / "a.onnx", ratio=0.3, threads=1).plan
    with pytest.raises(PlanError, match="another model"):
        shrink(tmp_path / "a.onnx", tmp_path / "b.onnx", plan=planned)
    data = bytearray(digits.read_bytes())
    tensor = max(load(digits).proto.graph.initializer, key=lambda t: np.prod(t.dims))
    payload = load(digits).tensors[tensor.name].payload().tobytes()
    data[data.index(payload)] ^= 1
    with pytest.raises(PlanError, match="another model"):
        shrink(load(bytes(data)), tmp_path / "b.onnx", plan=planned)
    first = planned.groups[0]
    forged = [
        replace(first, name="nobody"),
        replace(first, size=first.size + 1),
        GroupPlan(first.name, first.size, tuple(range(first.size))),
    ]
    for group in forged:
        with pytest.raises(PlanError):
            shrink(digits, tmp_path / "b.onnx", plan=replace(planned, groups=(group, *planned.groups[1:])))
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_made_after_a_refused_cut_replays(tmp_path: Path, seed: int) -> None:
    """A Slice over two axes cannot pick uneven channels: these stay, and the plan names the groups as anybody else who
    traces the model finds them.
    """
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["h"], name="first", pads=[1] * 4),
        helper.make_node("Split", ["h", "parts"], ["a", "b"], axis=1, name="split"),
        helper.make_node("Slice", ["a", "starts", "ends", "axes", "steps"], ["sliced"], name="slice"),
        helper.make_node("Concat", ["sliced", "b"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "w2"], ["y"], name="last"),
    ]
    tensors = {"w1": weights(18, 3, 3, 3), "b1": weights(18), "w2": weights(2, 10, 1, 1)}
    sizes = {"parts": [12, 6], "starts": [0, 0], "ends": [12, 6], "axes": [1, 2], "steps": [3, 1]}
    tensors |= {name: np.array(value, np.int64) for name, value in sizes.items()}
    path = save(tmp_path, model_of(nodes, [info("x", ["N", 3, 6, 6])], [info("y", ["N", 2, 6, 6])], tensors))
    out = tmp_path / "small.onnx"
    result = shrink(path, out, ratio=0.4, criterion="random", multiple_of=1, seed=seed, threads=1)
    assert verify(path, out, threads=1).plan_digest == result.plan.digest
    shrink(path, tmp_path / "again.onnx", plan=result.plan, threads=1)
    assert (tmp_path / "again.onnx").read_bytes() == out.read_bytes()
    refused = any(g.reason and "uneven selection" in g.reason for g in result.groups)
    assert refused == (seed in (1, 3))

"""`--units blocks` from end to end: plan, file, proof, repair, verify, reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import onnxprune
from onnxprune.cli.main import application
from onnxprune.cut.plan import parse, read
from onnxprune.errors import PlanError, UsageError, VerificationError
from onnxprune.model.metadata import metadata, set_metadata
from tests.builders import Net
from tests.choose.blocks.networks import classic, transformer
from tests.oracle import session
from tests.untimed import untimed


@pytest.fixture
def model(tmp_path: Path) -> Path:
    net = Net()
    classic(net)
    onnx.save(net.model(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def images(model: Path, count: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    name = onnx.load(model).graph.input[0].name
    return {name: np.random.default_rng(seed).standard_normal((count, 3, 6, 6)).astype(np.float32)}


def test_plan_file_and_proof(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    result = onnxprune.shrink(model, out, units="blocks", ratio=0.67)
    assert result.plan.units == "blocks" and len(result.plan.blocks) == result.plan.removed_count == 2
    assert result.reached_ratio == pytest.approx(2 / 3) and result.groups == ()
    assert [change.block.name for change in result.blocks if change.removed] == list(result.plan.blocks)
    assert result.after is not None
    saved = sum(change.block.macs for change in result.blocks if change.removed)
    assert result.after.macs == result.before.macs - saved
    assert result.proof is not None and result.proof.sensitive and result.repair is None
    assert onnxprune.verify(model, out).units == "blocks"
    again = parse(result.plan.dumps())
    assert again == result.plan and again.digest == result.plan.digest
    assert onnxprune.shrink(model, tmp_path / "again.onnx", plan=again).plan == again
    assert (tmp_path / "again.onnx").read_bytes() == out.read_bytes()


def test_a_file_that_is_not_what_its_plan_says_is_refused(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    result = onnxprune.shrink(model, out, units="blocks", ratio=0.34)
    assert len(result.plan.blocks) == 1

    def tampered(blocks: list[str]) -> Path:
        proto = onnx.load(out)
        plan = json.loads(metadata(proto)["onnxprune.plan"])
        set_metadata(proto, "onnxprune.plan", json.dumps({**plan, "blocks": blocks}))
        onnx.save(proto, tmp_path / "tampered.onnx")
        return tmp_path / "tampered.onnx"

    other = next(change.block.name for change in result.blocks if not change.removed)
    onnxprune.verify(model, tampered(list(result.plan.blocks)))
    for blocks in ([other], [*result.plan.blocks, other]):
        with pytest.raises(VerificationError):
            onnxprune.verify(model, tampered(blocks))
    with pytest.raises(VerificationError):
        onnxprune.verify(model, tampered([]))
    for wrong in (["four"], [other, other]):
        with pytest.raises(PlanError):
            onnxprune.verify(model, tampered(wrong))
    proto = onnx.load(out)
    next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Sigmoid"
    onnx.save(proto, tmp_path / "tampered.onnx")
    with pytest.raises(VerificationError, match="is not the one that its plan gives"):
        onnxprune.verify(model, tmp_path / "tampered.onnx")


def test_repair_makes_up_for_blocks(model: Path, tmp_path: Path) -> None:
    fresh = images(model, seed=1)
    wanted = session(onnx.load(model)).run(None, fresh)[0]
    errors = {}
    for repair in ("none", "reconstruct"):
        out = tmp_path / f"{repair}.onnx"
        result = onnxprune.shrink(model, out, units="blocks", ratio=0.34, data=images(model), repair=repair)
        assert len(result.plan.blocks) == 1 and result.plan.options["criterion"] == "block-error"
        assert result.fidelity is not None
        errors[repair] = float(((session(onnx.load(out)).run(None, fresh)[0] - wanted) ** 2).sum())
        assert bool(onnxprune.verify(model, out).refitted) == (repair != "none")
    assert errors["reconstruct"] < 0.5 * errors["none"]


def test_a_network_that_ends_in_a_removed_sum_is_repaired(tmp_path: Path) -> None:
    """Its last sum is gone: what takes its place is compared with it."""
    net = Net()
    transformer(net)
    proto = net.model()
    last = [node for node in proto.graph.node if node.op_type == "Add"][-1]
    proto.graph.output[0].name = next(n for n in proto.graph.node if last.output[0] in n.input).output[0]
    del proto.graph.node[-1]
    onnx.save(proto, tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    x = next(i.name for i in proto.graph.input if i.name != "mask")
    data = {x: rng.standard_normal((60, 5, 6)).astype(np.float32), "mask": np.ones((60, 1, 1, 5), np.float32)}
    result = onnxprune.shrink(
        tmp_path / "net.onnx", tmp_path / "out.onnx", units="blocks", target="macs=90%", include=["mlp2"], data=data
    )
    assert result.plan.blocks == ("mlp2",)
    assert result.repair is not None and result.repair.method == "reconstruction" and not result.repair.skipped
    assert result.repair.reconstruction is not None and result.repair.reconstruction.reason is None
    assert result.repair.reconstruction.error_after < result.repair.reconstruction.error_before
    onnxprune.verify(tmp_path / "net.onnx", tmp_path / "out.onnx")


def test_a_result_can_lose_channels_afterwards(model: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    onnxprune.shrink(model, first, units="blocks", ratio=0.34)
    result = onnxprune.shrink(first, second, ratio=0.25)
    assert result.plan.units == "channels" and result.plan.removed_count
    assert len(json.loads(metadata(onnxprune.load(second).proto)["onnxprune.history"])) == 2
    onnxprune.verify(first, second)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"criterion": "l1"}, "criterion="),
        ({"scope": "global"}, "scope="),
        ({"normalise": "max"}, "normalise="),
        ({"aggregate": "sum"}, "aggregate="),
        ({"multiple_of": 8}, "multiple_of="),
        ({"min_keep": "50%"}, "min_keep="),
        ({"repair": "bias"}, "repair='bias'"),
        ({"repair": "least-squares"}, "repair='least-squares'"),
    ],
)
def test_options_about_channels_are_refused(model: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=f"{said} .*no effect with units='blocks'"):
        onnxprune.shrink(model, units="blocks", **options)  # type: ignore[arg-type]


def test_commands(model: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        done = CliRunner().invoke(application, untimed(arguments), prog_name="onnxprune")
        assert done.exit_code == 0, done.output
        return done.stdout

    text = run("inspect", model, "--units", "blocks")
    assert "3 residual blocks: 3 removable, 0 stay" in text and "one.a" in text
    document = json.loads(run("inspect", model, "--units", "blocks", "--format", "json"))
    assert [block["name"] for block in document["blocks"]] == ["one", "two", "three"]
    assert document["removable_count"] == 3 and document["groups"] == []
    plan, out = tmp_path / "plan.json", tmp_path / "out.onnx"
    text = run("shrink", model, "--units", "blocks", "--target", "macs=80%", "--dry-run", "--save-plan", plan)
    assert "3 residual blocks: 1 leaves, 2 stay" in text and "dry run" in text
    (name,) = read(plan).blocks
    assert name in text
    document = json.loads(run("shrink", model, "-o", out, "--plan", plan, "--format", "json"))
    assert [block["name"] for block in document["blocks"] if block["removed"]] == [name]
    assert "minus the blocks of plan" in run("verify", model, out)
    done = CliRunner().invoke(
        application, ["inspect", str(model), "--units", "blocks", "--why", "one.a"], prog_name="onnxprune"
    )
    assert done.exit_code == 2


def test_nothing_to_remove_is_said(tmp_path: Path) -> None:
    net = Net()
    net.head(net.stem())
    onnx.save(net.model(), tmp_path / "net.onnx")
    done = CliRunner().invoke(
        application, ["shrink", str(tmp_path / "net.onnx"), "--units", "blocks", "--no-bench"], prog_name="onnxprune"
    )
    assert done.exit_code == 0 and "the model has no residual blocks" in done.stdout

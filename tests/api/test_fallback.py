"""Groups that samples cannot judge: they stay while a target can be met without them, else weights judge them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import onnxprune
from onnxprune.choose.fallback import INSIDE
from onnxprune.model.load import Model, load
from tests.builders import Net

Array = NDArray[Any]


def half_inside() -> Model:
    """Two layers outside that samples judge, and as many inside of both branches of an If."""
    branches = []
    for seed in (0, 1):
        inner = Net(17, seed=seed)
        inner._count = 100 * (seed + 1)  # names of a body must be new
        h = inner.op("Relu", inner.op("Gemm", "h", inner.normal(12, 32), name=f"in{seed}", transB=1))
        wide = inner.op("Relu", inner.op("Gemm", h, inner.normal(48, 12), name=f"wide{seed}", transB=1))
        y = inner.op("Gemm", wide, inner.normal(4, 48), name=f"z{seed}", transB=1)
        branches.append(inner.body(f"branch{seed}", [y]))
    net = Net(17)
    x = net.relu(net.gemm(net.input(8, name="x"), 24, name="a"))
    x = net.op("Relu", net.gemm(x, 32, name="b"))
    net.nodes[-1].output[0] = "h"
    flag = net.declare("flag", [], bool)
    both = {"then_branch": branches[0], "else_branch": branches[1]}
    net.nodes.append(onnx.helper.make_node("If", [flag], ["y"], name="If", **both))
    net.output("y", rank=2)
    return load(net.model())


def samples(count: int = 40) -> dict[str, Array]:
    x = np.random.default_rng(0).standard_normal((count, 8)).astype(np.float32)
    return {"x": x, "flag": np.arange(count) % 2 == 0}


def judged_by_weights(result: Any) -> list[str]:
    return [note for note in result.notes if "judged by weights" in note]


def test_they_stay_while_the_others_do(tmp_path: Path) -> None:
    result = onnxprune.shrink(half_inside(), tmp_path / "a.onnx", target="macs=90%", data=samples())
    assert result.written and not judged_by_weights(result)
    reasons = {change.name: change.reason for change in result.groups}
    assert reasons["in0"] == reasons["wide1"] == INSIDE


@pytest.mark.parametrize("how", [{}, {"scope": "local"}, {"criterion": "wanda"}])
def test_a_target_that_needs_them_gets_them(how: dict[str, Any], tmp_path: Path) -> None:
    result = onnxprune.shrink(half_inside(), tmp_path / "a.onnx", target="macs=35%", data=samples(), **how)
    assert result.after is not None and result.after.macs <= 0.35 * result.before.macs
    (note,) = judged_by_weights(result)
    assert INSIDE in note and result.fidelity is not None
    onnxprune.verify(half_inside(), tmp_path / "a.onnx")


def test_a_share_leaves_them_alone_where_there_are_others(tmp_path: Path) -> None:
    result = onnxprune.shrink(half_inside(), tmp_path / "a.onnx", ratio=0.5, data=samples())
    assert not judged_by_weights(result) and {c.name for c in result.groups if c.removed} <= {"a", "b"}


def test_what_shows_on_no_sample_leaves_last_and_is_said(tmp_path: Path) -> None:
    data = {**samples(), "flag": np.ones(40, bool)}
    for target, needed in (("macs=50%", False), ("macs=20%", True)):
        result = onnxprune.shrink(half_inside(), tmp_path / f"{needed}.onnx", target=target, data=data)
        gone = {c.name for c in result.groups if c.removed}
        notes = [note for note in result.notes if "show nothing of 2 groups: in1, wide1" in note]
        assert (bool(notes), bool(gone & {"in1", "wide1"})) == (needed, needed)

"""Operators of a custom domain: nobody can run them; what needs that says so, with file, operator and a way on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from onnxprune import diff, inspect, pack, shrink, sparsify, sweep, verify
from onnxprune.cli.main import application
from onnxprune.errors import ModelError
from tests.hostile.support import cnn, listing, save

SAYS = (
    r"^m\.onnx cannot be run: ONNX Runtime does not know com\.acme:Odd \(node 'odd'\)\n  .*com\.acme:Odd as a function"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Convolutions of which the first could lose channels, then such an operator."""
    proto = cnn(64)
    proto.graph.node.append(helper.make_node("Odd", ["y"], ["z"], name="odd", domain="com.acme"))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    proto.opset_import.append(helper.make_opsetid("com.acme", 1))
    return save(tmp_path, proto)


NEEDED: dict[str, Callable[[Path], Any]] = {
    "shrink": lambda path: shrink(path, ratio=0.5),
    "shrink with samples": lambda path: shrink(path, ratio=0.5, data="random", samples=4),
    "a latency": lambda path: shrink(path, target="latency=50%", dry_run=True),
    "sparsify": lambda path: sparsify(path, sparsity=0.5),
    "sparsify by samples, without a file": lambda path: sparsify(path, sparsity=0.5, data="random", dry_run=True),
    "sweep": lambda path: sweep(path, ratios=[0.5]),
    "what packing does": lambda path: pack(path, data="random"),
}


@pytest.mark.parametrize("name", NEEDED)
def test_what_has_to_run_says_why_it_cannot(name: str, path: Path) -> None:
    with pytest.raises(ModelError, match=SAYS) as caught:
        NEEDED[name](path)
    assert str(path.parent) not in str(caught.value) and "temp" not in str(caught.value).lower()
    assert list(listing(path.parent)) == ["m.onnx"], "nothing was written"


def test_a_result_without_a_proof_is_compared_all_the_same(path: Path) -> None:
    """`verify` finds out by running it."""
    small = path.with_name("small.onnx")
    assert shrink(path, small, ratio=0.5, verify=False).written == (small,)
    with pytest.raises(ModelError, match=SAYS):
        verify(path, small)


def test_what_only_reads_works(path: Path) -> None:
    assert shrink(path, ratio=0.5, dry_run=True).plan.removed_count == 32
    assert sparsify(path, sparsity=0.5, dry_run=True).plan.sparsity is not None
    assert pack(path).written
    assert not diff(path, path).nodes


def test_inspect_says_it_before(path: Path) -> None:
    said = next(note for note in inspect(path).notes if "com.acme:Odd (node 'odd')" in note)
    assert said.startswith("m.onnx cannot be run") and "shrink and sparsify will refuse it" in said
    assert said in CliRunner().invoke(application, ["inspect", str(path)]).output


def test_where_nothing_can_leave_nothing_has_to_run(tmp_path: Path) -> None:
    nodes = [helper.make_node("Odd", ["x"], ["h"], domain="com.acme"), helper.make_node("Relu", ["h"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    found = shrink(save(tmp_path, helper.make_model(graph, opset_imports=opsets, ir_version=8)), ratio=0.5)
    assert found.plan.removed_count == 0 and not found.written


def test_what_the_runtime_refuses_is_named_by_its_own_file(tmp_path: Path) -> None:
    """It is told to load a copy, whose name says nothing to the user."""
    proto = cnn(64)
    proto.graph.node[1].CopyFrom(helper.make_node("NoSuch", ["h"], ["a"], name="act", domain="com.microsoft"))
    proto.graph.node.insert(0, helper.make_node("Conv", ["x", "w0"], ["early"], name="early"))
    proto.graph.node.append(helper.make_node("Conv", ["early", "w9"], ["late"], name="late"))
    weight = np.ones((64, 3, 1, 1), np.float32)
    for name, array in (("w0", weight), ("w9", weight.reshape(3, 64, 1, 1))):
        proto.graph.initializer.add(name=name, dims=array.shape, data_type=TensorProto.FLOAT, raw_data=array.tobytes())
    proto.graph.output.append(helper.make_tensor_value_info("late", TensorProto.FLOAT, None))
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ModelError, match=r"cannot load m\.onnx, the original \(with masks\): .*NoSuch") as caught:
        shrink(save(tmp_path, proto), ratio=0.5)
    assert "reference.onnx" not in str(caught.value)

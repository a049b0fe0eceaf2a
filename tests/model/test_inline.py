"""Functions of a model are written out, and come back as calls where nothing has changed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

from onnxprune import inspect, shrink, sparsify, verify
from onnxprune.model.load import Model, load
from onnxprune.trace import trace_model
from tests.builders import Net
from tests.oracle import check, session

OPSET = 17
IMPORTS = [helper.make_opsetid("", OPSET), helper.make_opsetid("loc", 1)]


def function(
    name: str, inputs: Sequence[str], outputs: Sequence[str], nodes: Sequence[NodeProto], **more: Any
) -> FunctionProto:
    return helper.make_function("loc", name, inputs, outputs, nodes, more.pop("imports", IMPORTS), **more)


def linear() -> FunctionProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("Add", ["t", "b"], ["y"])]
    return function("Linear", ["x", "w", "b"], ["y"], nodes)


def mlp() -> FunctionProto:
    """Calls `Linear` twice; its slope is an attribute of the call."""
    act = helper.make_node("LeakyRelu", ["a"], ["h"])
    act.attribute.append(AttributeProto(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT))
    nodes = [
        helper.make_node("Linear", ["x", "w1", "b1"], ["a"], domain="loc"),
        act,
        helper.make_node("Linear", ["h", "w2", "b2"], ["y"], domain="loc"),
    ]
    return function("Mlp", ["x", "w1", "b1", "w2", "b2"], ["y"], nodes, attributes=["slope"])


def weighty() -> FunctionProto:
    """Holds its weight."""
    weight = numpy_helper.from_array(np.random.default_rng(5).standard_normal((8, 8)).astype(np.float32), "w")
    nodes = [helper.make_node("Constant", [], ["w"], value=weight), helper.make_node("MatMul", ["x", "w"], ["y"])]
    return function("Weighty", ["x"], ["y"], nodes)


def chain(*, weights: bool = False) -> Net:
    """x -> Mlp -> Mlp (-> Weighty) -> y"""
    net = Net(OPSET)
    net.functions += [linear(), mlp()]
    x = net.input(6)
    for width in (8, 6):
        given = [net.normal(net.shape(x)[-1] or 6, 12), net.normal(12), net.normal(12, width), net.normal(width)]
        x = net.hint(net.op("Mlp", x, *given, domain="loc", slope=0.2, name=f"m{width}"), width)
        if weights and width == 8:
            net.functions.append(weighty())
            x = net.hint(net.op("Weighty", x, domain="loc", name="heavy"), 8)
    net.output(net.matmul(x, 3, name="z"))
    return net


def save(tmp_path: Path, proto: ModelProto) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    return path


def test_it_is_what_the_inliner_of_onnx_makes() -> None:
    proto = chain(weights=True).model()
    ours, theirs = load(proto).inlined().proto, inline_local_functions(proto)
    assert [n.op_type for n in ours.graph.node] == [n.op_type for n in theirs.graph.node]
    assert [len(n.attribute) for n in ours.graph.node] == [len(n.attribute) for n in theirs.graph.node]
    assert not ours.functions
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    ran = [
        session(p).run(None, {proto.graph.input[0].name: x})[0] for p in (load(proto).inlined().complete_proto(), proto)
    ]
    np.testing.assert_array_equal(*ran)


def test_names_say_which_call_it_was() -> None:
    names = [node.name for node in load(chain().model()).inlined().proto.graph.node]
    assert names[:3] == ["m8/Linear/MatMul", "m8/Linear/Add", "m8/LeakyRelu"]
    assert names[3] == "m8/Linear.2/MatMul" and len(set(names)) == len(names)


def test_unchanged_calls_come_back() -> None:
    model = load(chain(weights=True).model())
    inner = model.inlined()
    assert inner.calls is not None and inner.inlined() is inner
    assert inner.outlined().proto == model.proto and inner.lost_calls() == {}
    assert inner.sha256 == model.sha256 and inner.size_bytes == model.size_bytes
    assert pickle.loads(pickle.dumps(inner)).outlined().proto == model.proto
    plain = load(_plain())
    assert plain.inlined() is plain.outlined() is plain


def _plain() -> ModelProto:
    net = Net(OPSET)
    net.head(net.stem())
    return net.model()


def test_channels_leave_through_calls(tmp_path: Path) -> None:
    """The functions have no weights of their own: the result calls them as the original did."""
    proto = chain().model()
    check(proto, expect_pinned={"z": "graph output"})
    path, out = save(tmp_path, proto), tmp_path / "out.onnx"
    result = shrink(path, out, ratio=0.5, multiple_of=1)
    small = onnx.load(out)
    assert result.after is not None and result.after.macs < 0.6 * result.before.macs
    assert list(small.graph.node) == list(proto.graph.node) and list(small.functions) == list(proto.functions)
    assert not any("written out" in note for note in result.notes)
    assert verify(path, out).proof is not None
    again = shrink(path, None, ratio=0.5, multiple_of=1).model
    assert isinstance(again, Model) and again.calls is None and again.proto.graph.node == small.graph.node


def test_a_function_that_loses_weights_is_written_out(tmp_path: Path) -> None:
    """And calls that did not change stay calls, those inside of it included."""
    proto = chain(weights=True).model()
    path, out = save(tmp_path, proto), tmp_path / "out.onnx"
    result = shrink(path, out, ratio=0.5, multiple_of=1)
    small = onnx.load(out)
    assert [n.op_type for n in small.graph.node] == ["Mlp", "Constant", "MatMul", "Mlp", "MatMul"]
    assert [f.name for f in small.functions] == ["Linear", "Mlp"]
    assert [note for note in result.notes if "written out" in note] == [
        "functions of the model are written out where their nodes or weights changed: loc:Weighty (1 call)"
    ]
    assert verify(path, out).proof is not None


def test_zeros_stay_behind_calls(tmp_path: Path) -> None:
    path, out = save(tmp_path, chain().model()), tmp_path / "out.onnx"
    result = sparsify(path, out, sparsity=0.5, pattern="unstructured", emit="dense-zeros")
    assert result.written == (out,)
    assert [n.op_type for n in onnx.load(out).graph.node] == ["Mlp", "Mlp", "MatMul"]
    assert verify(path, out).sparse is not None


def test_an_inner_call_comes_back_alone() -> None:
    """Where the outer function has changed, the calls in it may not have."""
    inner = load(chain().model()).inlined()
    proto = ModelProto()
    proto.CopyFrom(inner.proto)
    act = next(node for node in proto.graph.node if node.op_type == "LeakyRelu")
    act.attribute[0].f = 0.5
    found = inner.replace(proto, inner.tensors)
    assert [n.op_type for n in found.outlined().proto.graph.node] == ["Linear", "LeakyRelu", "Linear", "Mlp", "MatMul"]
    assert found.lost_calls() == {"loc:Mlp": 1}


def test_a_value_inside_that_others_read_keeps_the_call_out() -> None:
    inner = load(chain().model()).inlined()
    proto = ModelProto()
    proto.CopyFrom(inner.proto)
    hidden = next(node for node in proto.graph.node if node.op_type == "LeakyRelu").output[0]
    proto.graph.output.append(helper.make_tensor_value_info(hidden, TensorProto.FLOAT, None))
    assert inner.replace(proto, inner.tensors).lost_calls() == {"loc:Mlp": 1}


def test_bodies_of_control_flow() -> None:
    """Calls in a branch, and branches in a function."""
    net = Net(OPSET)
    then = helper.make_graph([helper.make_node("Neg", ["x"], ["t"])], "then", [], [onnx.ValueInfoProto(name="t")])
    other = helper.make_graph(
        [helper.make_node("Act", ["x"], ["e"], domain="loc")], "else", [], [onnx.ValueInfoProto(name="e")]
    )
    act = function("Act", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Neg", ["h"], ["y"])])
    node = helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)
    net.functions += [act, function("Maybe", ["x", "c"], ["y"], [node])]
    condition = net.declare("c", [], np.bool_)
    a = net.hint(net.op("Maybe", net.matmul(net.input(6), 8, name="a"), condition, domain="loc", name="m"), 8)
    net.output(net.matmul(a, 3, name="z"))
    model = load(net.model())
    inner = model.inlined()
    assert not inner.proto.functions and [n.op_type for n in inner.proto.graph.node] == ["MatMul", "If", "MatMul"]
    assert inner.outlined().proto == model.proto


def test_an_input_that_is_not_given() -> None:
    net = Net(OPSET)
    nodes = [helper.make_node("Clip", ["x", "low", "high"], ["y"])]
    net.functions.append(function("Bound", ["x", "low", "high"], ["y"], nodes))
    h = net.hint(net.op("Bound", net.matmul(net.input(6), 8, name="a"), net.constant(np.float32(0)), domain="loc"), 8)
    net.output(net.matmul(h, 3, name="z"))
    check(net.model(), expect_removable={"a": 8})


# ---- what stays a call -----------------------------------------------------------------------------------------
def _recursive() -> list[FunctionProto]:
    return [function("F", ["x"], ["y"], [helper.make_node("F", ["x"], ["y"], domain="loc")])]


def _bomb() -> list[FunctionProto]:
    """2 ** 30 nodes."""
    found = [function("F0", ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])])]
    for k in range(1, 31):
        nodes = [
            helper.make_node(f"F{k - 1}", ["x"], ["t"], domain="loc"),
            helper.make_node(f"F{k - 1}", ["t"], ["y"], domain="loc"),
        ]
        found.append(function(f"F{k}" if k < 30 else "F", ["x"], ["y"], nodes))
    return found


def _old() -> list[FunctionProto]:
    nodes = [helper.make_node("Softmax", ["x"], ["y"])]
    return [function("F", ["x"], ["y"], nodes, imports=[helper.make_opsetid("", 11)])]


def _random() -> list[FunctionProto]:
    nodes = [helper.make_node("RandomNormalLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
    return [function("F", ["x"], ["y"], nodes)]


def _through() -> list[FunctionProto]:
    return [function("F", ["y"], ["y"], [helper.make_node("Neg", ["y"], ["t"])])]


@pytest.mark.parametrize(
    ("functions", "reason"),
    [
        (_recursive, "it calls itself"),
        (_bomb, "written out it has more than 1048576 nodes"),
        (_old, "it is written for operator set 11 of 'ai.onnx', the model for 17"),
        (_random, "it draws numbers, each call its own"),
        (_through, "one of its outputs is made by none of its nodes"),
    ],
)
def test_what_stays_a_call_says_why(functions: Callable[[], list[FunctionProto]], reason: str) -> None:
    net = Net(OPSET)
    h = net.hint(net.op("F", net.matmul(net.input(6), 8, name="a"), domain="loc", name="f"), 8)
    net.output(net.matmul(h, 3, name="z"))
    net.functions += functions()
    trace = trace_model(load(net.model()))
    assert list(trace.state.refusals.values()) == [
        f"loc:F is refused: this function of the model is not written out: {reason}"
    ]
    assert not trace.prunable and list(trace.graph.model.outlined().proto.functions) == net.functions


def test_other_versions_of_the_same_operators_are_written_out(tmp_path: Path) -> None:
    """A body of an older operator set whose operators have not changed since."""
    net = Net(OPSET)
    imports = [helper.make_opsetid("", 15)]
    net.functions.append(function("F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], imports=imports))
    h = net.hint(net.op("F", net.matmul(net.input(6), 8, name="a"), domain="loc", name="f"), 8)
    net.output(net.matmul(h, 3, name="z"))
    assert inspect(save(tmp_path, net.model())).removable == 8

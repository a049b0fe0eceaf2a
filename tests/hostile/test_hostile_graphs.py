"""Graphs that try: disorder, strange names, extreme sizes, bodies, functions."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from onnxprune import inspect, shrink
from onnxprune.errors import ModelError
from onnxprune.model.load import load
from onnxprune.trace import trace_model
from tests.hostile.support import cnn, info, listing, mlp, model_of, pins, save, shrunk, weights


def relu(a: str, b: str, name: str = "") -> NodeProto:
    return helper.make_node("Relu", [a], [b], name=name)


# ---- order and names --------------------------------------------------------------------------------------------
def test_cycle_is_refused(tmp_path: Path) -> None:
    proto = mlp([helper.make_node("Add", ["a", "c"], ["b"]), relu("b", "c")])
    path = save(tmp_path, proto)
    with pytest.raises(ModelError, match="cycle"):
        shrink(path, tmp_path / "out.onnx")
    assert list(listing(tmp_path)) == ["m.onnx"]


def test_node_that_reads_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cycle"):
        load(mlp([helper.make_node("Add", ["a", "b"], ["b"])]))


def test_unsorted_nodes_are_sorted_and_noted(tmp_path: Path) -> None:
    proto = cnn()
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    result, small = shrunk(tmp_path, proto)
    assert any("sorted" in note for note in result.notes)
    assert [n.name for n in small.proto.graph.node] == ["first", "act", "last"]


def test_value_defined_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="'b'"):
        load(mlp([relu("a", "b"), relu("x", "b")]))


def test_nodes_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    """A plan can be made; ONNX Runtime does not run such a file, so nothing can be proven or written."""
    proto = cnn()
    for node in proto.graph.node:
        node.name = "same"
    path = save(tmp_path, proto)
    result = shrink(path, dry_run=True)
    assert [(g.size, g.removed) for g in result.groups if g.reason is None] == [(8, 4)]
    with pytest.raises(ModelError, match="same node name"):
        shrink(path, tmp_path / "out.onnx")
    assert list(listing(tmp_path)) == ["m.onnx"]


def test_unnamed_nodes_have_labels(tmp_path: Path) -> None:
    proto = cnn()
    for node in proto.graph.node:
        node.ClearField("name")
    result, _ = shrunk(tmp_path, proto)
    assert [g.name for g in result.groups if g.removed] == ["Conv:h"]


def test_names_with_every_kind_of_character(tmp_path: Path) -> None:
    strange = "a b/\u00e4\u6f22\n\t'\"\\{}%s@1#2\u202e"
    proto = cnn()
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = strange
    proto.graph.node[0].name = strange * 50
    result, _ = shrunk(tmp_path, proto)
    assert result.groups[0].name == strange * 50


def test_empty_optional_inputs(tmp_path: Path) -> None:
    """Clip without minimum, Resize without roi and scales, Conv with an empty bias."""
    proto = cnn()
    proto.graph.node[0].input[2] = ""
    proto.graph.node[1].CopyFrom(helper.make_node("Clip", ["h", "", "six"], ["a"], name="act"))
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(6), "six"))
    result, small = shrunk(tmp_path, proto)
    assert result.reached_ratio == 0.5
    assert list(small.proto.graph.node[1].input) == ["h", "", "six"]


# ---- what the file says about shapes ---------------------------------------------------------------------------
def test_missing_value_info_is_inferred(tmp_path: Path) -> None:
    proto = cnn()
    assert not proto.graph.value_info
    assert shrunk(tmp_path, proto)[0].reached_ratio == 0.5


@pytest.mark.parametrize("shape", [["N", 5, 6, 6], ["N", 8], [], ["N", "C", "H", "W"], None])
def test_contradicting_value_info(tmp_path: Path, shape: list[int | str] | None) -> None:
    """What the file claims of an intermediate value is not believed."""
    proto = cnn()
    proto.graph.value_info.append(info("h", shape))
    try:
        result, _ = shrunk(tmp_path, proto)
    except ModelError as error:  # ONNX Runtime refuses the original as well
        assert "ONNX Runtime cannot" in str(error)
        assert sorted(listing(tmp_path)) == ["m.onnx"]
    else:
        assert result.reached_ratio == 0.5


def test_value_info_of_another_type(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.value_info.append(info("h", ["N", 8, 6, 6], TensorProto.INT64))
    assert inspect(save(tmp_path, proto)).removable in (0, 8)


def test_value_info_of_nothing(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.value_info.append(info("nobody", [1, 2, 3]))
    assert shrunk(tmp_path, proto)[0].reached_ratio == 0.5


def test_output_without_shape(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.output[0].CopyFrom(info("y", None))
    _, small = shrunk(tmp_path, proto)
    assert not small.proto.graph.output[0].type.tensor_type.HasField("shape")


# ---- sizes -----------------------------------------------------------------------------------------------------
def test_a_chain_of_100000_nodes() -> None:
    """No recursion over the graph anywhere, and channels are followed to the end."""
    count = 100_000
    names = ["a", *(f"v{k}" for k in range(1, count)), "b"]
    trace = trace_model(load(mlp([relu(p, q) for p, q in pairwise(names)])))
    assert len(trace.graph.nodes) == count + 2
    assert [g.size for g in trace.prunable] == [8]


def test_concat_of_10000_parts() -> None:
    nodes = [relu("a", f"p{k}") for k in range(10_000)]
    nodes.append(helper.make_node("Concat", [f"p{k}" for k in range(10_000)], ["b"], axis=1))
    proto = mlp(nodes)
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(weights(80_000, 3), "down.w"))
    assert [g.size for g in trace_model(load(proto)).prunable] == [8]


def test_sum_of_10000_parts() -> None:
    nodes = [helper.make_node("Mul", ["a", "s"], [f"p{k}"]) for k in range(10_000)]
    nodes.append(helper.make_node("Sum", [f"p{k}" for k in range(10_000)], ["b"]))
    assert [g.size for g in trace_model(load(mlp(nodes, s=np.float32(0.5)))).prunable] == [8]


def test_disconnected_parts(tmp_path: Path) -> None:
    """Two networks in one file, and nodes whose results nobody uses."""
    one, two = mlp([relu("a", "b")]), mlp([relu("a", "b")], width=6)
    nodes = list(one.graph.node)
    for node in two.graph.node:
        for values in (node.input, node.output):
            values[:] = [f"{v}2" for v in values]
        node.name = f"{node.name}2"
        nodes.append(node)
    nodes.append(helper.make_node("MatMul", ["b", "dead.w"], ["dead"], name="dead"))
    tensors = {t.name: numpy_helper.to_array(t) for t in one.graph.initializer}
    tensors |= {f"{t.name}2": numpy_helper.to_array(t) for t in two.graph.initializer} | {"dead.w": weights(8, 5)}
    inputs, outputs = [info("x", ["N", 4]), info("x2", ["M", 4])], [info("y", ["N", 3]), info("y2", ["M", 3])]
    result, _ = shrunk(tmp_path, model_of(nodes, inputs, outputs, tensors))
    assert {g.name: g.removed for g in result.groups if g.removed} == {"up": 4, "up2": 3, "dead": 2}


def test_nothing_to_remove_writes_nothing(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = save(tmp_path, model_of([node], [info("x", ["N", 4])], [info("y", ["N", 3])], {"w": weights(4, 3)}))
    result = shrink(path, tmp_path / "out.onnx")
    assert result.written == () and result.after is None and result.reached_ratio == 0
    assert list(listing(tmp_path)) == ["m.onnx"]


def test_input_straight_to_output(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.output.append(info("x", ["N", 3, 6, 6]))
    _, small = shrunk(tmp_path, proto)
    assert [o.name for o in small.proto.graph.output] == ["y", "x"]


def test_weight_straight_to_output(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.output.append(info("w1", [8, 3, 3, 3]))
    assert "first: it belongs to a graph output" in pins(tmp_path, proto)


def test_graph_without_nodes(tmp_path: Path) -> None:
    path = save(tmp_path, model_of([], [info("x", [2])], [info("x", [2])]))
    assert inspect(path).groups == ()
    assert shrink(path, tmp_path / "out.onnx").written == ()


def test_rank_0(tmp_path: Path) -> None:
    """Scalars in, through and out."""
    nodes = [
        helper.make_node("Mul", ["a", "t"], ["b"]),
        helper.make_node("ReduceSum", ["y"], ["z"], keepdims=0),
        helper.make_node("Mul", ["z", "t"], ["out"]),
    ]
    proto = mlp(nodes[:1])
    proto.graph.node.extend(nodes[1:])
    proto.graph.input.append(info("t", []))
    proto.graph.output.append(info("out", []))
    result, _ = shrunk(tmp_path, proto)
    assert result.reached_ratio == 0.5


# ---- strangers, functions and bodies ---------------------------------------------------------------------------
def test_custom_domain_is_pinned_by_name(tmp_path: Path) -> None:
    proto = mlp([helper.make_node("Fancy", ["a"], ["b"], domain="org.example")])
    proto.opset_import.append(helper.make_opsetid("org.example", 1))
    assert "org.example:Fancy is not an operator with a rule" in pins(tmp_path, proto)
    assert inspect(save(tmp_path, proto)).removable == 0
    assert inspect(save(tmp_path, proto)).operators_without_rule == {"org.example:Fancy": 1}


def test_model_functions_come_back(tmp_path: Path) -> None:
    """Channels leave through a call of a function of the model; its body is carried along unchanged."""
    proto = mlp([helper.make_node("Double", ["a"], ["c"], domain="local"), relu("c", "b")])
    proto.opset_import.append(helper.make_opsetid("local", 1))
    body = [helper.make_node("Add", ["p", "p"], ["q"])]
    proto.functions.append(helper.make_function("local", "Double", ["p"], ["q"], body, [helper.make_opsetid("", 21)]))
    assert "local:Double" not in pins(tmp_path, proto)
    proto.graph.node.insert(1, helper.make_node("MatMul", ["x", "more.w"], ["more"], name="more"))
    proto.graph.node.append(helper.make_node("MatMul", ["more", "end.w"], ["z"]))
    proto.graph.output.append(info("z", ["N", 2]))
    proto.graph.initializer.extend(
        [numpy_helper.from_array(weights(4, 6), "more.w"), numpy_helper.from_array(weights(6, 2), "end.w")]
    )
    result, small = shrunk(tmp_path, proto)
    assert {"more"} < {g.name for g in result.groups if g.removed}
    assert small.proto.functions == proto.functions
    assert any(node.op_type == "Double" for node in small.proto.graph.node)


def branch(value: str, result: str) -> GraphProto:
    return helper.make_graph([relu(value, result)], f"{result}.body", [], [info(result, None)])


def test_if_captures_channels(tmp_path: Path) -> None:
    """Outputs of branches stay; what is computed outside and captured is traced across the border."""
    node = helper.make_node("If", ["c"], ["b"], then_branch=branch("a", "t"), else_branch=branch("a", "e"))
    proto = mlp([node])
    proto.graph.input.append(info("c", [], TensorProto.BOOL))
    assert inspect(save(tmp_path, proto)).removable == 0
    assert "an output of a subgraph" in pins(tmp_path, proto)


def test_layers_inside_an_if_shrink(tmp_path: Path) -> None:
    """A weight of the outer graph that only the branches read, with the channels between two layers in a branch."""

    def body(name: str) -> GraphProto:
        nodes = [
            helper.make_node("MatMul", ["a", "in.w"], [f"{name}1"]),
            relu(f"{name}1", f"{name}2"),
            helper.make_node("MatMul", [f"{name}2", "out.w"], [name]),
        ]
        return helper.make_graph(nodes, name, [], [info(name, None)])

    node = helper.make_node("If", ["c"], ["b"], then_branch=body("t"), else_branch=body("e"))
    tensors = {"in.w": weights(8, 6), "out.w": weights(6, 8)}
    proto = mlp([node], **tensors)  # type: ignore[arg-type]
    proto.graph.input.append(info("c", [], TensorProto.BOOL))
    result, _ = shrunk(tmp_path, proto)
    assert result.plan.removed_count > 0


def test_loop_and_scan_shrink_what_they_carry(tmp_path: Path) -> None:
    """Bodies that do not say what shape their state has, too; a state of another element order stays."""
    step = [helper.make_node("Identity", ["go"], ["go2"]), relu("s", "s2")]
    ends = [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("s", None)]
    body = helper.make_graph(step, "step", ends, [info("go2", [], TensorProto.BOOL), info("s2", None)])
    proto = mlp([helper.make_node("Loop", ["n", "", "a"], ["b"], body=body)], n=np.array(3, np.int64))
    result, _ = shrunk(tmp_path, proto)
    assert result.plan.removed_count > 0 and result.proof is not None
    body.node[1].CopyFrom(helper.make_node("Transpose", ["s"], ["s2"]))
    proto = mlp([helper.make_node("Loop", ["n", "", "a"], ["b"], body=body)], n=np.array(2, np.int64))
    assert "Loop carries it round together with an axis that cannot shrink" in pins(tmp_path, proto)
    assert inspect(save(tmp_path, proto)).removable == 0
    body = helper.make_graph([relu("p", "q")], "step", [info("p", [8])], [info("q", [8])])
    proto = mlp([helper.make_node("Scan", ["a"], ["b"], body=body, num_scan_inputs=1)])
    result, _ = shrunk(tmp_path, proto)
    assert result.plan.removed_count > 0 and result.proof is not None


def test_training_info_keeps_what_it_names(tmp_path: Path) -> None:
    """Its graphs read initializers of the network: these stay, other layers shrink, and it is carried along."""
    proto = cnn()
    proto.graph.node.append(helper.make_node("Conv", ["a", "w3", "b3"], ["h3"], name="free"))
    proto.graph.node.append(helper.make_node("Conv", ["h3", "w4"], ["z"], name="end"))
    proto.graph.output.append(info("z", ["N", 2, 6, 6]))
    for name, array in (("w3", weights(6, 8, 1, 1)), ("b3", weights(6)), ("w4", weights(2, 6, 1, 1))):
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    training = proto.training_info.add()
    training.algorithm.name = "train"
    training.algorithm.node.append(helper.make_node("Identity", ["w1"], ["w1_new"]))
    training.update_binding.add(key="w1", value="w1_new")
    result, small = shrunk(tmp_path, proto)
    assert {g.name: g.removed for g in result.groups if g.removed} == {"free": 3}
    assert small.proto.training_info == proto.training_info
    assert "first: it belongs to an initializer that training_info names" in pins(tmp_path, proto)

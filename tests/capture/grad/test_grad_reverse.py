"""The sweep: several uses, only what is needed, frozen weights with reasons, whole blocks."""

from __future__ import annotations

import numpy as np
import pytest
from grad_support import N, check, draw, model, reverse
from onnx import TensorProto, helper

from onnxprune.capture.grad import differentiate, gradient, operators
from onnxprune.capture.session import open_session

F = np.float32


def test_uses_of_a_value_add_up() -> None:
    nodes = [
        N("Mul", ["x", "w"], ["a"]),
        N("Tanh", ["a"], ["b"]),
        N("Add", ["a", "b"], ["c"]),
        N("Mul", ["c", "a"], ["d"]),
        N("Mul", ["d", "w"], ["y"]),
    ]
    check(nodes, {"x": draw(0, 2, 3), "w": draw(1, 3)}, ["x", "w"])


def test_only_the_way_to_the_weights_gets_nodes() -> None:
    nodes = [N("Exp", ["x"], ["a"]), N("Mul", ["a", "w"], ["b"]), N("Tanh", ["b"], ["y"]), N("Sin", ["y"], ["side"])]
    found, _, _ = reverse(nodes, {"x": draw(0, 2, 3), "w": draw(1, 3)}, {}, ["w"], 17)
    assert not any(node.op_type == "Exp" for node in found.nodes)
    read = {name for node in found.nodes for name in node.input} | set(found.names.values())
    assert all(set(node.output) & read for node in found.nodes)
    assert {tensor.name for tensor in found.constants} <= read
    assert "side" not in read


def test_an_operator_without_a_rule_freezes_what_is_upstream() -> None:
    nodes = [
        N("MatMul", ["x", "early"], ["a"]),
        N("Det", ["a"], ["b"], name="stop"),
        N("Mul", ["b", "late"], ["y"]),
    ]
    feeds = {
        "x": draw(0, 2, 3, 3, dtype=F),
        "early": draw(1, 3, 3, dtype=F),
        "late": draw(2, 2, dtype=F),
        "unused": draw(3, 2, dtype=F),
    }
    found, computed, _ = reverse(nodes, feeds, {}, ["early", "late", "unused"], 17)
    assert found.frozen == {
        "early": "Det 'stop': operator ai.onnx:Det has no gradient rule",
        "unused": "the loss does not depend on it",
    }
    assert set(computed) == {"late"}


def test_a_weight_with_one_way_through_such_an_operator_is_frozen() -> None:
    nodes = [
        N("MatMul", ["x", "w"], ["a"]),
        N("Det", ["a"], ["b"]),
        N("ReduceSum", ["a"], ["c"]),
        N("Add", ["b", "c"], ["y"]),
    ]
    found, _, _ = reverse(nodes, {"x": draw(0, 3, 3, dtype=F), "w": draw(1, 3, 3, dtype=F)}, {}, ["w"], 17)
    assert not found.names and not found.nodes and not found.constants
    assert "Det" in found.frozen["w"]


def test_a_weight_inside_a_branch_is_frozen() -> None:
    branch = helper.make_graph(
        [N("Mul", ["x", "w"], ["inner"])], "b", [], [helper.make_tensor_value_info("inner", TensorProto.DOUBLE, [2, 3])]
    )
    nodes = [N("If", ["yes"], ["a"], then_branch=branch, else_branch=branch), N("Mul", ["a", "v"], ["y"])]
    feeds = {"x": draw(0, 2, 3), "w": draw(1, 3), "v": draw(2, 3)}
    found, _, _ = reverse(nodes, feeds, {"yes": np.array(True)}, ["w", "v"], 17)
    assert list(found.names) == ["v"] and "If" in found.frozen["w"]


def test_sizes_and_comparisons_carry_no_gradient() -> None:
    nodes = [
        N("Mul", ["x", "w"], ["a"]),
        N("Shape", ["a"], ["size"]),
        N("Greater", ["a", "x"], ["more"]),
        N("Cast", ["more"], ["mask"], to=TensorProto.DOUBLE),
        N("Mul", ["a", "mask"], ["b"]),
        N("Reshape", ["b", "size"], ["y"]),
    ]
    check(nodes, {"x": draw(0, 2, 3), "w": draw(1, 3)}, ["w"])


def test_an_unknown_shape_freezes() -> None:
    nodes = [N("Mul", ["x", "w"], ["y"]), N("ReduceSum", ["y"], ["loss"], keepdims=0)]
    found = differentiate(nodes, "loss", ["w"], {"x": (2,), "w": (2,), "loss": ()}, {}, 17)
    assert found.frozen == {"w": "ReduceSum 'loss': the shape of 'y' is not known"}


def test_what_lies_before_a_call_without_a_rule_learns_from_the_rest() -> None:
    """loss = sum(x w) + v sum(atan(x w)) + sum(atan(tanh(x u))): atan is constant for w and u; v has its gradient."""
    nodes = [
        N("Mul", ["x", "w"], ["a"]), N("Atan", ["a"], ["f"]), N("ReduceSum", ["f"], ["d"], keepdims=0),
        N("Mul", ["d", "v"], ["b"]), N("Mul", ["x", "u"], ["m"]), N("Tanh", ["m"], ["n"]),
        N("Atan", ["n"], ["g"], name="second"), N("ReduceSum", ["g"], ["e"], keepdims=0),
        N("ReduceSum", ["a"], ["c"], keepdims=0), N("Sum", ["b", "c", "e"], ["loss"]),
    ]  # fmt: skip
    feeds = {
        "x": draw(0, 2, 2, dtype=F),
        "w": draw(1, 2, 2, dtype=F),
        "u": draw(2, 2, 2, dtype=F),
        "v": draw(3, dtype=F),
    }
    shapes = {**dict.fromkeys("xwuafmng", (2, 2)), **dict.fromkeys(["v", "d", "b", "e", "c", "loss"], ())}
    whole = differentiate(nodes, "loss", ["w", "u", "v"], shapes, {}, 17)
    assert set(whole.names) == {"v"} and "Atan" in whole.frozen["w"]
    found = differentiate(nodes, "loss", ["w", "u", "v"], shapes, {}, 17, stopping=True)
    assert found.frozen == {"u": "Atan 'second': operator ai.onnx:Atan has no gradient rule"}
    names = [found.names[k] for k in ("w", "v")]
    proto = model([*nodes, *found.nodes], feeds, {}, names, 17, found.constants)
    slope, factor = open_session(proto, threads=1).run(names, feeds)
    np.testing.assert_allclose(slope, feeds["x"], rtol=1e-6)
    np.testing.assert_allclose(factor, np.arctan(feeds["x"] * feeds["w"]).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("node", "part"),
    [
        (N("Pow", ["x", "w"], ["y"]), "exponent"),
        (N("Clip", ["x", "w"], ["y"]), "bounds"),
        (N("Pad", ["w"], ["y"], mode="reflect", pads=[1, -1]), "reflect"),
        (N("Slice", ["w", "s", "e"], ["y"]), "its input 1 ('s') is not known before it runs"),
    ],
)
def test_reasons(node: object, part: str) -> None:
    shapes = {"x": (2,), "w": (2,) if part != "bounds" else (), "y": (2,), "loss": (1, 1)}
    nodes = [node, N("ReduceSum", ["y"], ["loss"])]
    found = differentiate(nodes, "loss", ["w"], shapes, {}, 17)  # type: ignore[list-item]
    assert part in found.frozen["w"]


def test_names_of_the_model_are_not_reused() -> None:
    nodes = [N("Mul", ["gradient_1", "w"], ["gradient_2"]), N("Tanh", ["gradient_2"], ["y"])]
    found = check(nodes, {"gradient_1": draw(0, 2, 3), "w": draw(1, 3)}, ["gradient_1", "w"])
    assert all(not name.startswith("gradient_1") for node in found.nodes for name in node.output)


def test_a_second_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match="has a gradient rule already"):
        gradient("Relu")(lambda op: None)
    assert ("", "Relu") in operators()


def test_residual_block() -> None:
    conv = {"pads": [1, 1, 1, 1]}
    nodes = [
        N("Conv", ["x", "w1", "b1"], ["c1"], strides=[2, 2], **conv),
        N("BatchNormalization", ["c1", "s", "t", "m", "v"], ["n1"]),
        N("Relu", ["n1"], ["r1"]),
        N("Conv", ["r1", "w2"], ["c2"], **conv),
        N("Conv", ["x", "w3"], ["c3"], strides=[2, 2]),
        N("Add", ["c2", "c3"], ["sum"]),
        N("Relu", ["sum"], ["r2"]),
        N("GlobalAveragePool", ["r2"], ["g"]),
        N("Flatten", ["g"], ["f"]),
        N("Gemm", ["f", "w4", "b4"], ["y"], transB=1),
    ]
    shapes = {"w1": (3, 2, 3, 3), "b1": (3,), "s": (3,), "t": (3,), "w2": (3, 3, 3, 3), "w3": (3, 2, 1, 1)}
    shapes |= {"w4": (4, 3), "b4": (4,)}
    feeds = {name: draw(seed, *shape, dtype=F) for seed, (name, shape) in enumerate(shapes.items())}
    feeds |= {"x": draw(20, 2, 2, 6, 6, dtype=F), "m": draw(21, 3, dtype=F), "v": draw(22, 3, low=0.5, dtype=F)}
    check(nodes, feeds, list(shapes), step=2.0**-10, tolerance=3e-3)


def test_depthwise_block_with_squeeze_and_excitation() -> None:
    nodes = [
        N("Conv", ["x", "w1"], ["c1"]),
        N("HardSwish", ["c1"], ["h1"]),
        N("Conv", ["h1", "w2", "b2"], ["c2"], group=4, pads=[1, 1, 1, 1]),
        N("Sigmoid", ["c2"], ["h2"]),
        N("ReduceMean", ["h2"], ["p"], axes=[2, 3], keepdims=1),
        N("Conv", ["p", "w3"], ["q"]),
        N("HardSigmoid", ["q"], ["gate"]),
        N("Mul", ["h2", "gate"], ["e"]),
        N("Conv", ["e", "w4"], ["c4"]),
        N("Add", ["c4", "x"], ["y"]),
    ]
    shapes = {"w1": (4, 2, 1, 1), "w2": (4, 1, 3, 3), "b2": (4,), "w3": (4, 4, 1, 1), "w4": (2, 4, 1, 1)}
    feeds = {name: draw(seed, *shape, dtype=F) for seed, (name, shape) in enumerate(shapes.items())}
    feeds["x"] = draw(20, 2, 2, 5, 5, dtype=F)
    check(nodes, feeds, ["x", *shapes], step=2.0**-8, tolerance=3e-3)


def test_attention_block() -> None:
    nodes = [N("MatMul", ["x", f"w{k}"], [k]) for k in "qkv"]
    for k in "qkv":
        nodes += [N("Reshape", [k, "heads"], [f"{k}1"]), N("Transpose", [f"{k}1"], [f"{k}2"], perm=[0, 2, 1, 3])]
    nodes += [
        N("Transpose", ["k2"], ["k3"], perm=[0, 1, 3, 2]),
        N("MatMul", ["q2", "k3"], ["scores"]),
        N("Div", ["scores", "root"], ["scaled"]),
        N("Sigmoid", ["scaled"], ["weights"]),
        N("MatMul", ["weights", "v2"], ["mixed"]),
        N("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        N("Reshape", ["back", "flat"], ["merged"]),
        N("MatMul", ["merged", "wo"], ["out"]),
        N("Add", ["out", "x"], ["y"]),
    ]
    constants = {"heads": np.array([0, 0, 2, 2]), "flat": np.array([0, 0, 4]), "root": np.array(2**0.5)}
    feeds = {name: draw(seed, 4, 4) / 2 for seed, name in enumerate(["wq", "wk", "wv", "wo"])}
    feeds["x"] = draw(9, 2, 3, 4)
    check(nodes, feeds, list(feeds), constants=constants)

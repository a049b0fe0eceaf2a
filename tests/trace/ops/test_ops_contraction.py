"""Convolutions and matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tests.builders import MICROSOFT, Net, ints
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
FREE = {"a": 8}
OPSETS = (7, 9, 11, 13, 17, 21, 23)


# ---- convolutions ----------------------------------------------------------------------------------------------
@case(FREE, opsets=OPSETS, each={"plain": ("initializer",), "constant": ("constant",), "identity": ("identity",)})
def conv(net: Net, weights: str) -> None:
    net.weights = weights
    net.head(net.relu(net.bn(net.conv(net.input(3, 6, 6), 8, 3, name="a", bias=False))))


@case(FREE, each={"1d": (9,), "2d": (6, 6), "3d": (4, 5, 3)})
def conv_of_rank(net: Net, *space: int) -> None:
    h = net.conv(net.input(3, *space), 8, 3, name="a", strides=[2] * len(space), pads=[1] * 2 * len(space))
    net.head(net.relu(h))


@case({"a": 8, "b": 8})
def conv_padded_and_dilated(net: Net) -> None:
    h = net.conv(net.stem(), 8, 3, name="b", auto_pad="SAME_UPPER")
    net.head(net.add(net.conv(h, 8, 3, pads=[2, 2, 2, 2], dilations=[2, 2]), h))


@case({"a": 8, "g": 12}, each={"2": (2,)})
def grouped_conv(net: Net, group: int) -> None:
    net.head(net.relu(net.conv(net.relu(net.stem()), 12, 3, name="g", group=group)))


@case({"a": 4, "after": 8})
def narrow_groups_leave_whole(net: Net) -> None:
    """Two inputs and three outputs a group: kernels gain nothing where each of the four loses one of them."""
    h = net.relu(net.conv(net.relu(net.stem()), 12, 3, name="g", group=4))
    net.head(net.conv(h, 8, name="after"))


@case({"a": 16, "h": 16}, {"g": "groups of two sizes meet on it"})
def narrow_groups_that_meet_all_others_lose_evenly(net: Net) -> None:
    """Groups of outputs are shuffled over groups of inputs: whole groups would all be tied."""
    h = net.relu(net.conv(net.relu(net.stem(16)), 16, 3, name="g", group=4))
    h = net.reshape(net.transpose(net.reshape(h, 0, 4, 4, -1), 0, 2, 1, 3), 0, 16, 4, 4)
    net.head(net.relu(net.conv(h, 16, name="h", group=4)))


@case({"a": 8}, each={"1": (8,), "2": (16,), "3": (24,)})
def depthwise_conv(net: Net, outputs: int) -> None:
    """With multipliers 1, 2 and 3."""
    net.head(net.relu(net.conv(net.relu(net.stem()), outputs, 3, group=8)))


@case({"a": 12, "g1": 12, "g2": 12})
def groups_of_three_behind_groups_of_three(net: Net) -> None:
    h = net.relu(net.conv(net.stem(12), 12, 3, name="g1", group=3))
    net.head(net.relu(net.conv(h, 12, name="g2", group=3)))


@case({"g1": 12, "g2": 12}, {"a": "groups of two sizes meet on it"})
def two_group_sizes_on_one_tensor(net: Net) -> None:
    h = net.relu(net.stem(12))
    net.head(net.conv(h, 12, name="g1", group=2))
    net.head(net.conv(h, 12, name="g2", group=3), name="y")


@case({"a": 8, "g": 8})
def grouped_residual(net: Net) -> None:
    """Input and output of a grouped convolution are added: same position structure on both sides."""
    h = net.relu(net.stem())
    net.head(net.add(net.conv(net.relu(net.conv(h, 8, name="g", group=2)), 8, group=2), h))


@case({"a": 8})
def grouped_input_layer(net: Net) -> None:
    """Groups over graph inputs, which stay: outputs of such a layer may go evenly."""
    net.head(net.conv(net.input(4, 6, 6), 8, 3, name="a", group=2))


@case({}, {"a": "Conv aligns it with an axis that cannot shrink"})
def depthwise_input_layer(net: Net) -> None:
    net.head(net.conv(net.input(4, 6, 6), 4, 3, name="a", group=4))


@case({}, {"w": "Conv is refused: it is grouped and its weight is not a plain constant"})
def grouped_conv_with_a_computed_weight(net: Net) -> None:
    weight = net.op("Tanh", net.op("Identity", net.normal(8, 4, 1, 1)), name="w")
    net.head(net.op("Conv", net.stem(), weight, group=2))


@case({}, {"a": "Conv sums over it together with an axis that cannot shrink"})
def conv_with_a_weight_from_outside(net: Net) -> None:
    net.output(net.op("Conv", net.stem(), net.declare("w", [4, 8, 1, 1])))


@case(FREE, {"z": "graph output"})
def last_layer_stays(net: Net) -> None:
    net.head(net.stem())


@case({"u": 4}, {"s": "it is a spatial axis of a convolution"})
def channels_as_space(net: Net) -> None:
    h = net.transpose(net.relu(net.stem(name="s")), 0, 2, 1, 3)
    net.head(net.conv(h, 4, 3, name="u"))


@case({}, {"a": "a convolution slides over it, and gives every index a mixture of its neighbours"})
def gate_over_channels(net: Net) -> None:
    """Efficient channel attention: which channels are neighbours is part of the function."""
    h = net.relu(net.stem())
    gate = net.transpose(net.squeeze(net.op("GlobalAveragePool", h), 3), 0, 2, 1)
    gate = net.op("Sigmoid", net.op("Conv", gate, net.normal(1, 1, 3), pads=[1, 1], name="g"))
    net.head(net.op("Mul", h, net.unsqueeze(net.transpose(gate, 0, 2, 1), 3)))


# ---- transposed convolutions -----------------------------------------------------------------------------------
@case(
    {"a": 8, "t": 6},
    opsets=(7, 11, 17),
    each={"plain": ({},), "padded": ({"output_padding": [1, 1], "pads": [1] * 4},)},
)
def transposed_conv(net: Net, options: dict[str, Any]) -> None:
    net.head(net.relu(net.transposed(net.relu(net.stem()), 6, 3, name="t", strides=[2, 2], **options)))


@case({"a": 8, "t": 3}, each={"2": (2, 6), "4": (4, 12)})
def grouped_transposed_conv(net: Net, group: int, outputs: int) -> None:
    """W is (inputs, outputs / group): the output positions are common to all groups."""
    net.head(net.relu(net.transposed(net.relu(net.stem()), outputs, 2, name="t", group=group, strides=[2, 2])))


@case({"a": 8})
def depthwise_transposed_conv(net: Net) -> None:
    net.head(net.relu(net.transposed(net.relu(net.stem()), 8, 2, group=8, output_padding=[1, 1], strides=[2, 2])))


@case({"a": 8, "t": 2})
def depthwise_transposed_conv_with_multiplier(net: Net) -> None:
    net.head(net.relu(net.transposed(net.relu(net.stem()), 16, 2, name="t", group=8)))


@case({"a": 8, "t": 6}, each={"1d": (9,), "3d": (3, 4, 3)})
def transposed_conv_of_rank(net: Net, *space: int) -> None:
    net.head(net.transposed(net.relu(net.conv(net.input(3, *space), 8, name="a")), 6, name="t"))


# ---- Gemm and MatMul -------------------------------------------------------------------------------------------
GEMM_BIASES: dict[str, tuple[int, ...] | None] = {"none": None, "N": (8,), "1N": (1, 8), "one": (1,), "scalar": ()}


@case(
    FREE,
    opsets=(7, 11, 17),
    each={f"{b}-B{t}": (s, t) for b, s in GEMM_BIASES.items() for t in (0, 1)},
)
def gemm(net: Net, bias: tuple[int, ...] | None, trans_b: int) -> None:
    shape = (8, 6) if trans_b else (6, 8)
    bias = (1,) if bias is None and net.opset < 11 else bias  # optional since then
    inputs: list[Any] = [net.input(6), net.normal(*shape), *([] if bias is None else [net.normal(*bias)])]
    net.head(net.relu(net.op("Gemm", *inputs, name="a", transB=trans_b, alpha=0.5, beta=2.0)))


@case(FREE, each={"MN": ((8, 4),), "M1": ((8, 1),), "scalar": ((),)})
def gemm_with_data_on_the_right(net: Net, bias: tuple[int, ...]) -> None:
    """Y = W x + C with x of (6, 4): the rows of Y are the channels."""
    x = net.declare("x", [4, 6])
    h = net.relu(net.op("Gemm", net.normal(6, 8), x, net.normal(*bias), name="a", transA=1, transB=1))
    net.output(net.op("Gemm", h, net.normal(8, 3), transA=1))


@case(FREE)
def gemm_of_transposed_data(net: Net) -> None:
    h = net.transpose(net.gemm(net.input(6), 8, name="a"), 1, 0)
    net.output(net.op("Gemm", h, net.normal(8, 3), transA=1, alpha=2.0))


@case(FREE)
def fused_gemm(net: Net) -> None:
    h = net.op(
        "FusedGemm",
        net.input(6),
        net.normal(8, 6),
        net.normal(8),
        transB=1,
        domain=MICROSOFT,
        name="a",
        activation="Relu",
    )
    net.output(net.op("Gemm", net.hint(h, 8), net.normal(8, 3)), rank=2)


@case({"a": 8, "b": 12})
def matmul(net: Net) -> None:
    net.project(net.relu(net.dense(net.relu(net.tokens()), 12, name="b")))


@case(FREE)
def matmul_with_the_weight_on_the_left(net: Net) -> None:
    h = net.relu(net.op("MatMul", net.normal(8, 6), net.input(6, 5), name="a"))
    net.output(net.op("MatMul", net.normal(4, 8), h))


@case(FREE, each={"vector": (False,), "both": (True,)})
def matmul_with_a_vector(net: Net, left: bool) -> None:
    h = net.op("MatMul", net.tokens(), net.normal(8))
    net.output(net.op("MatMul", net.normal(5), net.unsqueeze(h, 2)) if left else h)


@case({"q": 8, "v": 8})
def batched_matmul_of_two_activations(net: Net) -> None:
    """q k' contracts the common width; the width of v passes."""
    x = net.input(5, 6)
    q, k, v = (net.dense(x, 8, name=name) for name in "qkv")
    scores = net.softmax(net.op("MatMul", q, net.transpose(k, 0, 2, 1)))
    net.project(net.op("MatMul", scores, v))


@case(FREE, each={"A": (1, 0), "B": (0, 1), "AB": (1, 1)})
def fused_matmul(net: Net, trans_a: int, trans_b: int) -> None:
    h = net.relu(net.tokens())
    h = net.transpose(h, 0, 2, 1) if trans_a else h
    weight = net.normal(4, 8) if trans_b else net.normal(8, 4)
    h = net.op("FusedMatMul", h, weight, domain=MICROSOFT, transA=trans_a, transB=trans_b, alpha=0.3)
    net.output(h, rank=3)


@case(FREE)
def fused_conv(net: Net) -> None:
    """Bias, a residual and an activation in one operator."""
    h = net.stem()
    inputs = net.input(3, 6, 6), net.normal(8, 3, 1, 1), net.normal(8), h
    net.head(net.hint(net.op("FusedConv", *inputs, domain=MICROSOFT, activation="Relu"), 8, 6, 6))


# ---- Einsum ----------------------------------------------------------------------------------------------------
@case(FREE, each={"ij": ("bsi,ij->bsj",), "ji": ("bsi, ji -> bsj",)})
def einsum(net: Net, equation: str) -> None:
    shape = (6, 8) if "ij" in equation else (8, 6)
    net.project(net.relu(net.op("Einsum", net.input(5, 6), net.normal(*shape), equation=equation, name="a")))


@case({"q": 8, "v": 8})
def einsum_attention(net: Net) -> None:
    x = net.input(5, 6)
    q, k, v = (net.dense(x, 8, name=name) for name in "qkv")
    scores = net.softmax(net.op("Einsum", q, k, equation="bsd,btd->bst"))
    net.project(net.op("Einsum", scores, v, equation="bst,bte->bse"))


@case(FREE)
def einsum_that_sums_alone(net: Net) -> None:
    net.output(net.op("Einsum", net.tokens(), equation="bsd->bs"))


@case(
    FREE,
    each={
        "ellipsis": ("...i,ij->...j",),
        "inner": ("b...i,ij->b...j",),
        "implicit": ("bsi,ij",),
        "both": ("...i,ij",),
        "empty": ("bsi...,i...j->...bsj",),
    },
)
def einsum_forms(net: Net, equation: str) -> None:
    h = net.dense(net.input(8, 6), 8, name="a")
    net.output(net.op("Einsum", h, net.normal(8, 4), equation=equation, name="e"))


@case({"a": 8, "b": 4}, each={"ellipsis": ("...ij,...jk->...ik",), "one longer": ("...ij,bjk->...ik",)})
def einsum_of_batches(net: Net, equation: str) -> None:
    """What the ellipsis stands for is aligned from the right, and broadcast."""
    x = net.input(5, 6)
    weight = net.op("Unsqueeze", net.normal(8, 4), ints(0)) if "b" in equation else net.normal(1, 8, 4)
    net.project(net.relu(net.op("Einsum", net.dense(x, 8, name="a"), weight, equation=equation, name="b")))


@case({"a": 8}, each={"kept": ("bii->bi",), "summed": ("bii->b",), "ellipsis": ("...ii->...i",)})
def einsum_diagonal(net: Net, equation: str) -> None:
    """Rows and columns live and die together."""
    x = net.input(5, 6)
    rows = net.transpose(net.dense(x, 8, name="a"), 0, 2, 1)
    square = net.op("Einsum", net.op("MatMul", rows, net.dense(x, 8, name="b")), equation=equation, name="e")
    net.output(square if equation == "bii->b" else net.matmul(square, 4, name="z"))


# ---- what is not understood ------------------------------------------------------------------------------------
def _function(net: Net) -> str:
    body = [onnx.helper.make_node("Relu", ["x"], ["h"]), onnx.helper.make_node("Neg", ["h"], ["y"])]
    imports = [onnx.helper.make_opsetid("", net.opset)]
    net.functions.append(onnx.helper.make_function("local", "Act", ["x"], ["y"], body, imports))
    return "local"


@case({"a": 8, "b": 6})
def model_local_function(net: Net) -> None:
    """Written out, it is the operators of its body."""
    h = net.hint(net.op("Act", net.stem(), domain=_function(net), name="f"), 8, 6, 6)
    net.head(net.relu(net.conv(h, 6, name="b")))


@case({}, {"a": "d: Det is not an operator with a rule"})
def operator_without_a_rule(net: Net) -> None:
    net.output(net.op("Det", net.stem(), name="d"))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()


def test_custom_operator_is_pinned_by_name() -> None:
    """The runtime does not know it, so there is only a trace."""
    from onnxprune.model.load import load
    from onnxprune.trace import trace_model
    from tests.oracle import expect

    net = Net()
    h = net.hint(net.op("Magic", net.relu(net.stem()), domain="org.example", name="m"), 8, 6, 6)
    net.head(net.relu(net.conv(h, 6, name="b")))
    trace = trace_model(load(net.model()))
    expect(trace, {"b": 6}, {"a": "m: org.example:Magic is not an operator with a rule"})


def test_operator_sets_before_7_are_refused() -> None:
    from onnxprune.model.load import load
    from onnxprune.trace import trace_model

    net = Net(6, ir=3)
    net.head(net.relu(net.stem()))
    assert not trace_model(load(net.model())).prunable


def test_blocks_lose_evenly() -> None:
    case = next(c for c in CASES if c.id == "grouped_conv-2")
    trace = case.run()
    for group in trace.prunable:
        assert group.blocks is not None and np.bincount(group.blocks).tolist() == [group.size // 2] * 2
    assert ints(1).dtype == np.int64

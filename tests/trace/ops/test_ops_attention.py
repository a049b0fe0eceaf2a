"""Attention, decomposed and fused: what leaves, leaves every head alike, or whole heads go; the scale stays."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.builders import MICROSOFT, Net, ints
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
HEADS, WIDTH, LENGTH = 2, 8, 5
OPSETS = (11, 13, 17)


def per_head(net: Net, x: str, heads: int = HEADS) -> str:
    """(N, L, H * d) -> (N, H, L, d)."""
    return net.transpose(net.reshape(x, 0, 0, heads, net.channels(x, 2) // heads), 0, 2, 1, 3)


def merged(net: Net, x: str, width: int = WIDTH) -> str:
    """(N, H, L, d) -> (N, L, H * d)."""
    return net.reshape(net.transpose(x, 0, 2, 1, 3), 0, 0, width)


def inputs(net: Net, width: int = WIDTH) -> list[str]:
    x = net.input(LENGTH, 6)
    return [net.dense(x, width, name=name) for name in "qkv"]


def decomposed(net: Net, spelling: str) -> None:
    q, k, v = (per_head(net, x) for x in inputs(net))
    if spelling == "scaled queries":
        q = net.op("Mul", q, net.number(0.5))
    scores = net.op("MatMul", q, net.transpose(k, 0, 1, 3, 2))
    if spelling == "literal":
        scores = net.op("Div", scores, net.number(2))
    elif spelling == "shape":
        width = net.op("Cast", net.op("Gather", net.op("Shape", q), np.array(3), axis=0), to=net.type_of(None))
        scores = net.op("Div", scores, net.op("Sqrt", width))
    elif spelling == "slice":
        width = net.op("Slice", net.op("Shape", q), ints(-1), ints(2**62))
        root = net.op("Sqrt", net.op("Cast", width, to=net.type_of(None)))
        scores = net.op("Mul", scores, net.op("Div", net.number(1), root))
    net.project(merged(net, net.op("MatMul", net.softmax(scores), v)))


SPELLINGS = {s: (s,) for s in ("literal", "shape", "slice", "scaled queries")}


@case({"q": 4, "v": 4}, opsets=OPSETS, each=SPELLINGS)
def positions(net: Net, spelling: str) -> None:
    """The scale 1 / sqrt(d) is that of the original, also where it was computed from a shape."""
    decomposed(net, spelling)


@case({"q": 2}, opsets=(17,), each=SPELLINGS, units="heads")
def whole_heads(net: Net, spelling: str) -> None:
    decomposed(net, spelling)


@case({"q": 4, "v": 4})
def scale_as_sdpa_exports_it(net: Net) -> None:
    """sqrt(1 / sqrt(d)) on queries and keys, from the shape of the queries."""
    q, k, v = (per_head(net, x) for x in inputs(net))
    width = net.op("Cast", net.op("Slice", net.op("Shape", q), ints(-1), ints(2**62)), to=1)
    scale = net.op("Sqrt", net.op("Div", net.number(1), net.op("Sqrt", width)))
    keys = net.op("Mul", net.transpose(k, 0, 1, 3, 2), scale)
    net.project(merged(net, net.op("MatMul", net.softmax(net.op("MatMul", net.op("Mul", q, scale), keys)), v)))


@case({"qkv": 4})
def packed_projection(net: Net) -> None:
    """One product for q, k, v; (N, L, 3, H, d) transposed and gathered apart, as in timm: a position of all six."""
    _packed_projection(net)


@case({"qkv": 2}, units="heads")
def heads_of_a_packed_projection(net: Net) -> None:
    _packed_projection(net)


def _packed_projection(net: Net) -> None:
    x = net.dense(net.input(LENGTH, 6), 3 * WIDTH, name="qkv")
    parts = net.transpose(net.reshape(x, 0, LENGTH, 3, HEADS, 4), 2, 0, 3, 1, 4)
    q, k, v = (net.op("Gather", parts, np.array(n), axis=0) for n in range(3))
    scores = net.softmax(net.op("MatMul", q, net.transpose(k, 0, 1, 3, 2)))
    net.project(merged(net, net.op("MatMul", scores, v)))


@case({"q": 4, "v": 4})
def grouped_queries(net: Net) -> None:
    """Four query heads share two key heads, repeated by Expand."""
    x = net.input(LENGTH, 6)
    q = per_head(net, net.dense(x, 16, name="q"), 4)
    k, v = (per_head(net, net.dense(x, 8, name=name)) for name in "kv")

    def repeat(h: str) -> str:
        wide = net.op("Expand", net.unsqueeze(h, 2), ints(1, 1, 2, 1, 1))
        return net.reshape(wide, 0, 4, LENGTH, 4)

    scores = net.softmax(net.op("MatMul", q, net.transpose(repeat(k), 0, 1, 3, 2)))
    net.project(merged(net, net.op("MatMul", scores, repeat(v)), 16))


@case({"q": 4, "v": 4}, each={"relative": ((1, 2, 5, 5),), "mask": ((5, 5),)})
def bias_of_the_scores(net: Net, shape: tuple[int, ...]) -> None:
    q, k, v = (per_head(net, x) for x in inputs(net))
    scores = net.add(net.op("MatMul", q, net.transpose(k, 0, 1, 3, 2)), net.normal(*shape))
    net.project(merged(net, net.op("MatMul", net.softmax(scores), v)))


@case({"q": 2}, units="heads")
def bias_of_whole_heads(net: Net) -> None:
    """A bias per head leaves with its head."""
    q, k, v = (per_head(net, x) for x in inputs(net))
    scores = net.add(net.op("MatMul", q, net.transpose(k, 0, 1, 3, 2)), net.normal(1, 2, 5, 5))
    net.project(merged(net, net.op("MatMul", net.softmax(scores), v)))


@case({"a": 8, "q": 4, "v": 4, "f": 10})
def transformer_block(net: Net) -> None:
    """Pre-norm, residual stream, feed-forward with an exact Gelu spelled out."""
    h = net.tokens()

    def norm(x: str) -> str:
        return net.op("LayerNormalization", x, net.positive(WIDTH), net.normal(WIDTH))

    inner = norm(h)
    q, k, v = (per_head(net, net.dense(inner, WIDTH, name=name)) for name in "qkv")
    scores = net.softmax(net.op("Div", net.op("MatMul", q, net.transpose(k, 0, 1, 3, 2)), net.number(2)))
    h = net.add(h, net.dense(merged(net, net.op("MatMul", scores, v)), WIDTH))
    f = net.dense(norm(h), 10, name="f")
    gelu = net.op(
        "Mul",
        net.op("Mul", f, net.number(0.5)),
        net.add(net.op("Erf", net.op("Div", f, net.number(1.41421))), net.number(1)),
    )
    net.project(norm(net.add(h, net.dense(gelu, WIDTH))))


# ---- com.microsoft.Attention -----------------------------------------------------------------------------------
def packed(net: Net, *rest: Any, **attributes: Any) -> str:
    x = net.relu(net.tokens(6))
    weight, bias = net.normal(6, 3 * WIDTH, scale=0.4), net.normal(3 * WIDTH)
    h = net.op("Attention", x, weight, bias, *rest, name="m", domain=MICROSOFT, num_heads=HEADS, **attributes)
    return net.hint(h, LENGTH, WIDTH)


@case({"a": 6, "m": 4}, each={"plain": ({},), "causal": ({"unidirectional": 1},), "scale": ({"scale": 0.3},)})
def fused(net: Net, attributes: dict[str, Any]) -> None:
    net.project(packed(net, **attributes))


@case({"a": 6, "m": 2}, units="heads")
def fused_heads(net: Net) -> None:
    net.project(packed(net))


@case({"a": 6, "m": 4})
def fused_with_a_bias_of_the_scores(net: Net) -> None:
    net.project(packed(net, None, None, net.normal(1, 2, 5, 5)))


@case({"a": 6}, {"m": "Attention adds a bias to the scores of every head"}, units="heads")
def fused_heads_with_a_bias_of_the_scores(net: Net) -> None:
    net.project(packed(net, None, None, net.normal(1, 2, 5, 5)))


@case({}, {"a": "this form of Attention is not understood"})
def fused_with_sizes_of_its_own(net: Net) -> None:
    net.project(packed(net, qkv_hidden_sizes=[8, 8, 8]))


@case({}, {"a": "this form of Attention is not understood"})
def fused_that_gives_its_cache(net: Net) -> None:
    x = net.relu(net.tokens(6))
    weight, bias = net.normal(6, 3 * WIDTH, scale=0.4), net.normal(3 * WIDTH)
    h, present = net.many("Attention", 2, x, weight, bias, name="m", domain=MICROSOFT, num_heads=HEADS)
    net.project(net.hint(h, LENGTH, WIDTH))
    net.output(present, rank=5)


# ---- com.microsoft.MultiHeadAttention --------------------------------------------------------------------------
def multi_head(net: Net, *rest: Any, dense: bool = True, values: int = WIDTH, **attributes: Any) -> str:
    x = net.input(LENGTH, 6)
    make = net.dense if dense else net.matmul
    q, k = (make(x, WIDTH, name=name) for name in "qk")
    v = make(x, values, name="v")
    h = net.op("MultiHeadAttention", q, k, v, *rest, name="m", domain=MICROSOFT, num_heads=HEADS, **attributes)
    return net.hint(h, LENGTH, values)


@case({"q": 4, "v": 4}, each={"plain": ({},), "scale": ({"scale": 0.3},)})
def multi_head_attention(net: Net, attributes: dict[str, Any]) -> None:
    net.project(multi_head(net, **attributes))


@case({"q": 4, "v": 4})
def multi_head_attention_with_a_packed_bias(net: Net) -> None:
    net.project(multi_head(net, net.normal(3 * WIDTH), dense=False))


@case({"q": 4, "v": 6})
def multi_head_attention_with_wide_values(net: Net) -> None:
    net.project(multi_head(net, values=12))


@case({"q": 2}, units="heads")
def multi_head_attention_heads(net: Net) -> None:
    net.project(multi_head(net))


@case({}, {"q": "MultiHeadAttention adds a bias to the scores of every head"}, units="heads")
def multi_head_attention_heads_with_a_bias_of_the_scores(net: Net) -> None:
    net.project(multi_head(net, None, None, net.normal(1, 2, 5, 5)))


@case({}, {"q": "com.microsoft:MultiHeadAttention is refused: it gives its keys and values"})
def multi_head_attention_with_a_cache(net: Net) -> None:
    q, k, v = inputs(net)
    h, keys, _ = net.many("MultiHeadAttention", 3, q, k, v, name="m", domain=MICROSOFT, num_heads=HEADS)
    net.project(net.hint(h, LENGTH, WIDTH))
    net.output(keys, rank=4)


# ---- ai.onnx.Attention -----------------------------------------------------------------------------------------
@case(
    {"q": 4, "v": 4}, opsets=(23, 24), each={"plain": ({},), "scale": ({"scale": 0.3},), "causal": ({"is_causal": 1},)}
)
def attention(net: Net, attributes: dict[str, Any]) -> None:
    h = net.op("Attention", *(per_head(net, x) for x in inputs(net)), **attributes)
    net.project(merged(net, net.hint(h, HEADS, LENGTH, 4)))


@case({"q": 2}, opsets=(23,), units="heads")
def attention_heads(net: Net) -> None:
    h = net.op("Attention", *(per_head(net, x) for x in inputs(net)))
    net.project(merged(net, net.hint(h, HEADS, LENGTH, 4)))


@case({"q": 2}, opsets=(23,), units="heads")
def attention_heads_with_a_mask_for_each(net: Net) -> None:
    h = net.op("Attention", *(per_head(net, x) for x in inputs(net)), net.normal(1, HEADS, LENGTH, LENGTH))
    net.project(merged(net, net.hint(h, HEADS, LENGTH, 4)))


@case({"q": 4, "v": 4}, opsets=(23,))
def attention_with_a_mask(net: Net) -> None:
    h = net.op("Attention", *(per_head(net, x) for x in inputs(net)), net.normal(LENGTH, LENGTH))
    net.project(merged(net, net.hint(h, HEADS, LENGTH, 4)))


@case({"q": 4, "v": 4}, opsets=(23,))
def attention_with_shared_keys(net: Net) -> None:
    x = net.input(LENGTH, 6)
    q = per_head(net, net.dense(x, 16, name="q"), 4)
    k, v = (per_head(net, net.dense(x, 8, name=name)) for name in "kv")
    net.project(merged(net, net.hint(net.op("Attention", q, k, v), 4, LENGTH, 4), 16))


@case({}, {"q": "Attention is refused: its inputs are three-dimensional"}, opsets=(23,))
def attention_of_rank_three(net: Net) -> None:
    h = net.op("Attention", *inputs(net), q_num_heads=HEADS, kv_num_heads=HEADS)
    net.project(net.hint(h, LENGTH, WIDTH))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()

"""Steps on sequences (T, C) and on vectors (C,)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.properties.net import Net, Value
from tests.properties.steps_image import LIMIT, activation, residual, width


# ---- sequences -------------------------------------------------------------------------------------------------
def matmul(net: Net, x: Value) -> Value:
    out = width(net)
    name = net.raw("MatMul", [x.name, net.weight(x.shape[1], out, fan_in=x.shape[1])])[0]
    if net.rng.random() < 0.6:
        name = net.raw("Add", [name, net.weight(out)])[0]
    value = Value(name, (x.shape[0], out))
    net.values.append(value)
    return value


def layer_norm(net: Net, x: Value) -> Value:
    c = x.shape[-1]
    inputs = [x.name, net.positive(c)] + ([net.weight(c)] if net.rng.random() < 0.7 else [])
    return net.node("LayerNormalization", inputs, x.shape, axis=-1, epsilon=0.1)


def decomposed_norm(net: Net, x: Value) -> Value:
    """Layer normalisation as exporters used to write it."""
    c = x.shape[-1]
    mean = net.raw("ReduceMean", [x.name, net.sizes(-1)])[0]
    centred = net.raw("Sub", [x.name, mean])[0]
    square = net.raw("Mul", [centred, centred])[0]
    variance = net.raw("ReduceMean", [square, net.sizes(-1)])[0]
    deviation = net.raw("Sqrt", net.raw("Add", [variance, net.constant(np.float32(0.1))]))[0]
    scaled = net.raw("Div", [centred, deviation])[0]
    return net.node("Add", [net.raw("Mul", [scaled, net.positive(c)])[0], net.weight(c)], x.shape)


def attention(net: Net, x: Value) -> Value:
    """One head: softmax(q k' / sqrt(d)) v."""
    (t, c), d, e = x.shape, width(net), width(net)
    q, k, v = (net.raw("MatMul", [x.name, net.weight(c, n, fan_in=c)])[0] for n in (d, d, e))
    scores = net.raw("MatMul", [q, net.raw("Transpose", [k], perm=[0, 2, 1])[0]])[0]
    scores = net.raw("Mul", [scores, net.constant(np.float32(d**-0.5))])[0]
    return net.node("MatMul", [net.raw("Softmax", [scores], axis=-1)[0], v], (t, e))


def heads(net: Net, x: Value) -> Value:
    """Several heads: reshape to (T, H, d), transpose, multiply, and back."""
    (t, c), h, d = x.shape, int(net.rng.integers(1, 4)), int(net.rng.integers(1, 5))
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        flat = net.raw("Add", [net.raw("MatMul", [x.name, net.weight(c, h * d, fan_in=c)])[0], net.weight(h * d)])[0]
        apart = net.raw("Reshape", [flat, net.sizes(0, [t, -1][int(net.rng.integers(2))], h, d)])[0]
        parts.append(net.raw("Transpose", [apart], perm=perm)[0])
    weights = net.raw("Softmax", net.raw("MatMul", parts[:2]), axis=-1)[0]
    turned = net.raw("Transpose", net.raw("MatMul", [weights, parts[2]]), perm=[0, 2, 1, 3])[0]
    return net.node("Reshape", [turned, net.sizes(0, t, h * d)], (t, h * d))


def tied_pair(net: Net, x: Value) -> Value:
    """One weight in both directions: x W W'."""
    weight = net.weight(x.shape[1], width(net), fan_in=x.shape[1])
    down = net.raw("Tanh", net.raw("MatMul", [x.name, weight]))[0]
    return net.node("MatMul", [down, net.raw("Transpose", [weight], perm=[1, 0])[0]], x.shape)


def turn(net: Net, x: Value) -> Value:
    return net.node("Transpose", [x.name], x.shape[::-1], perm=[0, 2, 1])


def pick_token(net: Net, x: Value) -> Value:
    index = net.constant(np.array(int(net.rng.integers(x.shape[0])), np.int64))
    return net.node("Gather", [x.name, index], x.shape[1:], axis=1)


def mean_tokens(net: Net, x: Value) -> Value:
    return net.node("ReduceMean", [x.name, net.sizes(1)], x.shape[1:], keepdims=0)


def to_image(net: Net, x: Value) -> Value | None:
    """(H*W, C) -> (C, H, W)."""
    side = int(np.sqrt(x.shape[0]))
    if side * side != x.shape[0] or x.shape[1] > LIMIT:
        return None
    turned = net.raw("Transpose", [x.name], perm=[0, 2, 1])[0]
    return net.node("Reshape", [turned, net.sizes(0, 0, side, side)], (x.shape[1], side, side))


def insert_token(net: Net, x: Value) -> Value | None:
    if x.shape[0] > LIMIT or not isinstance(net.batch, int):
        return None
    token = net.weight(net.batch, 1, x.shape[1])
    return net.node("Concat", [token, x.name], (x.shape[0] + 1, x.shape[1]), axis=1)


# ---- vectors ---------------------------------------------------------------------------------------------------
def gemm(net: Net, x: Value) -> Value:
    """PyTorch's Linear."""
    out = width(net, 1)
    inputs = [x.name, net.weight(out, x.shape[0]), net.weight(out)]
    return net.node("Gemm", inputs, (out,), transB=1)


def gemm_columns(net: Net, x: Value) -> Value:
    """The other layout, with factors and a bias that broadcasts."""
    out = width(net)
    bias = [(out,), (1, out), (1,), ()][int(net.rng.integers(4))]
    inputs = [x.name, net.weight(x.shape[0], out, fan_in=x.shape[0]), net.positive(*bias)]
    return net.node("Gemm", inputs, (out,), alpha=0.5, beta=2.0)


def tied_gemm(net: Net, x: Value) -> Value:
    """One weight down and up: Gemm with transB and without."""
    weight = net.weight(width(net), x.shape[0])
    down = net.raw("Relu", net.raw("Gemm", [x.name, weight], transB=1))[0]
    return net.node("Gemm", [down, weight], x.shape)


def gated(net: Net, x: Value) -> Value | None:
    """One product split into value and gate, as GLU does."""
    half = width(net)
    both = net.raw("MatMul", [x.name, net.weight(x.shape[0], 2 * half, fan_in=x.shape[0])])[0]
    a, b = net.raw("Split", [both, net.sizes(half, half)], 2, axis=-1)
    return net.node("Mul", [a, net.raw("Sigmoid", [b])[0]], (half,))


def scale(net: Net, x: Value) -> Value:
    form = [(x.shape[0],), (1, x.shape[0]), (1,), ()][int(net.rng.integers(4))]
    return net.node(str(net.rng.choice(["Add", "Mul", "Div"])), [x.name, net.positive(*form)], x.shape)


def join(net: Net, x: Value) -> Value | None:
    others = [v for v in net.values if len(v.shape) == 1 and v.shape[0] + x.shape[0] <= 2 * LIMIT]
    if not others:
        return None
    other = others[int(net.rng.integers(len(others)))]
    return net.node("Concat", [x.name, other.name, x.name], (2 * x.shape[0] + other.shape[0],), axis=-1)


def every_second(net: Net, x: Value) -> Value | None:
    if x.shape[0] < 2:
        return None
    inputs = [x.name, net.sizes(0), net.sizes(2**31), net.sizes(-1), net.sizes(2)]
    return net.node("Slice", inputs, ((x.shape[0] + 1) // 2,))


def unsqueeze(net: Net, x: Value) -> Value | None:
    """A vector as an image of one pixel."""
    if x.shape[0] > LIMIT:
        return None
    return net.node("Unsqueeze", [x.name, net.sizes(2, 3)], (x.shape[0], 1, 1))


SEQUENCE_STEPS: dict[str, Callable[[Net, Value], Value | None]] = {
    f.__name__: f
    for f in (
        matmul, layer_norm, decomposed_norm, attention, heads, tied_pair, turn, pick_token, mean_tokens, to_image,
        insert_token, activation, residual,
    )
}  # fmt: skip
VECTOR_STEPS: dict[str, Callable[[Net, Value], Value | None]] = {
    f.__name__: f
    for f in (
        gemm, gemm_columns, tied_gemm, gated, scale, join, every_second, unsqueeze, layer_norm, activation, residual,
    )
}  # fmt: skip

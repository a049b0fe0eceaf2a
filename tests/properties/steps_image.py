"""Steps on images (C, H, W). A step returns the new value, or None where it does not apply."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.properties.net import Net, Value

LIMIT = 12


def width(net: Net, low: int = 2) -> int:
    return int(net.rng.integers(low, LIMIT + 1))


def convolution(net: Net, x: Value) -> Value:
    """1 x 1 or 3 x 3, with or without bias, stride 1."""
    out, kernel = width(net, 1), int(net.rng.choice([1, 3]))
    inputs = [x.name, net.weight(out, x.shape[0], kernel, kernel)]
    if net.rng.random() < 0.7:
        inputs.append(net.weight(out))
    pad = kernel // 2
    return net.node("Conv", inputs, (out, *x.shape[1:]), kernel_shape=[kernel, kernel], pads=[pad] * 4)


def grouped(net: Net, x: Value) -> Value | None:
    divisors = [g for g in range(2, x.shape[0]) if x.shape[0] % g == 0]
    if not divisors:
        return None
    group = int(net.rng.choice(divisors))
    out = group * int(net.rng.integers(1, max(LIMIT // group, 1) + 1))
    inputs = [x.name, net.weight(out, x.shape[0] // group, 3, 3), net.weight(out)]
    return net.node("Conv", inputs, (out, *x.shape[1:]), group=group, pads=[1] * 4)


def depthwise(net: Net, x: Value) -> Value:
    multiplier = 2 if x.shape[0] * 2 <= LIMIT and net.rng.random() < 0.4 else 1
    out = x.shape[0] * multiplier
    return net.node("Conv", [x.name, net.weight(out, 1, 3, 3)], (out, *x.shape[1:]), group=x.shape[0], pads=[1] * 4)


def transposed(net: Net, x: Value) -> Value:
    groups = [g for g in (1, 2, x.shape[0]) if x.shape[0] % g == 0]
    group = int(net.rng.choice(groups))
    per_group = int(net.rng.integers(1, max(LIMIT // group, 1) + 1))
    weight = net.weight(x.shape[0], per_group, 3, 3, fan_in=9)
    shape = (group * per_group, *x.shape[1:])
    return net.node("ConvTranspose", [x.name, weight], shape, group=group, pads=[1] * 4)


def tied(net: Net, x: Value) -> Value:
    """One layer applied twice."""
    weight, bias = net.weight(x.shape[0], x.shape[0], 1, 1), net.weight(x.shape[0])
    middle = net.node("Relu", [net.node("Conv", [x.name, weight, bias], x.shape).name], x.shape)
    return net.node("Conv", [middle.name, weight, bias], x.shape)


def batch_norm(net: Net, x: Value) -> Value:
    c = x.shape[0]
    inputs = [x.name, net.positive(c), net.weight(c), net.weight(c), net.positive(c)]
    return net.node("BatchNormalization", inputs, x.shape)


def instance_norm(net: Net, x: Value) -> Value:
    inputs = [x.name, net.positive(x.shape[0]), net.weight(x.shape[0])]
    return net.node("InstanceNormalization", inputs, x.shape, epsilon=0.1)


def group_norm(net: Net, x: Value) -> Value:
    divisors = [g for g in range(1, x.shape[0] + 1) if x.shape[0] % g == 0]
    inputs = [x.name, net.positive(x.shape[0]), net.weight(x.shape[0])]
    return net.node("GroupNormalization", inputs, x.shape, num_groups=int(net.rng.choice(divisors)), epsilon=0.1)


def activation(net: Net, x: Value) -> Value:
    kind = str(net.rng.choice(["Relu", "Sigmoid", "Tanh", "HardSwish", "Elu", "LeakyRelu", "Softplus", "Abs"]))
    return net.node(kind, [x.name], x.shape)


def prelu(net: Net, x: Value) -> Value:
    shape = [(x.shape[0], 1, 1), (1, x.shape[0], 1, 1), (1,), (1, 1, 1)][int(net.rng.integers(4))]
    return net.node("PRelu", [x.name, net.positive(*shape)], x.shape)


def broadcast(net: Net, x: Value) -> Value:
    """An element-wise operator with a constant of some broadcast form, on either side."""
    c, h, w = x.shape
    shape = [(1, c, 1, 1), (c, 1, 1), (), (1,), (1, 1, 1, 1), (c, h, w), (w,), (c, 1, w), (1, 1, h, 1)][
        int(net.rng.integers(9))
    ]
    inputs = [x.name, net.positive(*shape)]
    kind = str(net.rng.choice(["Add", "Sub", "Mul", "Max", "Min", "Div"]))
    if kind != "Div" and net.rng.random() < 0.5:
        inputs.reverse()
    return net.node(kind, inputs, x.shape)


def residual(net: Net, x: Value) -> Value | None:
    """Meets an earlier value of the same shape."""
    others = [v for v in net.values if v.shape == x.shape and v.name != x.name]
    if not others:
        return None
    other = others[int(net.rng.integers(len(others)))]
    if net.rng.random() < 0.3:
        return net.node("Sum", [x.name, other.name, x.name], x.shape)
    return net.node(str(net.rng.choice(["Add", "Mul", "Sub", "Max"])), [x.name, other.name], x.shape)


def concat(net: Net, x: Value) -> Value | None:
    """With an earlier value, or with itself."""
    others = [v for v in net.values if v.shape[1:] == x.shape[1:] and v.shape[0] + x.shape[0] <= LIMIT]
    if not others:
        return None
    other = others[int(net.rng.integers(len(others)))]
    return net.node("Concat", [other.name, x.name], (x.shape[0] + other.shape[0], *x.shape[1:]), axis=1)


def split(net: Net, x: Value) -> Value | None:
    """Two uneven parts: one goes on, or both are joined in the other order."""
    if x.shape[0] < 2:
        return None
    first = int(net.rng.integers(1, x.shape[0]))
    sizes = [first, x.shape[0] - first]
    names = net.raw("Split", [x.name, net.sizes(*sizes)], 2, axis=1)
    parts = [Value(n, (s, *x.shape[1:])) for n, s in zip(names, sizes, strict=True)]
    if net.rng.random() < 0.5:
        net.values.extend(parts)
        return parts[int(net.rng.integers(2))]
    return net.node("Concat", [names[1], names[0]], x.shape, axis=-3)


def shuffle(net: Net, x: Value) -> Value | None:
    """Channel shuffle: reshape, transpose, reshape back; sizes with 0 and -1."""
    divisors = [g for g in range(2, x.shape[0]) if x.shape[0] % g == 0]
    if not divisors:
        return None
    c, h, w = x.shape
    group = int(net.rng.choice(divisors))
    apart = net.raw("Reshape", [x.name, net.sizes(0, group, c // group, h, w)])[0]
    turned = net.raw("Transpose", [apart], perm=[0, 2, 1, 3, 4])[0]
    target = [(0, c, h, w), (0, -1, h, w), (-1, c, h, w)][int(net.rng.integers(3))]
    return net.node("Reshape", [turned, net.sizes(*target)], x.shape)


def slice_channels(net: Net, x: Value) -> Value | None:
    if x.shape[0] < 2:
        return None
    step = int(net.rng.choice([1, 1, 2, -1, -2]))
    start, end = (int(net.rng.integers(0, x.shape[0] - 1)), x.shape[0]) if step > 0 else (-1, -(2**31))
    size = len(range(x.shape[0])[slice(start, None, step)])
    inputs = [x.name, net.sizes(start), net.sizes(end), net.sizes(1), net.sizes(step)]
    return net.node("Slice", inputs, (size, *x.shape[1:]))


def pad_channels(net: Net, x: Value) -> Value | None:
    if x.shape[0] + 2 > LIMIT:
        return None
    before, after = (int(n) for n in net.rng.integers(0, 2, 2))
    pads = net.sizes(0, before, 0, 0, 0, after, 0, 0)
    return net.node("Pad", [x.name, pads], (x.shape[0] + before + after, *x.shape[1:]))


def gather_channels(net: Net, x: Value) -> Value | None:
    if x.shape[0] < 2:
        return None
    picked = net.rng.integers(-x.shape[0], x.shape[0], int(net.rng.integers(2, x.shape[0] + 1)))
    return net.node("Gather", [x.name, net.sizes(*picked.tolist())], (len(picked), *x.shape[1:]), axis=1)


def pool(net: Net, x: Value) -> Value | None:
    if x.shape[1] < 2:
        return None
    kind = str(net.rng.choice(["MaxPool", "AveragePool"]))
    shape = (x.shape[0], x.shape[1] // 2, x.shape[2] // 2)
    return net.node(kind, [x.name], shape, kernel_shape=[2, 2], strides=[2, 2])


def squeeze_excite(net: Net, x: Value) -> Value:
    c, hidden = x.shape[0], width(net)
    pooled = net.raw("GlobalAveragePool", [x.name])[0]
    small = net.raw("Relu", net.raw("Conv", [pooled, net.weight(hidden, c, 1, 1)]))[0]
    gate = net.raw("Sigmoid", net.raw("Conv", [small, net.weight(c, hidden, 1, 1), net.weight(c)]))[0]
    return net.node("Mul", [x.name, gate], x.shape)


def reduce_space(net: Net, x: Value) -> Value:
    kind = str(net.rng.choice(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"]))
    return net.node(kind, [x.name, net.sizes(2, -1)], (x.shape[0],), keepdims=0)


def reduce_channels(net: Net, x: Value) -> Value:
    """A gate over space: the channels end here."""
    kind = str(net.rng.choice(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceL1", "ReduceL2"]))
    gate = net.raw(kind, [x.name, net.sizes(1)], keepdims=1)[0]
    return net.node("Mul", [x.name, net.raw("Sigmoid", [gate])[0]], x.shape)


def softmax(net: Net, x: Value) -> Value:
    return net.node("Softmax", [x.name], x.shape, axis=int(net.rng.choice([1, 2, -1])))


def flatten(net: Net, x: Value) -> Value:
    size = int(np.prod(x.shape))
    if net.rng.random() < 0.5:
        return net.node("Flatten", [x.name], (size,), axis=1)
    return net.node("Reshape", [x.name, net.sizes(0, [size, -1][int(net.rng.integers(2))])], (size,))


def to_sequence(net: Net, x: Value) -> Value:
    """(C, H, W) -> (H*W, C), as vision transformers do."""
    c, h, w = x.shape
    flat = net.raw("Reshape", [x.name, net.sizes(0, c, -1)])[0]
    return net.node("Transpose", [flat], (h * w, c), perm=[0, 2, 1])


def pixels(net: Net, x: Value) -> Value | None:
    """DepthToSpace, or the other way."""
    c, h, w = x.shape
    if c % 4 == 0 and h <= 4 and net.rng.random() < 0.6:
        mode = str(net.rng.choice(["DCR", "CRD"]))
        return net.node("DepthToSpace", [x.name], (c // 4, 2 * h, 2 * w), blocksize=2, mode=mode)
    if c * 4 <= LIMIT and h % 2 == 0:
        return net.node("SpaceToDepth", [x.name], (4 * c, h // 2, w // 2), blocksize=2)
    return None


IMAGE_STEPS: dict[str, Callable[[Net, Value], Value | None]] = {
    f.__name__: f
    for f in (
        convolution, grouped, depthwise, transposed, tied, batch_norm, instance_norm, group_norm, activation, prelu,
        broadcast, residual, concat, split, shuffle, slice_channels, pad_channels, gather_channels, pool,
        squeeze_excite, reduce_space, reduce_channels, softmax, flatten, to_sequence, pixels,
    )
}  # fmt: skip

"""Networks with residual blocks of every kind. Sums are named: they name the blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.builders import Net, ints

PADS = [1, 1, 1, 1]


def block(net: Net, x: str, name: str, *, out: int = 8) -> str:
    """Two convolutions over x, and the sum with it."""
    inner = net.relu(net.conv(x, out, 3, name=f"{name}.a", pads=PADS))
    return net.add(net.conv(inner, out, 3, name=f"{name}.b", pads=PADS), x, name=name)


def classic(net: Net) -> None:
    """Sum, then Relu."""
    x = net.relu(net.stem())
    for name in ("one", "two", "three"):
        x = net.relu(block(net, x, name))
    net.head(x)


def preactivated(net: Net) -> None:
    """Normalisation and Relu at the start of a branch; sum meets sum."""
    x = net.stem()
    for name in ("one", "two"):
        inner = net.conv(net.relu(net.bn(x)), 8, 3, pads=PADS)
        x = net.add(x, net.conv(net.relu(net.bn(inner)), 8, 3, pads=PADS), name=name)
    net.head(net.relu(net.bn(x)))


def transformer(net: Net) -> None:
    """Attention with a mask that all blocks share, and an MLP: two branches a layer, normalised after the sum."""
    x = net.tokens(8)
    mask = net.op("Mul", net.op("Sub", net.declare("mask", ["N", 1, 1, 5]), net.number(1.0)), net.number(100.0))
    for layer in ("1", "2"):
        q, k, v = (net.transpose(net.reshape(net.dense(x, 8), 0, 5, 2, 4), 0, 2, 1, 3) for _ in range(3))
        scores = net.add(net.op("MatMul", q, net.transpose(k, 0, 1, 3, 2)), mask)
        heads = net.transpose(net.op("MatMul", net.softmax(scores), v), 0, 2, 1, 3)
        a = net.add(x, net.dense(net.reshape(heads, 0, 5, 8), 8), name=f"attention{layer}")
        a = net.op("LayerNormalization", a, net.positive(8), net.normal(8))
        x = net.add(net.dense(net.relu(net.dense(a, 12)), 8), a, name=f"mlp{layer}")
        x = net.op("LayerNormalization", x, net.positive(8), net.normal(8))
    net.project(x)


def nested(net: Net) -> None:
    """A block whose branch holds another one."""
    x = net.relu(net.stem())
    inner = block(net, net.relu(net.conv(x, 8, 3, pads=PADS)), "inner")
    x = net.add(x, net.conv(net.relu(inner), 8), name="outer")
    net.head(net.relu(x))


def projection(net: Net) -> None:
    """The second block changes the width, so that its shortcut is a layer."""
    x = net.relu(block(net, net.relu(net.stem()), "one"))
    inner = net.relu(net.conv(x, 12, 3, pads=PADS))
    x = net.add(net.conv(inner, 12, 3, pads=PADS), net.conv(x, 12, name="shortcut"), name="two")
    net.head(net.relu(x))


def outside(net: Net) -> None:
    """A value inside of the branch is read elsewhere."""
    x = net.relu(net.stem())
    inner = net.relu(net.conv(x, 8, 3, name="a", pads=PADS))
    x = net.add(x, net.conv(inner, 8, 3, pads=PADS), name="one")
    net.head(net.op("Mul", x, inner, name="gate"))


def output_inside(net: Net) -> None:
    x = net.relu(net.stem())
    inner = net.relu(net.conv(x, 8, 3, pads=PADS))
    net.output(inner)
    net.head(net.add(x, net.conv(inner, 8, 3, pads=PADS), name="one"))


def output_is_sum(net: Net) -> None:
    """The names of graph outputs stay."""
    x = block(net, net.relu(net.stem()), "one")
    y = block(net, x, "two")
    net.output(x, y)


def identity(net: Net) -> None:
    """A shortcut through Identity is the identity."""
    x = net.relu(net.stem())
    inner = net.conv(net.relu(net.conv(x, 8, 3, pads=PADS)), 8)
    net.head(net.add(net.op("Identity", x), inner, name="one"))


def broadcast(net: Net) -> None:
    """What is added is one number a channel: no block."""
    x = net.relu(net.stem())
    net.head(net.add(x, net.conv(net.op("GlobalAveragePool", x), 8), name="one"))


def one_or_many(net: Net) -> None:
    """Equal shapes for a batch of one only: the branch says nothing of the batch."""
    x = net.relu(net.stem())
    mean = net.mean(net.conv(x, 8), 0)
    net.head(net.add(mean, net.conv(mean, 8), name="same"))
    net.head(net.add(x, net.conv(mean, 8), name="one"), name="y")


def control_flow(net: Net) -> None:
    x = net.relu(net.stem())
    inner = net.conv(x, 8)
    bodies = []
    for op in ("Relu", "Sigmoid"):
        body = Net(net.opset)
        bodies.append(body.body(op, [body.op(op, inner)]))
        bodies[-1].node[0].output[0] = bodies[-1].output[0].name = f"{op}.y"
    value = net.hint(net.op("If", np.array(True), then_branch=bodies[0], else_branch=bodies[1], name="if"), 8, 6, 6)
    net.head(net.add(x, net.conv(value, 8), name="one"))


def captured(net: Net) -> None:
    """A subgraph behind the block reads its sum."""
    total = block(net, net.relu(net.stem()), "one")
    bodies = []
    for op in ("Relu", "Sigmoid"):
        body = Net(net.opset)
        bodies.append(body.body(op, [body.op(op, total)]))
        bodies[-1].node[0].output[0] = bodies[-1].output[0].name = f"{op}.y"
    net.head(net.hint(net.op("If", np.array(True), then_branch=bodies[0], else_branch=bodies[1]), 8, 6, 6))


def random(net: Net) -> None:
    x = net.relu(net.stem())
    noise = net.op("RandomNormalLike", net.conv(x, 8), seed=1.0, name="noise")
    net.head(net.add(x, noise, name="one"))


def sizes(net: Net) -> None:
    """A branch with arithmetic on sizes, which leaves with it."""
    x = net.relu(net.stem())
    inner = net.conv(x, 8)
    shape = net.op("Concat", net.size_of(inner, 0), ints(8, -1), axis=0)
    flat = net.op("Reshape", inner, shape)
    back = net.op("Reshape", flat, net.op("Concat", net.size_of(x, 0), ints(8, 6, 6), axis=0))
    net.head(net.add(x, net.conv(back, 8), name="one"))


def gates(net: Net) -> None:
    """No block: two paths from x that hold no layer, and a sum of two inputs."""
    x = net.relu(net.stem())
    x = net.add(x, net.op("Mul", x, net.op("Sigmoid", x)), name="swish")
    net.head(net.add(x, net.input(8, 6, 6), name="inputs"))


REMOVABLE: dict[Callable[[Net], None], tuple[str, ...]] = {
    classic: ("one", "two", "three"),
    preactivated: ("one", "two"),
    transformer: ("attention1", "mlp1", "attention2", "mlp2"),
    nested: ("inner", "outer"),
    projection: ("one",),
    outside: (),
    output_inside: (),
    output_is_sum: ("one", "two"),
    identity: ("one",),
    broadcast: (),
    one_or_many: ("same",),
    control_flow: (),
    captured: ("one",),
    random: (),
    sizes: ("one",),
    gates: (),
}
PINNED: dict[Callable[[Net], None], dict[str, tuple[str, str]]] = {
    projection: {"two": ("its shortcut is not the identity: it goes through Conv 'shortcut'", "shortcut")},
    outside: {"one": ("is read outside of it, by Mul 'gate'", "gate")},
    output_inside: {"one": ("is a graph output", "Relu")},
    one_or_many: {"one": ("not equal for all symbolic sizes", "one")},
    control_flow: {"one": ("it holds control flow (If)", "if")},
    random: {"one": ("it holds RandomNormalLike", "noise")},
}

"""Small networks in which a cut changes shapes in as many ways as there are."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper

from tests.builders import Net, ints


def images(**options: object) -> ModelProto:
    """A sum, a concatenation, a normalisation, a depthwise layer."""
    net = Net(**options)  # type: ignore[arg-type]
    a = net.relu(net.bn(net.stem(12)))
    b = net.conv(net.add(a, net.conv(a, 12, name="b")), 12, 3, group=12, pads=[1] * 4, name="d")
    net.head(net.conv(net.concat(a, b), 10, name="c"))
    return net.model()


def constant_nodes() -> ModelProto:
    return images(weights="constant")


def behind_nodes() -> ModelProto:
    return images(weights="identity")


def listed_inputs() -> ModelProto:
    """Initializers that must be inputs."""
    return images(opset=7)


def shared_weight() -> ModelProto:
    """One weight is read by two layers that lose other channels."""
    net = Net()
    x = net.input(3, 6, 6)
    w = net.constant(net.normal(8, 8, 1, 1), "w")
    left, right = (net.op("Conv", net.relu(net.conv(x, 8, name=n)), w, name=f"{n}w") for n in ("a", "b"))
    net.head(net.conv(net.concat(net.relu(left), net.relu(right)), 6, name="c"))
    return net.model()


def heads() -> ModelProto:
    """Attention whose sizes are read from the graph, and whose scale is computed of one."""
    net = Net()
    x = net.input(5, 12)
    parts = []
    for name in "qkv":
        rows = net.op("Shape", x)
        first, second = net.op("Gather", rows, ints(0)), net.op("Gather", rows, ints(1))
        target = net.concat(first, second, ints(2), ints(8), axis=0)
        parts.append(net.transpose(net.op("Reshape", net.dense(x, 16, name=name), target), 0, 2, 1, 3))
    q, k, v = parts
    width = net.op("Cast", net.size_of(q, 3), to=1)
    scores = net.op("Div", net.op("MatMul", q, net.transpose(k, 0, 1, 3, 2)), net.op("Sqrt", width))
    mixed = net.transpose(net.op("MatMul", net.softmax(scores), v), 0, 2, 1, 3)
    net.project(net.reshape(mixed, 0, 0, 16))
    return net.model()


def recurrent() -> ModelProto:
    net = Net(batch=4)
    x = net.declare("x", [7, 4, 6])
    y = net.many("LSTM", 1, x, net.normal(1, 32, 6), net.normal(1, 32, 8), net.normal(1, 64), hidden_size=8)[0]
    net.project(net.squeeze(y, 1))
    return net.model()


def branches() -> ModelProto:
    """Layers with weights of their own in the bodies of an If, around channels that may leave."""
    net = Net(weights="initializer")
    a = net.relu(net.stem(12))
    h = net.relu(net.conv(a, 8, name="b"))
    condition = net.op("Greater", net.mean(h, 0, 1, 2, 3, keepdims=0), np.array(0, np.float32))
    results = []
    for name in ("yes", "no"):
        body = Net(seed=len(name))
        inner = body.op("Conv", h, body.constant(body.normal(6, 8, 1, 1), f"{name}_w1"), name=f"{name}_1")
        inner = body.op("Relu", inner)
        last = body.op("Conv", inner, body.constant(body.normal(5, 6, 1, 1), f"{name}_w2"), name=f"{name}_2")
        results.append(_renamed(body, f"{name}_", last))
    chosen = net.op("If", condition, then_branch=results[0], else_branch=results[1])
    net.outputs.append(helper.make_tensor_value_info(chosen, 1, [None] * 4))
    return net.model()


def _renamed(body: Net, prefix: str, result: str) -> object:
    """The body of a branch, its values named apart from those of the other."""
    made = {name for node in body.nodes for name in node.output}
    for node in body.nodes:
        for names in (node.input, node.output):
            for slot, name in enumerate(names):
                if name in made:
                    names[slot] = prefix + name
    return body.body(prefix, [prefix + result])


def spare() -> ModelProto:
    """An initializer that nobody reads in the original either."""
    net = Net()
    net.constant(np.ones(3, np.float32), "spare")
    net.head(net.relu(net.stem(8)))
    return net.model()


def no_bias() -> ModelProto:
    """Repair gives these layers a bias."""
    net = Net()
    h = net.relu(net.conv(net.input(3, 6, 6), 12, name="a", bias=False))
    h = net.relu(net.conv(h, 12, name="b", bias=False))
    net.output(net.conv(h, 4, name="z", bias=False))
    return net.model()


def one_bias() -> ModelProto:
    """Repair gives layers that share a bias one each, and nobody reads the old one."""
    net = Net()
    h = net.relu(net.conv(net.input(3, 6, 6), 12, name="a"))
    bias = net.constant(net.normal(4), "bias")
    parts = [net.op("Conv", h, net.normal(4, 12, 1, 1), bias, name=n) for n in ("y", "z")]
    net.output(*parts)
    return net.model()


def residual() -> ModelProto:
    """Blocks that may leave whole."""
    net = Net()
    h = net.relu(net.stem(8))
    for name in "bcd":
        h = net.relu(net.add(h, net.conv(net.relu(net.conv(h, 8, name=name)), 8, name=f"{name}2")))
    net.head(h)
    return net.model()


NETWORKS = (
    images,
    constant_nodes,
    behind_nodes,
    listed_inputs,
    shared_weight,
    heads,
    recurrent,
    branches,
    spare,
    no_bias,
    one_bias,
)

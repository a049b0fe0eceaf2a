"""Operators of onnxprune's own library (native/src/gradients.cpp), which gradients use where `Builder.native` says so.

ONNX has no operator for the weight gradient of a depthwise convolution (nine products over the whole image for a 3 by 3
kernel), none for the gradient of a clip, and none for a squared error; and of weights that are inputs, which training
changes, ONNX Runtime computes depthwise convolutions by its slow way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from onnxprune import native
from onnxprune.capture.grad.builder import Shape, Value
from onnxprune.capture.grad.call import Call
from onnxprune.capture.grad.registry import gradient
from onnxprune.capture.grad.rules.windows import Window
from onnxprune.native.marks import DOMAIN
from onnxprune.results.providers import CPU, Threads, name_of

OPERATORS = frozenset(
    {"DepthwiseConv", "DepthwiseGradient", "DepthwiseTranspose", "ClipGradient", "SigmoidGradient"}
    | {f"{weighted}{name}" for weighted in ("", "Weighted") for name in ("SquaredDistance", "ScaledDifferenceAdd")}
)
LARGEST_STRIDE = 1024
"""Of the kernels."""


def is_there(threads: Threads = 0) -> bool:
    """Whether the library was built, and since these operators are in it, loads, and what computes is the CPU."""
    return name_of(threads) == CPU and native.operators() >= OPERATORS


def fits(x: Value, frame: Window) -> bool:
    """Whether the kernels do this depthwise convolution."""
    return x.at.native and x.dtype == TensorProto.FLOAT and _fits(frame.kernel, frame.strides)


def _fits(kernel: Sequence[int], strides: Sequence[int]) -> bool:
    return len(kernel) in (1, 2) and max(strides) <= LARGEST_STRIDE


def depthwise_conv(x: Value, weight: Value, frame: Window, shape: Shape) -> Value:
    """x (N, C, *wide), weight (C * m, 1, *kernel) -> `shape` (N, C * m, *narrow)."""
    bias = x.at.constant(np.zeros(weight.shape[0], np.float32))
    options = {**frame.options(), "weight_shape": [*weight.shape], "group": x.shape[1]}
    return x.at.node("DepthwiseConv", [x, weight, bias], shape, x.dtype, domain=DOMAIN, **options)


def depthwise_gradient(x: Value, dy: Value, frame: Window, shape: Shape) -> Value:
    """dL/dW, of `shape` (C, 1, *kernel)."""
    options = {**frame.options(), "weight_shape": [*shape], "group": shape[0]}
    return x.at.node("DepthwiseGradient", [x, dy], shape, x.dtype, domain=DOMAIN, **options)


def transposes(dy: Value, frame: Window) -> bool:
    """Whether the kernels do the way back through this depthwise convolution."""
    pads = zip(frame.before, frame.after, frame.reach, strict=True)
    return fits(dy, frame) and all(max(before, after) <= reach for before, after, reach in pads)


def depthwise_transpose(dy: Value, weight: Value, frame: Window, shape: Shape) -> Value:
    """dL/dX, of `shape` (N, C, *wide)."""
    options = {**frame.options(), "weight_shape": [*weight.shape], "group": shape[1], "size": [*shape[2:]]}
    return dy.at.node("DepthwiseTranspose", [dy, weight], shape, dy.dtype, domain=DOMAIN, **options)


def clip_gradient(y: Value, dy: Value, low: float, high: float) -> Value:
    """dy where low < y < high, else 0."""
    return y.at.node("ClipGradient", [y, dy], y.shape, y.dtype, domain=DOMAIN, low=float(low), high=float(high))


def sigmoid_gradient(y: Value, dy: Value) -> Value:
    """dy * y * (1 - y)."""
    return y.at.node("SigmoidGradient", [y, dy], y.shape, y.dtype, domain=DOMAIN)


@gradient("SquaredDistance", "WeightedSquaredDistance", domain=DOMAIN)
def _squared_distance(op: Call) -> None:
    """2 w (a - b) / n. Goals and weights have no gradient."""
    a, scale = op.input(0), op.dy * (2.0 / max(math.prod(op.shape(0)), 1))
    inputs = [a, op.input(1), scale, *([op.input(2)] if op.has(2) else [])]
    name = "WeightedScaledDifference" if op.has(2) else "ScaledDifference"
    op.give(0, a.at.node(name, inputs, a.shape, a.dtype, domain=DOMAIN))


def squared_distance(a: str, b: str, mean: str, weight: str | None = None) -> NodeProto:
    """The mean of w (a - b)^2, w of as many axes as a, and its size or, on one of them, 1."""
    name, more = ("SquaredDistance", []) if weight is None else ("WeightedSquaredDistance", [weight])
    return helper.make_node(name, [a, b, *more], [mean], domain=DOMAIN)


def joined(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """`nodes` of a backward pass, with sums that a scaled difference is a part of made in one."""
    uses = Counter(key for node in nodes for key in node.input)
    differences = ("ScaledDifference", "WeightedScaledDifference")
    apart = {node.output[0]: node for node in nodes if node.domain == DOMAIN and node.op_type in differences}
    found, gone = [], set[str]()
    for node in nodes:
        key = next((k for k in node.input if k in apart and uses[k] == 1), None) if node.op_type == "Add" else None
        if key is None:
            found.append(node)
            continue
        other = next(k for k in node.input if k != key)
        made = helper.make_node(f"{apart[key].op_type}Add", [*apart[key].input, other], node.output, domain=DOMAIN)
        found.append(made)
        gone.add(key)
    return [node for node in found if node.output[0] not in gone]


def lowered(
    nodes: Sequence[NodeProto], shapes: Mapping[str, Shape], types: Mapping[str, int]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """`nodes` with their depthwise convolutions by the kernels, and the constants that these need."""
    found, constants = [], dict[int, TensorProto]()
    for node in nodes:
        options = _depthwise(node, shapes, types)
        if options is None:
            found.append(node)
            continue
        count = options["weight_shape"][0]
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else f"onnxprune.zeros.{count}"
        if bias.startswith("onnxprune.zeros."):
            constants[count] = helper.make_tensor(bias, TensorProto.FLOAT, (count,), [0.0] * count)
        found.append(helper.make_node("DepthwiseConv", [*node.input[:2], bias], node.output, domain=DOMAIN, **options))
    return found, [*constants.values()]


def _depthwise(node: NodeProto, shapes: Mapping[str, Shape], types: Mapping[str, int]) -> dict[str, Any] | None:
    """Attributes of the kernel that does the node; None if none does."""
    if node.op_type != "Conv" or node.domain not in ("", "ai.onnx"):
        return None
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    x, weight = shapes.get(node.input[0]), shapes.get(node.input[1])
    plain = attributes.get("auto_pad", b"NOTSET") == b"NOTSET" and min(attributes.get("pads", [0])) >= 0
    floats = all(types.get(key, TensorProto.FLOAT) == TensorProto.FLOAT for key in node.input if key)
    if not plain or not floats or x is None or weight is None or len(weight) not in (3, 4) or math.prod(x) == 0:
        return None
    rank, group = len(weight) - 2, attributes.get("group", 1)
    found = {
        "strides": list(attributes.get("strides", [1] * rank)),
        "pads": list(attributes.get("pads", [0] * 2 * rank)),
        "dilations": list(attributes.get("dilations", [1] * rank)),
        "weight_shape": list(weight),
    }
    if weight[1] != 1 or group < 2 or x[1] != group or not _fits(weight[2:], found["strides"]):
        return None
    return {**found, "group": group}

"""Equalisation between two layers: channels of the value between them share one scale when it is rounded.

Where a network computes w2 f(w1 x + b1), and f(a / s) = f(a) / s for every positive s (rectifiers, pooling, nothing),
dividing channel c of the first layer by s_c and multiplying channel c of the second one's weight changes nothing:

    s W2 f((W1 / s) x + b1 / s).

s_c are powers of two, so that floating point gives the same bits. Weights have a scale for each output: those of the
first layer lose nothing. What output o of the second one loses by rounding f, and by rounding s W2, is (in twelfths)

    (range(f / s) / 255)^2 sum_c s_c^2 |W2_co|^2  +  (max_c s_c |W2_co| / 127)^2 sum_c taps E f_c^2 / s_c^2,

c among its inputs: of a depthwise layer that is one, and its weights lose nothing either. Outputs count relative to
what they vary by, which is about sum_c |W2_co|^2 E f_c^2.

Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, ICCV 2019.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.capture.walker import Walker
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.plain import owned
from onnxprune.model.tensors import LazyTensor
from onnxprune.quantizing.equalise import MOST, POWERS, Channels
from onnxprune.results.providers import Threads

Array = NDArray[Any]
FloatArray = NDArray[np.float64]
GAIN = 0.25
"""Of what is lost by this formula, what has to stay at most. (Where channels are of about one size it promised a half,
and twice as much was lost: outputs do not count alike, and ranges leave out what is rare.)
"""
TINY = 1e-30
LEAST = 0.01
"""Of what outputs vary by on average: those that vary by less count as if they varied by that."""
PASSED = frozenset({"Relu", "LeakyRelu", "Identity", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
"""Operators that give s f(a) for s a, channel by channel, with what they have besides."""


@dataclass(frozen=True)
class Reader:
    """A layer that reads the value: its weight as the file has it, and in how many groups."""

    weight: str
    groups: int
    product: bool
    """whether it is Gemm, of one row an output (or one column, `transposed`)"""
    transposed: bool = False

    def rows(self, tensors: Mapping[str, LazyTensor]) -> FloatArray:
        """(groups, outputs of a group, channels of a group, taps)"""
        array = tensors[self.weight].array().astype(np.float64)
        if self.product:
            array = array.T if self.transposed else array
            return array.reshape(1, *array.shape, 1)
        outputs, channels = array.shape[:2]
        return array.reshape(self.groups, outputs // self.groups, channels, -1)

    def wide(self, scale: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        """`scale` (channels,) as factors of the weight of this shape."""
        if self.product:
            return scale[:, None] if self.transposed else scale[None, :]
        each = np.repeat(scale.reshape(self.groups, -1), shape[0] // self.groups, axis=0)
        return each.reshape(*each.shape, *[1] * (len(shape) - 2))


@dataclass(frozen=True)
class Pair:
    """A value `key` of `channels` channels that `readers` read; `values` are it and what is before it up to the layer
    that makes it, whose weight and bias have their outputs on axis 0 (of Gemm without transB: on the last one)."""

    key: str
    channels: int
    values: tuple[str, ...]
    weight: str
    bias: str | None
    last: bool
    readers: tuple[Reader, ...]


def evened(
    model: Model,
    dtypes: Mapping[str, int],
    feed: Mapping[str, Array],
    weights: Collection[str],
    *,
    fixed: Collection[str] = (),
    threads: Threads = 0,
) -> tuple[Model, dict[str, FloatArray]]:
    """`model`, in its working form, with such channels equalised; and by value s, by which its channels were divided.

    Args:
        model: Float, in its working form.
        dtypes: Of its values.
        feed: A few samples, from which the ranges are.
        weights: Those that will be rounded: all that read such a value have to be among them.
        fixed: Values that stay as they are.
        threads: Of ONNX Runtime.
    """
    graph = build(model)
    found = [one for one in pairs(graph, fixed) if all(r.weight in weights for r in one.readers)]
    if not found:
        return model, {}
    walker = Walker(model, [dict(feed)], dtypes, threads, as_it_is=True)
    tensors, scaled = dict(model.tensors), dict[str, FloatArray]()
    for one in found:
        walker.reach([one.key])
        seen = Channels.none(one.channels)
        for value in walker.values(one.key):
            seen.add(np.moveaxis(value, 1, -1))
        walker.drop_dead()
        scale = scales(seen, [reader.rows(tensors) for reader in one.readers])
        if scale is not None:
            _divide(tensors, one, scale)
            scaled |= dict.fromkeys(one.values, scale)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    return (model.replace(proto, tensors) if scaled else model), scaled


def scales(seen: Channels, weights: Collection[FloatArray]) -> FloatArray | None:
    """s (channels,), powers of two; None if nothing is gained. weights (groups, outputs, channels, taps) of a group."""
    size = np.maximum(np.abs(seen.low), np.abs(seen.high))
    largest = np.max([np.abs(w).max(axis=(1, 3)).ravel() for w in weights], axis=0)
    if not (np.isfinite(size).all() and np.isfinite(largest).all() and size.any()):
        return None
    used = (size > 0) & (largest > 0)
    if not used.any():
        return None
    size, largest = (np.where(used, x, np.exp(np.log(x[used]).mean())) for x in (size, largest))
    limit, none = np.log2(MOST), np.ones(len(size))
    best, chosen = GAIN * lost(seen, weights, none), None
    for a in POWERS:
        for b in POWERS:
            wide = a * np.log2(size) - b * np.log2(largest)
            scale = 2.0 ** np.clip(np.rint(wide - wide.mean()), -limit, limit)
            now = lost(seen, weights, scale)
            if now < best:
                best, chosen = now, scale
    return chosen


def lost(seen: Channels, weights: Collection[FloatArray], scale: FloatArray) -> float:
    """What rounding to 8 bits loses, as above."""
    span = max(float((seen.high / scale).max()), 0.0) - min(float((seen.low / scale).min()), 0.0)
    step, power = span / 255, seen.square / scale**2
    total = 0.0
    for weight in weights:
        groups = len(weight)
        wide = np.square(weight * scale.reshape(groups, 1, -1, 1))
        varies = (wide * power.reshape(groups, 1, -1, 1)).sum(axis=(2, 3))
        varies = np.maximum(varies, max(LEAST * float(varies.mean()), TINY))
        inputs = step**2 * wide.sum(axis=(2, 3))
        rounding = wide.max(axis=(2, 3)) / 127**2 * power.reshape(groups, -1).sum(axis=1)[:, None] * weight.shape[3]
        total += float(((inputs + rounding) / varies).sum())
    return total


# ---- which ones ------------------------------------------------------------------------------------------------
def pairs(graph: Graph, fixed: Collection[str] = ()) -> list[Pair]:
    """Values between layers that nothing else sees, in the order of the graph."""
    found = []
    for node in graph.nodes:
        made = _maker(graph, node)
        if made is None:
            continue
        weight, bias, last, channels = made
        values, readers = [node.outputs[0]], list[Reader]()
        while values[-1] not in graph.fixed and values[-1] not in fixed:
            behind = [(graph.nodes[index], slot) for index, slot in graph.consumers.get(values[-1], ())]
            if len(behind) == 1 and _passes(graph, *behind[0]):
                values.append(behind[0][0].outputs[0])
                continue
            known = [_reader(graph, reader, slot, channels) for reader, slot in behind]
            readers = [one for one in known if one is not None] if None not in known else []
            break
        names = [one.weight for one in readers]
        if readers and len(set(names)) == len(names) and weight not in names:
            found.append(Pair(values[-1], channels, tuple(values), weight, bias, last, tuple(readers)))
    return found


def _maker(graph: Graph, node: Node) -> tuple[str, str | None, bool, int] | None:
    """Weight and bias of a layer whose outputs can be divided, whether the weight has them last, and how many."""
    if node.domain or node.scope or node.op_type not in ("Conv", "Gemm") or not _own(graph, node.inputs[1]):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] else None
    shape = graph.constants[node.inputs[1]].shape
    last = node.op_type == "Gemm" and not node.attribute("transB", 0)
    channels = shape[-1 if last else 0]
    if bias is not None and (not _own(graph, bias) or graph.constants[bias].shape != (channels,)):
        return None
    return node.inputs[1], bias, last, channels


def _passes(graph: Graph, node: Node, slot: int) -> bool:
    """Whether dividing a channel before it is dividing it behind it. (Clip is not: 6 stays 6.)"""
    if node.domain or node.scope or slot != 0 or len([key for key in node.outputs if key]) != 1:
        return False
    return node.op_type in PASSED or (node.op_type == "PRelu" and node.inputs[1] in graph.constants)


def _reader(graph: Graph, node: Node, slot: int, channels: int) -> Reader | None:
    if node.domain or node.scope or slot != 0 or node.op_type not in ("Conv", "Gemm") or node.attribute("transA", 0):
        return None
    weight = node.inputs[1]
    if not _own(graph, weight):
        return None
    shape = graph.constants[weight].shape
    if node.op_type == "Gemm":
        transposed = not node.attribute("transB", 0)
        there = shape[0 if transposed else 1]
        return Reader(weight, 1, True, transposed) if there == channels else None
    groups = int(node.attribute("group", 1))
    return Reader(weight, groups, False) if shape[1] * groups == channels else None


def _own(graph: Graph, key: str) -> bool:
    return key in graph.model.tensors and key in graph.constants and owned(graph, key)


def _divide(tensors: dict[str, LazyTensor], one: Pair, scale: FloatArray) -> None:
    """Outputs of the first layer by `scale` (channels,), and the weights that read them times it."""
    weight = tensors[one.weight].array()
    wide = scale[None, :] if one.last else scale.reshape(-1, *[1] * (weight.ndim - 1))
    tensors[one.weight] = tensors[one.weight].with_array((weight / wide).astype(weight.dtype))
    if one.bias is not None:
        bias = tensors[one.bias].array()
        tensors[one.bias] = tensors[one.bias].with_array((bias / scale).astype(bias.dtype))
    for reader in one.readers:
        old = tensors[reader.weight].array()
        tensors[reader.weight] = tensors[reader.weight].with_array(
            (old * reader.wide(scale, old.shape)).astype(old.dtype)
        )

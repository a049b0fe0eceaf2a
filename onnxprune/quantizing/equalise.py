"""Equalisation between a normalisation and the products that read it: SmoothQuant, without anything to be computed.

Channels of what a LayerNormalization gives differ by orders of magnitude, and share one scale when they are rounded.
Dividing channel c by s_c, in the factors g and shifts b of the normalisation, and multiplying row c of every weight
that reads it changes nothing:

    (g / s) n + b / s,   s W.

s_c are powers of two, so that it changes nothing at all: floating point gives the same bits. They are taken from the
family s = m^a w^-b (m: the largest |x_c|, w: the largest |W_c|) so that what the product loses is least:

    (range(x / s) / 255)^2 sum_c s_c^2 |W_c|^2  +  K sum_o (max_c s_c |W_co| / 127)^2 sum_c E x_c^2 / s_c^2,

by rounding x, and by rounding W, of which K stays after rounding by second moments (both in twelfths).

Xiao et al., SmoothQuant, ICML 2023; Nagel et al., Data-Free Quantization, ICCV 2019.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
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
from onnxprune.results.providers import Threads

Array = NDArray[Any]
FloatArray = NDArray[np.float64]
KEPT = 0.1
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
GAIN = 0.8
"""Of what is lost, what has to stay at most: else the layer is left as it is."""
MOST = 2.0**12
"""The largest s_c, and its inverse the smallest, relative to their mean: nothing overflows, nor becomes subnormal."""


@dataclass(frozen=True)
class Reader:
    """A product: the initializer of its weight, and the axis of its inputs."""

    weight: str
    axis: int


@dataclass(frozen=True)
class Normalised:
    """A value of `channels` channels, its last axis; `factors` are the initializers, of shape (channels,) each, that
    scale it; `readers` are all that read it."""

    key: str
    channels: int
    factors: tuple[str, ...]
    readers: tuple[Reader, ...]


@dataclass
class Channels:
    """low, high, square (channels,): the least and the largest value, and the mean square, of every channel."""

    low: FloatArray
    high: FloatArray
    square: FloatArray
    count: int = 0

    def add(self, x: Array) -> None:
        """x (..., channels)"""
        rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
        if len(rows):
            self.low, self.high = np.minimum(self.low, rows.min(axis=0)), np.maximum(self.high, rows.max(axis=0))
            self.square = (self.square * self.count + np.square(rows).sum(axis=0)) / (self.count + len(rows))
            self.count += len(rows)

    @classmethod
    def none(cls, channels: int) -> Channels:
        return cls(np.zeros(channels), np.zeros(channels), np.zeros(channels))


def equalised(
    model: Model,
    dtypes: Mapping[str, int],
    batches: list[dict[str, Array]],
    *,
    keys: set[str] | None = None,
    threads: Threads = 0,
) -> tuple[Model, tuple[str, ...]]:
    """`model`, in its working form, with such channels equalised; and the values whose channels were.

    Args:
        model: Float, in its working form (`plain.hoisted`).
        dtypes: Of its values.
        batches: Feeds, from which the ranges are.
        keys: Weights that will be rounded together with their inputs; values that others read as well are left alone.
            None: all.
        threads: Of ONNX Runtime.
    """
    graph = build(model)
    found = [one for one in normalised(graph) if keys is None or all(r.weight in keys for r in one.readers)]
    if not found:
        return model, ()
    walker = Walker(model, batches, dtypes, threads, as_it_is=True)
    tensors, changed = dict(model.tensors), list[str]()
    for one in found:
        walker.reach([one.key])
        seen = Channels.none(one.channels)
        for value in walker.values(one.key):
            seen.add(value)
        walker.drop_dead()
        scale = scales(seen, [_rows(tensors, reader) for reader in one.readers])
        if scale is not None:
            apply_scale(tensors, one, scale)
            changed.append(one.key)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    return (model.replace(proto, tensors) if changed else model), tuple(changed)


def scales(seen: Channels, weights: Sequence[FloatArray]) -> FloatArray | None:
    """s (channels,), powers of two; None if nothing is gained. weights (channels, outputs)."""
    weight = np.concatenate(weights, axis=1)
    size, largest = np.maximum(np.abs(seen.low), np.abs(seen.high)), np.abs(weight).max(axis=1)
    if not (np.isfinite(size).all() and np.isfinite(largest).all() and size.any()):
        return None
    used = (size > 0) & (largest > 0)
    size, largest = (np.where(used, x, np.exp(np.log(x[used]).mean()) if used.any() else 1.0) for x in (size, largest))
    before = lost(seen, weight, np.ones(len(size)))
    best, chosen = GAIN * before, None
    for a, b in itertools.product(POWERS, POWERS):
        wide = a * np.log2(size) - b * np.log2(largest)
        limit = np.log2(MOST)
        scale = 2.0 ** np.clip(np.rint(wide - wide.mean()), -limit, limit)
        now = lost(seen, weight, scale)
        if now < best:
            best, chosen = now, scale
    return chosen


def lost(seen: Channels, weight: FloatArray, scale: FloatArray) -> float:
    """What rounding to 8 bits loses, as above. weight (channels, outputs)."""
    span = max(float((seen.high / scale).max()), 0.0) - min(float((seen.low / scale).min()), 0.0)
    inputs = (span / 255) ** 2 * float((scale**2 @ weight**2).sum())
    steps = np.abs(weight * scale[:, None]).max(axis=0) / 127
    return inputs + KEPT * float(np.square(steps).sum()) * float((seen.square / scale**2).sum())


def apply_scale(tensors: dict[str, LazyTensor], one: Normalised, scale: FloatArray) -> None:
    """Divide the factors by `scale` (channels,), and multiply the weights that read them."""
    for key in one.factors:
        old = tensors[key].array()
        tensors[key] = tensors[key].with_array((old / scale).astype(old.dtype))
    for reader in one.readers:
        old = tensors[reader.weight].array()
        wide = scale[:, None] if reader.axis == 0 else scale[None, :]
        tensors[reader.weight] = tensors[reader.weight].with_array((old * wide).astype(old.dtype))


# ---- which ones ------------------------------------------------------------------------------------------------
def normalised(graph: Graph) -> list[Normalised]:
    """Values that are scaled by constants of their own, channel by channel, and read by products alone."""
    found = []
    for node in graph.nodes:
        if node.scope != 0 or node.domain or not node.outputs:
            continue
        factors = _factors(graph, node)
        if factors:
            key = node.outputs[0]
            channels = graph.constants[factors[0]].shape[0]
            readers = _readers(graph, key, channels)
            if readers:
                found.append(Normalised(key, channels, factors, tuple(readers)))
    return found


def _factors(graph: Graph, node: Node) -> tuple[str, ...]:
    """The initializers that scale what a node gives: of a normalisation, or of a product and a sum with constants."""
    if node.op_type in ("LayerNormalization", "SimplifiedLayerNormalization"):
        keys = [key for key in node.inputs[1:3] if key]
        last = node.attribute("axis", -1) == -1 and not any(node.outputs[1:])
        return tuple(keys) if last and keys and all(_vector(graph, key) for key in keys) else ()
    if node.op_type not in ("Mul", "Add"):
        return ()
    constants = [key for key in node.inputs if key in graph.constants]
    others = [key for key in node.inputs if key not in graph.constants]
    if len(constants) != 1 or len(others) != 1 or not _vector(graph, constants[0]):
        return ()
    if node.op_type == "Mul":
        return (constants[0],)
    index = graph.producer.get(others[0])
    if index is None or len(graph.consumers[others[0]]) != 1 or others[0] in graph.fixed:
        return ()
    inner = graph.nodes[index]
    first = _factors(graph, inner) if inner.op_type == "Mul" and inner.scope == 0 and not inner.domain else ()
    shape = graph.constants[constants[0]].shape
    return (*first, constants[0]) if first and graph.constants[first[0]].shape == shape else ()


def _vector(graph: Graph, key: str) -> bool:
    constant = graph.constants.get(key)
    return constant is not None and len(constant.shape) == 1 and constant.size > 1 and _own(graph, key)


def _own(graph: Graph, key: str) -> bool:
    return key in graph.model.tensors and owned(graph, key)


def _readers(graph: Graph, key: str, channels: int) -> list[Reader]:
    """All readers of a value if they are products with weights of their own, be it behind changes of its order; else
    none."""
    if key in graph.fixed:
        return []
    found: list[Reader] = []
    for index, slot in graph.consumers.get(key, ()):
        node = graph.nodes[index]
        if node.op_type == "Shape":
            continue
        if _moves(graph, node, slot, channels):
            inner = _readers(graph, node.outputs[0], channels)
        else:
            reader = _reader(graph, node, slot, channels)
            inner = [reader] if reader is not None else []
        if not inner:
            return []
        found += inner
    return found


def _reader(graph: Graph, node: Node, slot: int, channels: int) -> Reader | None:
    if node.domain or node.op_type not in ("MatMul", "Gemm") or slot != 0 or node.attribute("transA", 0):
        return None
    weight = node.inputs[1]
    constant = graph.constants.get(weight)
    axis = 1 if node.op_type == "Gemm" and node.attribute("transB", 0) else 0
    if constant is None or len(constant.shape) != 2 or constant.shape[axis] != channels or not _own(graph, weight):
        return None
    return Reader(weight, axis)


def _moves(graph: Graph, node: Node, slot: int, channels: int) -> bool:
    """Whether the last axis of what a node gives is that of its first input."""
    if node.domain or slot != 0:
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type == "Transpose":
        order = node.attribute("perm")
        return bool(order) and order[-1] == len(order) - 1
    target = graph.constants.get(node.inputs[1]) if node.op_type == "Reshape" else None
    return target is not None and target.size > 0 and int(target.array()[-1]) == channels


def _rows(tensors: Mapping[str, LazyTensor], reader: Reader) -> FloatArray:
    weight = tensors[reader.weight].array().astype(np.float64)
    return weight if reader.axis == 0 else np.asarray(weight.T)

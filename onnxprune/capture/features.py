"""The linear view of a layer: rows of inputs X (positions, features), rows of outputs Y (positions, outputs), and the
weight as a matrix (features, outputs), so that Y = X W + b for convolutions and matrix products alike.

Features are channel-major: feature c * K + k is kernel position k of input channel c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from onnxprune.model.graph import Graph, Node
from onnxprune.model.plain import settable, shape_of

Array = NDArray[Any]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Linear:
    """A layer that can be refitted. `weight` is its initializer's key; `bias` too, or None.

    kernel, strides, pads (begin, end per axis), dilations: of a convolution, empty for a product.
    `transposed`: the weight matrix is (outputs, features).
    """

    node: int
    x: str
    y: str
    weight: str
    bias: str | None
    transposed: bool
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    pads: tuple[tuple[int, int], ...] = ()
    dilations: tuple[int, ...] = ()
    alpha: float = 1.0

    @property
    def taps(self) -> int:
        """Features per input channel."""
        return math.prod(self.kernel)

    def matrix(self, weight: Array) -> NDArray[np.float64]:
        """(features, outputs), float64."""
        flat = weight.astype(np.float64).reshape(weight.shape[0], -1)
        return (flat.T if self.transposed else flat) * self.alpha

    def unmatrix(self, matrix: NDArray[np.float64], shape: tuple[int, ...]) -> Array:
        """The inverse of `matrix`, in the layout of the file."""
        flat = matrix / self.alpha
        return (flat.T if self.transposed else flat).reshape(shape)


def linear_layer(graph: Graph, node: Node) -> Linear | None:
    """The linear view of a node, or None: grouped and activation-times-activation products have none."""
    if node.domain or len(node.inputs) < 2 or not settable(graph, node.inputs[1]):
        return None
    shape = shape_of(graph, node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] else None
    if bias is not None and not settable(graph, bias):
        return None
    layer = Linear(node.index, node.inputs[0], node.outputs[0], node.inputs[1], bias, False)
    if node.op_type == "Conv" and node.attribute("group", 1) == 1:
        return _convolution(node, layer, shape)
    if node.op_type == "Gemm" and not node.attribute("transA", 0) and node.attribute("beta", 1.0) == 1.0:
        transposed = bool(node.attribute("transB", 0))
        if bias is not None and math.prod(shape_of(graph, bias)) != shape[0 if transposed else 1]:
            return None
        return replace(layer, transposed=transposed, alpha=float(node.attribute("alpha", 1.0)))
    return layer if node.op_type == "MatMul" and len(shape) == 2 else None


def _convolution(node: Node, layer: Linear, shape: tuple[int, ...]) -> Linear | None:
    rank = len(shape) - 2
    if node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    pads = node.attribute("pads") or [0] * (2 * rank)
    return replace(
        layer,
        transposed=True,
        kernel=tuple(shape[2:]),
        strides=tuple(node.attribute("strides") or [1] * rank),
        pads=tuple((int(pads[a]), int(pads[a + rank])) for a in range(rank)),
        dilations=tuple(node.attribute("dilations") or [1] * rank),
    )


def output_rows(layer: Linear, y: Array) -> Array:
    """(positions, outputs) view of an output (or of anything of its shape)."""
    moved = np.moveaxis(y, 1, -1) if layer.kernel else y
    return moved.reshape(-1, moved.shape[-1])


def input_rows(layer: Linear, x: Array, picked: Positions) -> Array:
    """(len(picked), features): the inputs of the output positions `picked`."""
    if not layer.kernel:
        return x.reshape(-1, x.shape[-1])[picked]
    padded = np.pad(x, [(0, 0), (0, 0), *layer.pads])
    rank = len(layer.kernel)
    spans = [(k - 1) * d + 1 for k, d in zip(layer.kernel, layer.dilations, strict=True)]
    windows = sliding_window_view(padded, spans, axis=tuple(range(2, 2 + rank)))
    steps = tuple(slice(None, None, s) for s in layer.strides)
    inner = tuple(slice(None, None, d) for d in layer.dilations)
    window: tuple[slice, ...] = (slice(None), slice(None), *steps, *inner)
    windows = windows[window]
    sizes = (windows.shape[0], *windows.shape[2 : 2 + rank])
    index = np.unravel_index(picked, sizes)
    where: tuple[Any, ...] = (index[0], slice(None), *index[1:])
    rows = windows[where]
    return np.asarray(rows.reshape(len(picked), -1))


def positions_of(layer: Linear, y: Array) -> int:
    """Number of output positions of a batch."""
    return int(np.prod([y.shape[0], *y.shape[2:]]) if layer.kernel else np.prod(y.shape[:-1]))


def residual_partner(graph: Graph, key: str) -> tuple[str, str] | None:
    """(sum, other operand) if `key` is read by one Add only, of a value that is computed before `key`."""
    readers = graph.consumers.get(key, [])
    if len(readers) != 1 or key in {o.name for o in graph.model.proto.graph.output}:
        return None
    node = graph.nodes[readers[0][0]]
    if node.op_type != "Add" or node.scope != 0:
        return None
    other = node.inputs[1 - readers[0][1]]
    if other in graph.constants or other == key or graph.producer.get(other, -1) > graph.producer.get(key, -1):
        return None
    return node.outputs[0], other

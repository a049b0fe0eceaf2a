"""The linear view of a layer: rows of inputs X (positions, features), rows of outputs Y (positions, outputs), and the
weight as a matrix (features, outputs), so that Y = X W + b for convolutions and matrix products alike.

Features are channel-major: feature c * K + k is kernel position k of input channel c. A transposed convolution is one
over inputs with zeros between them, of stride 1, by the kernel turned around. Of g groups each is a problem of its own:
matrices and rows are then stacks, (g, features, outputs) and (g, positions, features).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from onnxprune.model.folding import is_computed
from onnxprune.model.graph import Graph, Node
from onnxprune.model.plain import copyable, owned, settable, shape_of
from onnxprune.model.rounded import exact, rounded
from onnxprune.trace.ops.recurrent import GATES

Array = NDArray[Any]
Positions = NDArray[np.int64]
RECURRENT = frozenset(GATES)
SAME = frozenset({"SAME_UPPER", "SAME_LOWER"})


@dataclass(frozen=True)
class Linear:
    """A layer that can be refitted. `weight` is its initializer's key; `bias` too, or None.

    kernel, strides, pads (begin, end per axis), dilations: of a convolution, empty for a product.
    `implied`: the product is a part of what the node does (a recurrent layer's input): `y` is no value of its own.
    `own_bias`: no other layer reads the bias.
    `same`: SAME_UPPER or SAME_LOWER, where pads depend on the size of the input.
    `transposed`: the weight matrix is (outputs, features). `spread`: of a transposed convolution, how far apart its
    inputs are (what the file calls strides), else empty.
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
    groups: int = 1
    spread: tuple[int, ...] = ()
    same: str = ""
    own_bias: bool = True
    implied: bool = False

    @property
    def taps(self) -> int:
        """Features per input channel."""
        return math.prod(self.kernel)

    def matrix(self, weight: Array, dtype: Any = np.float64) -> Array:
        """(features, outputs), or (groups, features, outputs), of the element type `dtype`."""
        whole = self._turned(weight) if self.spread else weight
        if self.implied:  # of all directions
            whole = whole.reshape(-1, whole.shape[-1])
        flat = whole.astype(dtype).reshape(whole.shape[0], -1)
        if self.groups > 1:
            flat = flat.reshape(self.groups, -1, flat.shape[1]).swapaxes(1, 2)
        elif self.transposed:
            flat = flat.T
        return flat if self.alpha == 1.0 else flat * flat.dtype.type(self.alpha)

    def unmatrix(self, matrix: Array, shape: tuple[int, ...]) -> Array:
        """The inverse of `matrix`, in the layout of the file."""
        flat = matrix if self.alpha == 1.0 else matrix / matrix.dtype.type(self.alpha)
        flat = flat.swapaxes(-1, -2) if self.transposed else flat
        if not self.spread:
            return flat.reshape(shape)
        inputs, outputs, *kernel = shape  # outputs and inputs of a group change places, and then back
        return self._turned(flat.reshape(self.groups * outputs, inputs // self.groups, *kernel))

    def _turned(self, weight: Array) -> Array:
        """(inputs, outputs of a group, ...) as (outputs, inputs of a group, ...), or back: the kernel turned around."""
        blocks = weight.reshape(self.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
        turned = blocks.reshape(-1, *blocks.shape[2:])
        return np.flip(turned, tuple(range(2, turned.ndim)))

    def stacked(self, rows: Array) -> Array:
        """(positions, n) as (groups, positions, n / groups); as it is without groups."""
        if self.groups == 1:
            return rows
        return np.asarray(rows.reshape(len(rows), self.groups, -1).swapaxes(0, 1))


def linear_layer(graph: Graph, node: Node, *, shared_bias: bool = False, implied: bool = False) -> Linear | None:
    """The linear view of a node, or None: products of activations have none, nor what a layer makes of constants.

    `shared_bias`: the bias may be one that others read, too, if it can be copied. `implied`: recurrent layers count,
    as what they make of their input in every step: X W'.
    """
    if node.domain or len(node.inputs) < 2 or not settable(graph, node.inputs[1]):
        return None
    if is_computed(graph, node.inputs[0]):
        return None
    shape = shape_of(graph, node.inputs[1])
    if node.op_type in RECURRENT:
        product = Linear(node.index, node.inputs[0], "", node.inputs[1], None, True, implied=True)
        return product if implied and len(shape) == 3 else None
    bias = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] else None
    if bias is not None and not settable(graph, bias) and not (shared_bias and copyable(graph, bias)):
        return None
    own = bias is None or owned(graph, bias)
    layer = Linear(node.index, node.inputs[0], node.outputs[0], node.inputs[1], bias, False, own_bias=own)
    if node.op_type == "Conv":
        return _convolution(node, layer, shape)
    if node.op_type == "ConvTranspose":
        return _transposed(node, layer, shape)
    if node.op_type == "Gemm" and not node.attribute("transA", 0) and node.attribute("beta", 1.0) == 1.0:
        transposed = bool(node.attribute("transB", 0))
        if bias is not None and math.prod(shape_of(graph, bias)) != shape[0 if transposed else 1]:
            return None
        return replace(layer, transposed=transposed, alpha=float(node.attribute("alpha", 1.0)))
    return layer if node.op_type == "MatMul" and len(shape) == 2 else None


def _convolution(node: Node, layer: Linear, shape: tuple[int, ...]) -> Linear:
    rank = len(shape) - 2
    auto = node.attribute("auto_pad", "NOTSET")
    pads = (node.attribute("pads") if auto == "NOTSET" else None) or [0] * (2 * rank)
    return replace(
        layer,
        transposed=True,
        kernel=tuple(shape[2:]),
        strides=tuple(node.attribute("strides") or [1] * rank),
        pads=tuple((int(pads[a]), int(pads[a + rank])) for a in range(rank)),
        dilations=tuple(node.attribute("dilations") or [1] * rank),
        groups=int(node.attribute("group", 1)),
        same=auto if auto in SAME else "",
    )


def _transposed(node: Node, layer: Linear, shape: tuple[int, ...]) -> Linear | None:
    """Padding p of the output takes away what a convolution over a border of (k - 1) d zeros would add."""
    if node.attribute("output_shape") is not None:
        return None
    plain = _convolution(node, layer, shape)
    if plain.same:  # what the output loses depends on its size
        return None
    extra = node.attribute("output_padding") or [0] * len(plain.kernel)
    reach = [(k - 1) * d for k, d in zip(plain.kernel, plain.dilations, strict=True)]
    pads = tuple((r - p, r - q + int(e)) for r, (p, q), e in zip(reach, plain.pads, extra, strict=True))
    return replace(plain, strides=(1,) * len(reach), pads=pads, spread=plain.strides)


def output_rows(layer: Linear, y: Array) -> Array:
    """(positions, outputs) view of an output (or of anything of its shape)."""
    moved = np.moveaxis(y, 1, -1) if layer.kernel else y
    return moved.reshape(-1, moved.shape[-1])


def input_rows(layer: Linear, x: Array, picked: Positions) -> Array:
    """(len(picked), features): the inputs of the output positions `picked`, of all groups side by side."""
    if not layer.kernel:
        return x.reshape(-1, x.shape[-1])[picked]
    padded = _padded(layer, x)
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


def _padded(layer: Linear, x: Array) -> Array:
    """x with zeros between its values, and around them; a negative border is cut off."""
    whole = (slice(None), slice(None))
    if layer.spread:
        sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], layer.spread, strict=True)]
        wide = np.zeros((*x.shape[:2], *sizes), x.dtype)
        wide[whole + tuple(slice(None, None, s) for s in layer.spread)] = x
        x = wide
    pads = _same_pads(layer, x.shape[2:]) if layer.same else layer.pads
    x = np.pad(x, [(0, 0), (0, 0), *((max(a, 0), max(b, 0)) for a, b in pads)])
    cut = (slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape[2:], pads, strict=True))
    return x[whole + tuple(cut)]


def _same_pads(layer: Linear, sizes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(begin, end) per axis: as much as ceil(size / stride) windows need; the odd one is at the end (SAME_UPPER)."""
    result = []
    for size, kernel, stride, dilation in zip(sizes, layer.kernel, layer.strides, layer.dilations, strict=True):
        missing = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        small, large = missing // 2, missing - missing // 2
        result.append((small, large) if layer.same == "SAME_UPPER" else (large, small))
    return tuple(result)


def positions(layer: Linear, y: Array) -> tuple[int, ...]:
    """The sizes of an output without its channels."""
    return (y.shape[0], *y.shape[2:]) if layer.kernel else y.shape[:-1]


def positions_of(layer: Linear, y: Array) -> int:
    """Number of output positions of a batch."""
    return math.prod(positions(layer, y))


def output_sizes(layer: Linear, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The `positions` of the output for an input of this shape."""
    if not layer.kernel:
        return shape[:-1]
    sizes = shape[2:]
    if layer.spread:
        sizes = tuple((n - 1) * s + 1 for n, s in zip(sizes, layer.spread, strict=True))
    pads = _same_pads(layer, sizes) if layer.same else layer.pads
    spans = [(k - 1) * d + 1 for k, d in zip(layer.kernel, layer.dilations, strict=True)]
    padded = (n + a + b for n, (a, b) in zip(sizes, pads, strict=True))
    return (shape[0], *((n - k) // s + 1 for n, k, s in zip(padded, spans, layer.strides, strict=True)))


def residual_partner(graph: Graph, key: str) -> tuple[str, str] | None:
    """(sum, other operand) if one Add alone reads `key`, rounded or not, and a value that is computed before it."""
    read = rounded(graph, key)
    readers = graph.consumers.get(read, [])
    if len(readers) != 1 or {key, read} & {o.name for o in graph.model.proto.graph.output}:
        return None
    node = graph.nodes[readers[0][0]]
    if node.op_type != "Add" or node.scope != 0:
        return None
    other = node.inputs[1 - readers[0][1]]
    late = graph.producer.get(exact(graph, other), -1) > graph.producer.get(key, -1)
    return None if other in graph.constants or other == read or late else (node.outputs[0], other)

"""Layers whose weights can be sparse: those of `masking`, and integer layers, which have masks by magnitude alone.

The operators for integers read four input channels at once. So a pattern of R rows by one column is R x 4 for them, at
most 4 x 4; what was asked as single weights or N:M stays that, and is stored in blocks of 1 x 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import ModelError
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.plain import hoisted
from onnxprune.native.marks import DOMAIN
from onnxprune.results.units import plural
from onnxprune.sparse.layers import Declined
from onnxprune.sparse.masks import Mask
from onnxprune.sparse.patterns import Pattern
from onnxprune.sparse.quantized import quantized_weight, read_quantized
from onnxprune.sparsifying.masks import Candidate, candidates
from onnxprune.sparsifying.masks.layers import LAYERS
from onnxprune.sparsifying.masks.layout import Layout, kept
from onnxprune.sparsifying.masks.view import View

_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
Bools = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class IntegerLayer:
    """A layer with an int8 weight of `shape`, `scale` one number per output (n,), and the value it gives; or the reason
    why it stays dense. `key`: what the layer reads of the weight as numbers, if DequantizeLinear makes such of it."""

    node: str
    weight: str
    shape: tuple[int, ...]
    transposed: bool = False
    scale: NDArray[np.float32] | None = None
    output: str = ""
    reason: str | None = None
    key: str = ""

    def layout(self, pattern: Pattern) -> Layout:
        count, channels, *kernel = self.shape[::-1] if self.transposed else self.shape
        return Layout(pattern, count, channels, int(np.prod(kernel, dtype=np.int64)))

    def rows(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """(n, k) of the shape in the file, in the order of the layout."""
        first = array.T if self.transposed else array
        return np.moveaxis(first.reshape(*first.shape[:2], -1), 1, 2).reshape(len(first), -1)

    def in_file(self, rows: Bools) -> Bools:
        """The inverse of `rows`."""
        count, channels, *kernel = self.shape[::-1] if self.transposed else self.shape
        first = np.moveaxis(rows.reshape(count, -1, channels), 1, 2).reshape(count, channels, *kernel)
        return np.ascontiguousarray(first.T if self.transposed else first)


Layer = Candidate | IntegerLayer


def integer_layers(model: Model) -> list[IntegerLayer]:
    """In order, those that no operator stands for with the reason."""
    graph = build(model)
    found = []
    for node in graph.nodes:
        name = quantized_weight(graph, node)
        constant = graph.constants.get(name)
        if constant is None or len(constant.shape) < 2:
            continue
        key = "" if name in node.inputs else node.inputs[1]
        try:
            layer = read_quantized(graph, node)
            reason = "its weight is read by another node, too" if len(graph.consumers[name]) > 1 else None
            output = layer.nodes[-1].outputs[0]
            what = node.label, name, constant.shape, layer.transposed, layer.scale, output, reason, key
            found.append(IntegerLayer(*what))
        except Declined as declined:
            found.append(IntegerLayer(node.label, name, constant.shape, reason=str(declined), key=key))
    return found


def layers_of(model: Model) -> dict[str, Layer]:
    """By weight, all that have one."""
    found: list[Layer] = [*candidates(model), *integer_layers(hoisted(model, integers=False))]
    return {layer.weight: layer for layer in found}


def check_finite(model: Model, layers: Sequence[Layer]) -> None:
    """Raise ModelError for a layer with a weight by which nothing can be ranked or compared."""
    tensors = hoisted(model, integers=False).tensors
    for layer in layers:
        array = tensors[layer.weight].array()
        bad = 0 if array.dtype.kind in "iu" else int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            raise ModelError(
                f"the weight {layer.weight!r} of {layer.node!r} holds NaN or infinity: {bad} of {array.size} numbers",
                hint=f"Export the model again, or leave this layer as it is: --exclude {layer.node!r}.",
            )


def unseen(model: Model) -> tuple[str, ...]:
    """What has weights, and is no layer here: it would else stay dense without a word."""
    graph = build(hoisted(model, integers=False))
    ours = sum(node.domain == DOMAIN and node.op_type.startswith("Sparse") for node in graph.nodes)
    recurrent = sum(not node.domain and node.op_type in _RECURRENT for node in graph.nodes)
    left = sum(
        not node.domain and node.op_type == "MatMul" and node.inputs[0] in graph.constants for node in graph.nodes
    )
    inside = [f.name for f in model.proto.functions if f.domain != DOMAIN and any(n.op_type in LAYERS for n in f.node)]
    stored = len(model.proto.graph.sparse_initializer)
    texts = (
        (
            stored,
            f"{plural(stored, 'sparse initializer')} of the file as before: to change those, start from the original",
        ),
        (ours, f"{plural(ours, 'sparse operator')} of the file as before: to change those, start from the original"),
        (recurrent, f"dense as before: {plural(recurrent, 'recurrent layer')}, of which there are no sparse ones"),
        (left, f"dense as before: {plural(left, 'MatMul')} with the weight as left operand"),
        (
            len(inside),
            f"dense as before: layers inside functions ({', '.join(inside[:3])}); onnx.inliner brings them out",
        ),
    )
    return tuple(text for count, text in texts if count)


def parts(layer: Layer, pattern: Pattern, mask: Bools) -> tuple[Layout, list[Bools]]:
    """The layout of a layer, and a mask in the shape of the file as (n, k), one for each group."""
    if isinstance(layer, IntegerLayer):
        return layer.layout(pattern), [layer.rows(mask) != 0]
    assert layer.linear is not None
    view = View.of(layer.linear, layer.shape, pattern)
    return view.layout, view.to_rows(mask)


def integer_masks(
    model: Model, layers: Sequence[IntegerLayer], patterns: Mapping[str, Pattern], share: float, *, lock: bool
) -> dict[str, Mask]:
    """Masks by magnitude: of all weights of a layer the smallest, times their scale, leave. `patterns`: by weight,
    of the layers that get one.
    """
    found = {}
    for layer in layers:
        if layer.reason is not None or layer.weight not in patterns or layer.scale is None:
            continue
        pattern = patterns[layer.weight]
        weight = layer.rows(model.tensors[layer.weight].array()).astype(np.float64)
        scores: FloatArray = np.abs(weight) * layer.scale[:, None]
        allowed = weight != 0 if lock else np.ones(weight.shape, bool)
        keep = kept(layer.layout(pattern), scores, pattern.share or share, allowed)
        found[layer.weight] = Mask(layer.in_file(keep), pattern)
    return found

"""What selection and repair both do with a linear layer: read it, match it with the original, write it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.features import Array, Linear, output_sizes, positions, residual_partner
from onnxprune.capture.moments import Moments, Split, accumulate
from onnxprune.capture.rows import NO_ROWS, OTHER_ROWS, Unmatched, differences
from onnxprune.capture.walker import Walker
from onnxprune.model.graph import Graph
from onnxprune.model.tensors import LazyTensor

FloatArray = NDArray[np.float64]


def with_bias(layer: Linear, tensors: Mapping[str, LazyTensor]) -> FloatArray:
    """The layer as `joined`, from what `tensors` hold."""
    return joined(layer, tensors[layer.weight].array(), None if layer.bias is None else tensors[layer.bias].array())


def joined(layer: Linear, weight: Array, bias: Array | None) -> FloatArray:
    """(d + 1, o), or a stack of these: the weight as a matrix, and the bias (or zeros) as its last row."""
    matrix = layer.matrix(weight)
    row = np.zeros((*matrix.shape[:-2], 1, matrix.shape[-1]))
    if bias is not None:
        row += bias.astype(np.float64).reshape(row.shape)
    return np.concatenate([matrix, row], axis=-2)


def write(layer: Linear, solution: FloatArray, walker: Walker, *, bias: bool) -> None:
    """Give the layer the weights of `solution` (..., d + 1, o), with `bias` its last row too, in the file's types."""
    old = walker.tensors[layer.weight].array()
    walker.replace(layer.weight, layer.unmatrix(solution[..., :-1, :], old.shape).astype(old.dtype))
    if bias and layer.bias is not None:
        old = walker.tensors[layer.bias].array()
        walker.replace(layer.bias, solution[..., -1, :].reshape(old.shape).astype(old.dtype))


def products(layer: Linear, xs: list[Array], weight: Array) -> list[Array]:
    """What an implied product gives: (..., d) by the weight."""
    matrix = layer.matrix(weight, np.float32)
    return [np.asarray(x, np.float32) @ matrix for x in xs]


@np.errstate(over="ignore", invalid="ignore")  # `Moments.require_finite` tells
def matched(
    graph: Graph,
    layer: Linear,
    original: Walker,
    current: Walker,
    held_out: int,
    seed: int,
    kept: Callable[[str, Array], Array] = lambda key, value: value,
    *,
    keep_rows: bool = False,
) -> Split:
    """Moments of the layer's inputs in `current` against what `original` gives there.

    Where the output meets another value in an Add, the target is the original sum minus that value as it is now.
    `kept` gives the part of an original value that `current` has (for a product that is implied, by the key of the
    weight). Both walkers forget what nobody reads any more. Raises Unmatched where rows do not correspond, or where
    there are none to fit or none to judge by.
    """
    try:
        split = _matched(graph, layer, original, current, held_out, seed, kept, keep_rows)
    finally:
        original.drop_dead()
        current.drop_dead()
    if not split.fit.positions or (held_out and not split.held_out.positions):
        raise Unmatched(NO_ROWS)
    return split


def _matched(
    graph: Graph,
    layer: Linear,
    original: Walker,
    current: Walker,
    held_out: int,
    seed: int,
    kept: Callable[[str, Array], Array],
    keep_rows: bool,
) -> Split:
    if layer.implied:
        original.reach([layer.x])
        current.reach([layer.x])
        whole = original.tensors[layer.weight].array()
        targets = [kept(layer.weight, value) for value in products(layer, original.values(layer.x), whole)]
        xs = current.values(layer.x)
        require_rows(layer, xs, targets)
        return accumulate(layer, xs, targets, held_out, seed, keep_rows=keep_rows)
    partner = residual_partner(graph, layer.y)
    goal = partner[0] if partner else layer.y
    original.reach([goal])
    current.reach([layer.x, *([partner[1]] if partner else [])])
    targets = [kept(goal, value) for value in original.values(goal)]
    shifts = current.values(partner[1]) if partner else None
    if shifts is not None:
        targets = differences(targets, shifts)
    xs = current.values(layer.x)
    require_rows(layer, xs, targets)
    return accumulate(layer, xs, targets, held_out, seed, shifts=shifts, keep_rows=keep_rows)


def require_rows(layer: Linear, xs: list[Array], targets: list[Array]) -> None:
    """Raises Unmatched unless every batch has as many positions in the layer's inputs as in what it should give."""
    if any(output_sizes(layer, x.shape) != positions(layer, t) for x, t in zip(xs, targets, strict=True)):
        raise Unmatched(OTHER_ROWS)


def by_weights(layer: Linear, tensors: Mapping[str, LazyTensor]) -> Split:
    """Moments as if all inputs were independent and alike: errors are those of the weights themselves."""
    weight = with_bias(layer, tensors)
    moments = Moments.zero(weight.shape[-2] - 1, weight.shape[-1], layer.groups)
    moments.gram += np.eye(weight.shape[-2])
    moments.cross += weight
    moments.target += (weight**2).sum(axis=-2)
    moments.positions = 1
    return Split(moments, moments)

"""Integer arithmetic on shapes, evaluated with numpy: what `Shape -> Gather -> Mul -> Concat` comes to.

`evaluate` knows the operators that exporters build shapes from. It returns None for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.model.graph import Node

Array = NDArray[Any]
Evaluator = Callable[[Node, Sequence[Array]], "Array | list[Array]"]
MAX_ELEMENTS = 4096


def evaluate(node: Node, inputs: Sequence[Array | None], opset: int) -> list[Array] | None:
    """The node's outputs from known inputs (absent optional inputs are None), or None if it is not understood."""
    if node.domain or node.op_type not in _EVALUATORS:
        return None
    try:
        with np.errstate(all="ignore"):
            if node.op_type in _AXES_BY_OPSET:
                result: Array | list[Array] = _AXES_BY_OPSET[node.op_type](node, inputs, opset)
            else:
                result = _EVALUATORS[node.op_type](node, [i for i in inputs if i is not None])
    except (ValueError, IndexError, TypeError, ZeroDivisionError, KeyError, OverflowError, MemoryError):
        return None
    values = result if isinstance(result, list) else [np.asarray(result)]
    return values if all(v.size <= MAX_ELEMENTS for v in values) else None


def _divide(node: Node, v: Sequence[Array]) -> Array:
    if np.issubdtype(v[0].dtype, np.integer):
        quotient: Array = np.trunc(np.true_divide(v[0], v[1])).astype(v[0].dtype)
        return quotient
    return np.asarray(v[0] / v[1])


def _mod(node: Node, v: Sequence[Array]) -> Array:
    return np.asarray(np.fmod(v[0], v[1]) if node.attribute("fmod", 0) else np.mod(v[0], v[1]))


def _cast(node: Node, v: Sequence[Array]) -> Array:
    return v[0].astype(onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to")))


def _slice(node: Node, inputs: Sequence[Array | None], opset: int) -> Array:
    data = inputs[0]
    assert data is not None
    if opset < 10:
        starts, ends = node.attribute("starts"), node.attribute("ends")
        axes, steps = node.attribute("axes") or list(range(len(starts))), [1] * len(starts)
    else:
        rest = [None if i is None else i.tolist() for i in inputs[1:]] + [None] * 4
        starts, ends = rest[0] or [], rest[1] or []
        axes = rest[2] if rest[2] is not None else list(range(len(starts)))
        steps = rest[3] if rest[3] is not None else [1] * len(starts)
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice_of(start, end, step, data.shape[axis])
    return data[tuple(index)]


def slice_of(start: int, end: int, step: int, size: int) -> slice:
    """ONNX Slice bounds on an axis of `size` as a Python slice (clamped; negative steps may run to the front)."""
    if step > 0:
        start = min(max(start + size if start < 0 else start, 0), size)
        end = min(max(end + size if end < 0 else end, 0), size)
        return slice(start, end, step)
    start = min(max(start + size if start < 0 else start, 0), size - 1)
    end = min(max(end + size if end < 0 else end, -1), size - 1)
    return slice(start, None if end < 0 else end, step)


def _axes(node: Node, inputs: Sequence[Array | None]) -> list[int] | None:
    if len(inputs) > 1 and inputs[1] is not None:
        return [int(a) for a in np.ravel(inputs[1])]
    found: list[int] | None = node.attribute("axes")
    return found


def _squeeze(node: Node, inputs: Sequence[Array | None], opset: int) -> Array:
    axes = _axes(node, inputs)
    assert inputs[0] is not None
    return np.squeeze(inputs[0], None if axes is None else tuple(axes))


def _unsqueeze(node: Node, inputs: Sequence[Array | None], opset: int) -> Array:
    axes, data = _axes(node, inputs), inputs[0]
    assert axes is not None and data is not None
    rank = data.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        data = np.expand_dims(data, axis)
    return data


def _reduce(function: Callable[..., Any]) -> Callable[[Node, Sequence[Array | None], int], Array]:
    def run(node: Node, inputs: Sequence[Array | None], opset: int) -> Array:
        axes, data = _axes(node, inputs), inputs[0]
        assert data is not None
        if not axes and node.attribute("noop_with_empty_axes", 0):
            return data
        keep = bool(node.attribute("keepdims", 1))
        return np.asarray(function(data, axis=tuple(axes) if axes else None, keepdims=keep)).astype(data.dtype)

    return run


def _split(node: Node, inputs: Sequence[Array | None], opset: int) -> list[Array]:
    data = inputs[0]
    assert data is not None
    axis = node.attribute("axis", 0)
    sizes = inputs[1].tolist() if len(inputs) > 1 and inputs[1] is not None else node.attribute("split")
    if not sizes:
        parts = len(node.outputs)
        chunk = -(-data.shape[axis] // parts)
        sizes = [min(chunk, data.shape[axis] - chunk * k) for k in range(parts)]
    return list(np.split(data, np.cumsum(sizes)[:-1], axis))


def _reshape(node: Node, v: Sequence[Array]) -> Array:
    zero = bool(node.attribute("allowzero", 0))
    shape = [v[0].shape[i] if d == 0 and not zero else int(d) for i, d in enumerate(v[1])]
    return v[0].reshape(shape)


def _constant_of_shape(node: Node, v: Sequence[Array]) -> Array:
    fill = node.attribute("value")
    value = onnx.numpy_helper.to_array(fill).ravel()[0] if fill is not None else np.float32(0)
    shape = [int(d) for d in v[0]]
    if np.prod(shape, dtype=np.float64) > MAX_ELEMENTS:
        raise ValueError("too large")
    return np.full(shape, value)


def _range(node: Node, v: Sequence[Array]) -> Array:
    start, limit, delta = (x.item() for x in v)
    if (limit - start) / delta > MAX_ELEMENTS:
        raise ValueError("too large")
    return np.arange(start, limit, delta, dtype=v[0].dtype)


def _tile(node: Node, v: Sequence[Array]) -> Array:
    if v[0].size * np.prod(np.maximum(v[1], 0), dtype=np.float64) > MAX_ELEMENTS:
        raise ValueError("too large to be a size")
    return np.tile(v[0], v[1])


def _expand(node: Node, v: Sequence[Array]) -> Array:
    shape = np.broadcast_shapes(v[0].shape, tuple(int(d) for d in v[1]))
    if np.prod(shape, dtype=np.float64) > MAX_ELEMENTS:
        raise ValueError("too large")
    return np.broadcast_to(v[0], shape)


def _elementwise(function: Callable[..., Any]) -> Evaluator:
    return lambda node, v: np.asarray(function(*v))


def _fold(function: Callable[[Any, Any], Any]) -> Evaluator:
    def run(node: Node, v: Sequence[Array]) -> Array:
        result = v[0]
        for other in v[1:]:
            result = function(result, other)
        return np.asarray(result)

    return run


_AXES_BY_OPSET: dict[str, Callable[[Node, Sequence[Array | None], int], Array | list[Array]]] = {
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Split": _split,
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}

_EVALUATORS: dict[str, Any] = {
    **_AXES_BY_OPSET,
    "Gather": lambda node, v: np.take(v[0], v[1].astype(np.int64), axis=node.attribute("axis", 0)),
    "Concat": lambda node, v: np.concatenate(v, axis=node.attribute("axis", 0)),
    "Identity": lambda node, v: v[0],
    "Cast": _cast,
    "Add": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "Div": _divide,
    "Mod": _mod,
    "Neg": _elementwise(np.negative),
    "Abs": _elementwise(np.abs),
    "Floor": _elementwise(np.floor),
    "Ceil": _elementwise(np.ceil),
    "Round": _elementwise(np.round),
    "Sqrt": _elementwise(np.sqrt),
    "Reciprocal": _elementwise(np.reciprocal),
    "Pow": lambda node, v: np.power(v[0], v[1]).astype(v[0].dtype),
    "Min": _fold(np.minimum),
    "Max": _fold(np.maximum),
    "Equal": _elementwise(np.equal),
    "Less": _elementwise(np.less),
    "LessOrEqual": _elementwise(np.less_equal),
    "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal),
    "Not": _elementwise(np.logical_not),
    "And": _elementwise(np.logical_and),
    "Or": _elementwise(np.logical_or),
    "Where": _elementwise(np.where),
    "Reshape": _reshape,
    "Transpose": lambda node, v: np.transpose(v[0], node.attribute("perm")),
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Expand": _expand,
    "Tile": _tile,
    "Flatten": lambda node, v: v[0].reshape(int(np.prod(v[0].shape[: node.attribute("axis", 1)])), -1),
}

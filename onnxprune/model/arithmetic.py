"""The arithmetic on shapes as part of inference: what is known of a value, and which shapes follow from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.model.facts import Facts, Shape, complete
from onnxprune.model.graph import Constant, Graph, Node
from onnxprune.model.partial import Partial, evaluate_partial
from onnxprune.model.values import MAX_ELEMENTS, slice_of

LISTED = 16
"""Elements that a list of sizes has at most."""
INTEGERS = frozenset({TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL})


def value_of(graph: Graph, facts: Facts, key: str) -> NDArray[Any] | None:
    """The known value of `key`: derived, or a small constant of the file; None otherwise."""
    if key in facts.values:
        return facts.values[key]
    constant = graph.constants.get(key)
    if constant is not None and constant.size <= MAX_ELEMENTS and _plain(constant):
        return constant.array()
    return None


def partial_of(graph: Graph, facts: Facts, key: str) -> Partial | None:
    """What is known of `key`; None if it is neither a constant nor derived from shapes."""
    if key in facts.partial:
        return facts.partial[key]
    value = value_of(graph, facts, key)
    return None if value is None else Partial.of(value)


def _plain(constant: Constant) -> bool:
    return constant.dtype in INTEGERS or (
        constant.dtype in (TensorProto.FLOAT, TensorProto.DOUBLE) and constant.size <= 64
    )


def evaluated(
    graph: Graph, facts: Facts, node: Node, inputs: Sequence[Partial | None], opset: int
) -> list[Partial] | None:
    if node.domain:
        return None
    if node.op_type in ("Shape", "Size"):
        shape = facts.shapes.get(node.inputs[0]) if node.inputs else None
        return None if shape is None else [_measured(node, shape)]
    completed = completed_inputs(graph, facts, node, inputs)
    return None if completed is None else evaluate_partial(node, completed, opset)


def _measured(node: Node, shape: Shape) -> Partial:
    """What Shape or Size give."""
    dims = Partial(np.array([1 if d is None else d for d in shape], np.int64), np.array([d is not None for d in shape]))
    if node.op_type == "Size":
        return Partial(np.array(np.prod(dims.value), np.int64), np.array(bool(dims.known.all())))
    part = slice(node.attribute("start", 0), node.attribute("end"))
    return Partial(dims.value[part], dims.known[part].astype(bool))


def completed_inputs(
    graph: Graph, facts: Facts, node: Node, inputs: Sequence[Partial | None]
) -> list[Partial | None] | None:
    """The inputs, with unknown ones for what lists of numbers beside sizes hold (lengths that come from the data);
    None if there are others, or nothing that is derived from a shape.
    """
    result: list[Partial | None] = []
    for key, part in zip(node.inputs, inputs, strict=True):
        shape, dtype = facts.shapes.get(key), facts.dtypes.get(key)
        if not key or part is not None:
            result.append(part)
        elif not complete(shape) or dtype not in INTEGERS or not _is_list(shape or ()):
            return None
        else:
            sizes = [int(size or 0) for size in shape or ()]
            result.append(Partial.unknown(sizes, onnx.helper.tensor_dtype_to_np_dtype(dtype)))
    derived = any(
        part is not None and key not in graph.constants for key, part in zip(node.inputs, inputs, strict=True)
    )
    return (
        result
        if derived or all(not key or part is not None for key, part in zip(node.inputs, inputs, strict=True))
        else None
    )


def _is_list(shape: Shape) -> bool:
    return len(shape) <= 1 and all(size is not None and size <= LISTED for size in shape)


def shape_from_parts(facts: Facts, node: Node, inputs: Sequence[Partial | None], opset: int) -> None:
    """The shape of what is made by sizes that are known in part, where onnx gives up on all of it."""
    output = node.outputs[0] if node.outputs else ""
    if not output or node.domain or node.op_type not in _BY_PARTS or complete(facts.shapes.get(output)):
        return
    data = facts.shapes.get(node.inputs[0])
    sizes = _BY_PARTS[node.op_type](node, data, [_list_of(part) for part in inputs], opset)
    if sizes is None:
        return
    before = facts.shapes.get(output)
    if before is not None and len(before) == len(sizes):
        sizes = [size if known is None else known for size, known in zip(sizes, before, strict=True)]
    facts.shapes[output] = tuple(sizes)
    if node.op_type != "ConstantOfShape" and node.inputs[0] in facts.dtypes:
        facts.dtypes.setdefault(output, facts.dtypes[node.inputs[0]])


Sizes = list["int | None"]


def _list_of(part: Partial | None) -> Sizes | None:
    return None if part is None or part.value.ndim != 1 or part.value.dtype.kind != "i" else part.elements()


def _filled(node: Node, data: Shape | None, lists: Sequence[Sizes | None], opset: int) -> Sizes | None:
    return lists[0]


def _expanded(node: Node, data: Shape | None, lists: Sequence[Sizes | None], opset: int) -> Sizes | None:
    target = lists[1]
    if data is None or target is None:
        return None
    rank = max(len(data), len(target))
    pairs = zip([1] * (rank - len(data)) + list(data), [1] * (rank - len(target)) + target, strict=True)
    return [wanted if have == 1 or (have is None and wanted != 1) else have for have, wanted in pairs]


def _reshape(node: Node, data: Shape | None, lists: Sequence[Sizes | None], opset: int) -> Sizes | None:
    target = lists[1] if len(lists) > 1 else None
    return None if target is None else _reshaped(data, target, zero_copies=not node.attribute("allowzero", 0))


def _sliced(node: Node, data: Shape | None, lists: Sequence[Sizes | None], opset: int) -> Sizes | None:
    """Axes that are not sliced keep their sizes; those with known bounds get theirs."""
    if data is None or opset < 10:
        return None
    starts, ends, axes, steps = ([*lists[1:], None, None])[:4]
    count = len(axes if axes is not None else starts if starts is not None else ends if ends is not None else ())
    if (len(node.inputs) > 3 and node.inputs[3] and axes is None) or count == 0 or None in (axes or ()):
        return None
    sizes = list(data)
    if steps is None:
        steps = [None if len(node.inputs) > 4 and node.inputs[4] else 1] * count
    for position, axis in enumerate(axes if axes is not None else range(count)):
        start, end, step = (None if found is None else found[position] for found in (starts, ends, steps))
        size, place = sizes[int(axis or 0)], int(axis or 0)
        if start is None or end is None or not step or size is None:
            sizes[place] = None
        else:
            sizes[place] = len(range(size)[slice_of(start, end, step, size)])
    return sizes


def _padded(node: Node, data: Shape | None, lists: Sequence[Sizes | None], opset: int) -> Sizes | None:
    pads = lists[1] if len(lists) > 1 else None
    if data is None or pads is None or len(pads) != 2 * len(data) or len(lists) > 3:
        return None
    ends = zip(data, pads[: len(data)], pads[len(data) :], strict=True)
    return [None if None in (size, a, b) else int(size or 0) + int(a or 0) + int(b or 0) for size, a, b in ends]


_BY_PARTS: dict[str, Callable[[Node, Shape | None, Sequence[Sizes | None], int], Sizes | None]] = {
    "ConstantOfShape": _filled,
    "Expand": _expanded,
    "Reshape": _reshape,
    "Slice": _sliced,
    "Pad": _padded,
}


def _reshaped(data: Shape | None, target: Sequence[int | None], *, zero_copies: bool) -> list[int | None]:
    """The sizes that a Reshape gives: 0 copies one, -1 is what remains."""
    sizes: list[int | None] = []
    for axis, size in enumerate(target):
        copied = size == 0 and zero_copies
        sizes.append((data[axis] if data is not None and axis < len(data) else None) if copied else size)
    if -1 in sizes:
        others = [size for size in sizes if size != -1]
        count = None if data is None or None in data or None in others else int(np.prod([int(d or 0) for d in data]))
        rest = int(np.prod([int(size or 0) for size in others])) if count is not None else 0
        sizes = [(count // rest if count is not None and rest else None) if size == -1 else size for size in sizes]
    return sizes


def is_value(node: Node, graph: Graph, value: NDArray[Any]) -> bool:
    """Integers are sizes and positions; floats only if they were computed from them (scales), never from weights."""
    if value.dtype.kind in "ib":
        return value.dtype.itemsize != 1 or value.dtype.kind == "b"
    small = value.size == 1 or (value.ndim == 1 and value.size <= 8)
    return small and not all(key in graph.constants for key in node.inputs if key)

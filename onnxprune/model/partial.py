"""Values of which some elements are known: sizes of a tensor one axis of which is known only when the model runs.

Every element is known for itself: one that was moved if it was known where it came from, a sum if both its terms were.
The same dependence tells which elements a cut can change (cut/sizes.py): there `known` means untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.graph import Node
from onnxprune.model.values import evaluate

Array = NDArray[Any]
Bools = NDArray[np.bool_]

MOVES = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose"}
    | {"Unsqueeze"}
)
REDUCES = frozenset({"ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin"})
WHOLE = frozenset({"ConstantOfShape", "Range"})
"""What decides on the shape of its output: all of it has to be known."""
ALL_DATA = frozenset({"Concat"})


@dataclass(frozen=True)
class Partial:
    """`value` holds numbers that mean nothing where `known`, of the same shape, is false."""

    value: Array
    known: Bools

    def __post_init__(self) -> None:
        for name in ("value", "known"):  # numpy gives scalars where arrays of rank 0 were combined
            object.__setattr__(self, name, np.asarray(getattr(self, name)))

    @property
    def whole(self) -> bool:
        return bool(self.known.all())

    @classmethod
    def of(cls, value: Array) -> Partial:
        """A value that is known."""
        return cls(value, np.ones(value.shape, bool))

    @classmethod
    def unknown(cls, shape: Sequence[int], dtype: Any = np.int64) -> Partial:
        return cls(np.ones(tuple(shape), dtype), np.zeros(tuple(shape), bool))

    def elements(self) -> list[Any]:
        """The elements in order, None for those that are not known."""
        pairs = zip(self.value.ravel().tolist(), self.known.ravel().tolist(), strict=True)
        return [value if known else None for value, known in pairs]


def controls(node: Node, count: int) -> list[int]:
    """Input slots that say which elements an output takes: positions, bounds, shapes, axes, conditions."""
    if node.op_type in MOVES | REDUCES and node.op_type not in ALL_DATA:
        return list(range(1, count))
    return list(range(count)) if node.op_type in WHOLE else [0] if node.op_type == "Where" else []


def evaluate_partial(node: Node, inputs: Sequence[Partial | None], opset: int) -> list[Partial] | None:
    """The node's outputs (absent inputs are None), or None if nothing is known of them, not even their shape."""
    control = {slot for slot in controls(node, len(inputs)) if inputs[slot] is not None}
    lenient = {"Gather": {1}, "Where": {0}}.get(node.op_type, set())
    if any(not part.whole for slot in control - lenient if (part := inputs[slot]) is not None):
        return None
    values = evaluate(node, [None if part is None else _safe(node, part) for part in inputs], opset)
    if values is None:
        return None
    if all(part is None or part.whole for part in inputs):
        return [Partial.of(value) for value in values]
    known = _known(node, inputs, opset)
    if known is None or len(known) != len(values):
        return None
    return [
        Partial(value, np.broadcast_to(mask.astype(bool), value.shape))
        for value, mask in zip(values, known, strict=True)
    ]


def _safe(node: Node, part: Partial) -> Array:
    """Numbers that every operator takes where nothing is known: 0 is a position in every axis, 1 divides."""
    if part.whole:
        return part.value
    filler = 0 if node.op_type == "Gather" else 1
    return np.where(part.known, part.value, np.array(filler, part.value.dtype))


def _known(node: Node, inputs: Sequence[Partial | None], opset: int) -> list[Array] | None:
    given = [part for part in inputs if part is not None]
    if node.op_type in WHOLE:
        return None
    if node.op_type == "Where":
        condition, yes, no = given
        chosen: Array = np.where(condition.value.astype(bool), yes.known, no.known)
        return [np.asarray(condition.known & chosen)]
    if node.op_type == "Gather":
        data, positions = given
        moved = evaluate(node, [data.known, _safe(node, positions)], opset)
        if moved is None:
            return None
        axis = node.attribute("axis", 0) % max(data.known.ndim, 1)
        behind = (1,) * (data.known.ndim - axis - 1)
        return [np.asarray(moved[0] & positions.known.reshape((*positions.known.shape, *behind)))]
    if node.op_type in MOVES:
        data_slots = range(len(inputs)) if node.op_type in ALL_DATA else (0,)
        moved_inputs = [
            None if part is None else part.known if slot in data_slots else part.value
            for slot, part in enumerate(inputs)
        ]
        return evaluate(node, moved_inputs, opset)
    if node.op_type in REDUCES:
        first = given[0]
        unknown = [(~first.known).astype(np.int64), *(part.value for part in given[1:])]
        counted = _evaluate_as("ReduceSum", node, unknown, opset)
        return None if counted is None else [np.asarray(part == 0) for part in counted]
    every: Array = np.array(np.broadcast_arrays(*(part.known for part in given)))
    return [np.asarray(every.all(axis=0))]


def _evaluate_as(op_type: str, node: Node, inputs: Sequence[Array], opset: int) -> list[Array] | None:
    """The outputs of an operator of another type with the attributes of `node`."""
    proto = type(node.proto)()
    proto.CopyFrom(node.proto)
    proto.op_type = op_type
    return evaluate(Node(node.index, proto, node.scope, node.inputs, node.outputs), list(inputs), opset)

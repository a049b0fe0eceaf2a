"""Positions that follow from sizes, held against the axes that they index: a table of 20 rows takes no 32 tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxprune.model.facts import Shape
from onnxprune.model.graph import Node
from onnxprune.model.partial import Array, Bools, Partial

_INDICES = 1
_ALONG_AXIS = frozenset({"Gather", "GatherElements", "ScatterElements"})
_TUPLES = frozenset({"GatherND", "ScatterND"})
_EMBEDDED, _POSITION_TABLE, _POSITION_IDS = 0, 3, 8  # slots of EmbedLayerNormalization
_QUERY, _COSINES = 0, 7  # slots of GroupQueryAttention


def outside(node: Node, shapes: Sequence[Shape | None], known: Sequence[Partial | None]) -> bool:
    """Whether a node reads rows that are not there; `shapes` of its inputs, and what is `known` of their values."""
    if node.domain:
        return any(rows is not None and count is not None and count > rows for count, rows in _counted(node, shapes))
    part = known[_INDICES] if len(known) > _INDICES else None
    if part is None or part.value.dtype.kind not in "iu":
        return False
    return any(
        size is not None and bool(((values >= size) | (values < -size))[there].any())
        for values, there, size in _indexed(node, shapes[0], part)
    )


def _indexed(node: Node, data: Shape | None, part: Partial) -> Iterator[tuple[Array, Bools, int | None]]:
    """Positions, which of them are known, and the size of the axis that they index."""
    if data is None:
        return
    if node.op_type in _ALONG_AXIS and data:
        yield part.value, part.known, data[node.attribute("axis", 0)]
    elif node.op_type in _TUPLES and part.value.ndim:
        first = node.attribute("batch_dims", 0)
        for k, size in enumerate(data[first : first + part.value.shape[-1]]):
            yield part.value[..., k], part.known[..., k], size


def _counted(node: Node, shapes: Sequence[Shape | None]) -> Iterator[tuple[int | None, int | None]]:
    """How many rows com.microsoft operators read that count the positions themselves, and how many there are."""
    given = [*shapes, *(None,) * (_POSITION_IDS + 1)]
    if node.op_type == "EmbedLayerNormalization" and given[_POSITION_IDS] is None:
        yield _size(given[_EMBEDDED], 1), _size(given[_POSITION_TABLE], 0)
    elif node.op_type == "GroupQueryAttention" and node.attribute("do_rotary", 0):
        yield _size(given[_QUERY], 1), _size(given[_COSINES], 0)


def _size(shape: Shape | None, axis: int) -> int | None:
    return None if shape is None or len(shape) <= axis else shape[axis]

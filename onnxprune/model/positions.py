"""Positions that follow from sizes, held against the axes that they index: a table of 20 rows takes no 32 tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxprune.model.cached import TOTAL, Cache
from onnxprune.model.facts import Shape
from onnxprune.model.graph import Node
from onnxprune.model.partial import Array, Bools, Partial

_INDICES = 1
_ALONG_AXIS = frozenset({"Gather", "GatherElements", "ScatterElements"})
_TUPLES = frozenset({"GatherND", "ScatterND"})
_IDS, _POSITION_TABLE, _POSITION_IDS = 0, 3, 8  # slots of EmbedLayerNormalization


def outside(node: Node, shapes: Sequence[Shape | None], known: Sequence[Partial | None]) -> bool:
    """Whether a node reads rows that are not there; `shapes` of its inputs, and what is `known` of their values."""
    if node.domain:
        return _embeds_too_many(node, shapes) or _caches_too_many(node, shapes, known)
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


def _embeds_too_many(node: Node, shapes: Sequence[Shape | None]) -> bool:
    """EmbedLayerNormalization, which counts positions itself where it is given none."""
    if node.op_type != "EmbedLayerNormalization" or any(node.inputs[_POSITION_IDS:]):
        return False
    ids, table = shapes[_IDS], shapes[_POSITION_TABLE]
    count, rows = ids[-1] if ids else None, table[0] if table else None
    return count is not None and rows is not None and count > rows


def _caches_too_many(node: Node, shapes: Sequence[Shape | None], known: Sequence[Partial | None]) -> bool:
    """GroupQueryAttention, where it takes no number of tokens, or not the one that follows from sizes."""
    cache = Cache.of(node, shapes)
    if cache is None:
        return False
    total = known[TOTAL]
    if total is not None and total.whole and total.value.size == 1:
        return not cache.takes(int(total.value.ravel()[0]))
    return cache.total is None

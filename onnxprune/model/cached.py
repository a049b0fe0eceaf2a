"""How many tokens GroupQueryAttention takes: those of a call, those kept from before, and both together.

A cache of keys and values either holds what came before, and the tokens of the call are added to it, or it has room for
all of them. With rotary embedding there are rows of cosines for each place, and no more tokens than these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxprune.model.facts import Shape
from onnxprune.model.graph import Node

LAST, TOTAL = 5, 6  # slots: per sample the place of its last token, and the number of all tokens
_QUERY, _PAST, _COSINES = 0, 3, 7


@dataclass(frozen=True)
class Cache:
    """`now`: tokens of the call; `before`: of the cache; `rows`: places with an embedding, None without a limit."""

    now: int
    before: int
    rows: int | None

    @classmethod
    def of(cls, node: Node, shapes: Sequence[Shape | None]) -> Cache | None:
        """For the shapes of the inputs of such a node; None for other operators, and if some are not known."""
        if node.op_type != "GroupQueryAttention" or len(node.inputs) <= TOTAL:
            return None
        now = _size(shapes[_QUERY], 1)
        before = _size(shapes[_PAST], 2) if node.inputs[_PAST] else 0
        if now is None or before is None:
            return None
        rotary = len(node.inputs) > _COSINES and node.attribute("do_rotary", 0)
        return cls(now, before, _size(shapes[_COSINES], 0) if rotary else None)

    def takes(self, total: int) -> bool:
        """Whether the operator takes this number of tokens, all together."""
        held = total == self.now + self.before or self.now <= total <= self.before
        return held and (self.rows is None or total <= self.rows)

    @property
    def total(self) -> int | None:
        """The largest number of tokens that it takes; None if there is none, or no token."""
        room = self.before if self.rows is None else min(self.before, self.rows)
        return next((n for n in (self.now + self.before, room) if n and self.takes(n)), None)


def _size(shape: Shape | None, axis: int) -> int | None:
    return None if shape is None or len(shape) <= axis else shape[axis]

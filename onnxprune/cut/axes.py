"""How much of every axis a choice leaves: axes of the same units are counted once, all of them in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.graph import Node
from onnxprune.model.infer import Shape
from onnxprune.trace.groups import Trace
from onnxprune.trace.ops.atoms import IntArray, Labels


class Axes:
    """Numbers for axes that may shrink, by their units; `counts` says how many units of each stay."""

    def __init__(self) -> None:
        self._units: list[IntArray] = []
        self._numbers: dict[bytes, int] = {}
        self._joined: tuple[IntArray, IntArray] | None = None

    def number(self, units: IntArray) -> int:
        """The number of the axis whose indices are these units (n,), n > 0."""
        key = units.tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self._units)
            self._units.append(units)
            self._joined = None
        return self._numbers[key]

    def counts(self, keep: NDArray[np.bool_]) -> list[int]:
        """How much is left of every axis, by its number. `keep` is (unit_count,)."""
        if not self._units:
            return []
        if self._joined is None:
            lengths = [len(units) for units in self._units]
            self._joined = np.concatenate(self._units), np.cumsum([0, *lengths[:-1]])
        units, starts = self._joined
        found: list[int] = np.add.reduceat(keep[units], starts, dtype=np.int64).tolist()
        return found


class Sizes:
    """Shapes of values after a choice. Axes that shrink together are counted once per choice.

    `shape_of` gives the sizes in the original, None where they are not known.
    """

    def __init__(self, trace: Trace, shape_of: Callable[[str], Shape | None]) -> None:
        self._trace, self._shape_of = trace, shape_of
        self._counted = Axes()

    def value(self, key: str) -> list[int | None] | None:
        """Sizes of the axes; of those that may shrink -1 - their number. None if its shape is unknown."""
        return self._numbered(key, self._trace.state.axes.get(key, []))

    def weight(self, node: Node, slot: int) -> list[int | None] | None:
        """The same for what a node reads."""
        state, key = self._trace.state, node.inputs[slot]
        axes = list(state.uses.get((node.index, slot)) or state.axes.get(key, []))
        block = state.block_axes.get((node.index, slot))
        if block is not None and axes:
            axes[block.axis] = block.labels[0]
        return self._numbered(key, axes)

    def _numbered(self, key: str, axes: Sequence[Labels]) -> list[int | None] | None:
        shape = self._shape_of(key)
        if shape is None or len(axes) != len(shape):
            return None if shape is None else list(shape)
        return [
            size if labels is None or not labels.size else self._number(labels)
            for size, labels in zip(shape, axes, strict=True)
        ]

    def _number(self, labels: IntArray) -> int:
        units = self._trace.table[labels].ravel()
        return -1 - self._counted.number(units) if units.any() else len(units)

    def counts(self, keep: NDArray[np.bool_]) -> list[int]:
        """How much is left of every axis that may shrink."""
        return self._counted.counts(keep)


def known(axes: Sequence[int | None] | None) -> list[int] | None:
    """None unless all sizes are known."""
    found = None if axes is None else [size for size in axes if size is not None]
    return None if axes is None or found is None or len(found) < len(axes) else found


def dims_of(axes: Sequence[int], counts: Sequence[int]) -> tuple[int, ...]:
    """The shape after a choice."""
    return tuple(size if size >= 0 else counts[-1 - size] for size in axes)

"""What a plan would cost, from sizes alone: fast enough to be asked hundreds of times by an allocator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.cut.axes import Sizes
from onnxprune.model.cost import macs_of
from onnxprune.model.graph import Constant, Node
from onnxprune.model.infer import Facts, Shape
from onnxprune.model.tensors import payload_bytes
from onnxprune.trace.branches.vanish import orphans
from onnxprune.trace.groups import Trace
from onnxprune.trace.ops.atoms import Labels

Bools = NDArray[np.bool_]


class PlannedCost:
    """Multiply-accumulates and parameters of the network that keeps some units."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._heavy = [node for node in trace.graph.nodes if macs_of(node, trace.facts)]
        self._sizes = Sizes(trace, trace.facts.sized)
        self._layers = [self._layer(node) for node in self._heavy]
        self._uses = {
            key: next(((i, s) for i, s in trace.graph.consumers.get(key, ()) if (i, s) in trace.state.uses), None)
            for key in trace.graph.constants
        }

    def macs(self, keep: Bools) -> int:
        """Multiply-accumulates; nodes of unknown cost count nothing."""
        counts, gone = self._sizes.counts(keep), self._trace.vanishing(keep)
        return sum(layer.macs(counts) for layer in self._layers if layer.node.index not in gone)

    def parameters(self, keep: Bools) -> int:
        """Elements of all constants; one that several layers share counts once, as its first layer cuts it."""
        stay = sum(constant.size for constant in self._trace.graph.overridable.values())
        return stay + sum(math.prod(shape) for _, shape in self._constants(keep))

    def weight_bytes(self, keep: Bools) -> int:
        """Bytes of their values."""
        stay = sum(payload_bytes(c.dtype, c.shape) for c in self._trace.graph.overridable.values())
        return stay + sum(payload_bytes(constant.dtype, shape) for constant, shape in self._constants(keep))

    def _constants(self, keep: Bools) -> Iterator[tuple[Constant, tuple[int, ...]]]:
        """What stays, and in which shape."""
        gone = self._trace.vanishing(keep)
        left = set(orphans(self._trace.graph, gone)) if gone else set()
        for key, constant in self._trace.graph.constants.items():
            if key in left or constant.node in gone:
                continue
            use = self._uses[key]
            shape = constant.shape if use is None else self._input(*use, key, keep)
            yield constant, tuple(int(size or 0) for size in shape)

    def _layer(self, node: Node) -> _Layer:
        found = {f"i{slot}": self._sizes.weight(node, slot) for slot in range(len(node.inputs))}
        found.update((f"o{k}", self._sizes.value(key)) for k, key in enumerate(node.outputs))
        return _Layer(node, _renamed(node), {name: axes or [] for name, axes in found.items()})

    def _axes(self, key: str) -> list[Labels]:
        return self._trace.state.axes.get(key, [])

    def _input(self, index: int, slot: int, key: str, keep: Bools) -> Shape:
        state, shape = self._trace.state, self._trace.facts.sized(key) or ()
        axes = state.uses.get((index, slot)) or self._axes(key)
        shape = self._shrunk(shape, axes, keep)
        block = state.block_axes.get((index, slot))
        if block is not None:
            kept = int(keep[self._trace.table[block.labels[0]]].sum())
            shape = (*shape[: block.axis], kept, *shape[block.axis + 1 :])
        return shape

    def _shrunk(self, shape: Shape, axes: list[Labels], keep: Bools) -> Shape:
        if len(axes) != len(shape):
            return shape
        return tuple(
            size if labels is None else int(np.count_nonzero(keep[self._trace.table[labels]]))
            for size, labels in zip(shape, axes, strict=True)
        )


class _Layer:
    """A node with the axes of what it reads and writes; what it costs is counted once for every choice of these."""

    def __init__(self, node: Node, renamed: Node, sizes: dict[str, list[int | None]]) -> None:
        self.node, self._renamed, self._sizes = node, renamed, sizes
        self._numbers = sorted({-1 - n for axes in sizes.values() for n in axes if n is not None and n < 0})
        self._known: dict[tuple[int, ...], int] = {}

    def macs(self, counts: list[int]) -> int:
        """`counts`: how much is left of every axis, by its number."""
        key = tuple([counts[number] for number in self._numbers])
        if key not in self._known:
            shapes: dict[str, Shape] = {
                name: tuple(counts[-1 - n] if n is not None and n < 0 else n for n in axes)
                for name, axes in self._sizes.items()
            }
            self._known[key] = macs_of(self._renamed, Facts(shapes)) or 0
        return self._known[key]


def _renamed(node: Node) -> Node:
    return replace(
        node,
        inputs=tuple(f"i{k}" for k in range(len(node.inputs))),
        outputs=tuple(f"o{k}" for k in range(len(node.outputs))),
    )

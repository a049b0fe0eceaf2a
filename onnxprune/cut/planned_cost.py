"""What a plan would cost, from sizes alone: fast enough to be asked hundreds of times by an allocator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.branches.vanish import orphans
from onnxprune.model.cost import macs_of
from onnxprune.model.graph import Constant, Node
from onnxprune.model.infer import Facts, Shape
from onnxprune.model.tensors import payload_bytes
from onnxprune.ops.atoms import Labels
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]


class PlannedCost:
    """Multiply-accumulates and parameters of the network that keeps some units."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._heavy = [node for node in trace.graph.nodes if macs_of(node, trace.facts)]
        self._renamed = [_renamed(node) for node in self._heavy]
        self._uses = {
            key: next(((i, s) for i, s in trace.graph.consumers.get(key, ()) if (i, s) in trace.state.uses), None)
            for key in trace.graph.constants
        }

    def macs(self, keep: Bools) -> int:
        """Multiply-accumulates; nodes of unknown cost count nothing."""
        total, gone = 0, self._trace.vanishing(keep)
        for node, renamed in zip(self._heavy, self._renamed, strict=True):
            if node.index in gone:
                continue
            shapes: dict[str, Shape] = {}
            for slot, key in enumerate(node.inputs):
                shapes[f"i{slot}"] = self._input(node.index, slot, key, keep)
            for k, key in enumerate(node.outputs):
                shapes[f"o{k}"] = self._shrunk(self._trace.facts.sized(key) or (), self._axes(key), keep)
            total += macs_of(renamed, Facts(shapes)) or 0
        return total

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


def _renamed(node: Node) -> Node:
    return replace(
        node,
        inputs=tuple(f"i{k}" for k in range(len(node.inputs))),
        outputs=tuple(f"o{k}" for k in range(len(node.outputs))),
    )

"""Which known sizes are the same whatever the symbolic dimensions are; only these may be written down."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.graph import Graph
from onnxprune.model.infer import Facts, infer, partial_of
from onnxprune.model.load import Model
from onnxprune.model.sizes import size_name


def free_sizes(model: Model, facts: Facts) -> dict[str, int]:
    """The sizes assumed for all dimensions that the inputs leave open; one without a name is called input[axis]."""
    sizes = dict(facts.symbols)
    for value in model.proto.graph.input:
        dims = value.type.tensor_type.shape.dim if value.name in facts.inputs else ()
        for axis, (dim, size) in enumerate(zip(dims, facts.inputs.get(value.name, ()), strict=True)):
            if dim.dim_value <= 0:
                sizes.setdefault(size_name(value.name, axis, dim), size)
    return sizes


ENDS = (1, 1 << 14)


class Statics:
    """Tells known values that are the same for all symbolic sizes, by inferring again with other ones: the next size
    (odd where this one is even), twice the size (224 // 32 is 225 // 32), a quarter of it (what is clamped from above),
    and sizes that are less, or more, than any number of channels that they may be held against.
    """

    def __init__(self, graph: Graph, facts: Facts) -> None:
        self._graph, self._facts = graph, facts
        self._sizes = free_sizes(graph.model, facts)
        self._others: list[Facts] = []

    def holds(self, key: str) -> NDArray[np.bool_]:
        """Per element of `key`, of which something is known: whether it is known, and always the same."""
        before = partial_of(self._graph, self._facts, key)
        assert before is not None
        if key in self._graph.constants or not self._sizes:
            return before.known
        others = self._inferred()
        first = partial_of(self._graph, others[0], key)
        if first is None or first.value.shape != before.value.shape:
            return np.zeros(before.value.shape, bool)
        result = before.known & first.known & _same(first.value, before.value)
        for far in others[1:]:  # sizes that the model may not take: what is unknown there says nothing
            other_value = partial_of(self._graph, far, key)
            if other_value is not None and other_value.value.shape != before.value.shape:
                return np.zeros(before.value.shape, bool)
            if other_value is not None:
                result &= ~other_value.known | _same(other_value.value, before.value)
        return np.asarray(result, bool)

    def varies(self, key: str, axis: int) -> bool:
        """Whether the size of an axis is known to depend on the symbolic sizes."""
        here = self._facts.shapes.get(key)
        shapes = [other.shapes.get(key) for other in (self._inferred() if self._sizes else ())]
        sizes = {shape[axis] for shape in shapes if shape is not None and here is not None and len(shape) == len(here)}
        return here is not None and bool(sizes - {here[axis], None})

    def _inferred(self) -> list[Facts]:
        """Facts for other sizes."""
        sizes = self._sizes
        if not self._others:
            for other in ({s: n + 1 for s, n in sizes.items()}, {s: 2 * n for s, n in sizes.items()}):
                self._others.append(infer(self._graph, other))
            self._others.append(infer(self._graph, {s: max(n // 4, 1) for s, n in sizes.items()}))
            self._others += [infer(self._graph, dict.fromkeys(sizes, end)) for end in ENDS]
        return self._others


def _same(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Element by element; NaN is NaN."""
    return np.asarray((a == b) | ((a != a) & (b != b)), bool)

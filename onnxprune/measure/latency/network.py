"""The time of a whole network for any choice: its layers by the table, the rest by its elements, scaled to what the
original takes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.cut.axes import Sizes, dims_of, known
from onnxprune.errors import ModelError
from onnxprune.measure.latency.layers import Dims, Widths, in_integers, signature, widths
from onnxprune.measure.latency.table import Layer, Table
from onnxprune.model.graph import Node
from onnxprune.model.infer import Facts
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
CALL, LAUNCH = 20e-6, 1.5e-6
"""What a run, and every kernel of it, takes at most besides; what is missing beyond that was another time's load."""
LAYERS = frozenset(
    {"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}
    | {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
)
QLINEAR = "QLinear"
"""What the names of kernels begin with that do on bytes what the rest of the name says."""


@dataclass(frozen=True)
class Profile:
    """The original on this machine: seconds of a run, and of all kernels of each operator together; their number."""

    whole: float
    kernels: Mapping[str, float]
    count: int = 0


@dataclass(frozen=True)
class _Timed:
    node: Node
    x: Sequence[int]
    w: Sequence[int]
    y: Sequence[int]
    constant: bool

    def widths(self, counts: Sequence[int]) -> Widths:
        x, w, y = (dims_of(axes, counts) for axes in (self.x, self.w, self.y))
        return widths(self.node, x, w, y, self.constant)


_Users = list[tuple[int, list[Dims]]]
"""Nodes with the axes of their values, see `Sizes`."""


def _work(users: _Users, counts: Sequence[int], gone: frozenset[int]) -> float:
    """Elements that nodes read and write."""
    left = (axes for index, values in users if index not in gone for axes in values)
    return float(sum(math.prod(dims_of(axes, counts)) for axes in left))


class _Shared:
    """Time that nodes share by their elements."""

    def __init__(self, seconds: float, users: _Users, full: Sequence[int]) -> None:
        self.seconds, self._users = seconds, users
        self._whole = _work(users, full, frozenset())
        self._alike = Counter(tuple(sorted(axes)) for _, values in users for axes in values)

    def time(self, counts: Sequence[int], gone: frozenset[int]) -> float:
        if gone:
            return self.seconds * _work(self._users, counts, gone) / self._whole
        now = sum(math.prod(dims_of(axes, counts)) * times for axes, times in self._alike.items())
        return self.seconds * now / self._whole


class Network:
    """`cost` (keep) in seconds. Layers are measured when it is made: those whose weights are among `integers` as they
    are between quantisers, too; then the faster of both counts. Raises ModelError if none can be.
    """

    def __init__(
        self, trace: Trace, facts: Facts, table: Table, profile: Profile, integers: frozenset[str] = frozenset()
    ) -> None:
        self._trace, self._sizes = trace, Sizes(trace, facts.shapes.get)
        found = [(node, self._timed(node, facts)) for node in trace.graph.nodes]
        users = self._users()
        everything = np.ones(trace.unit_count, bool)
        nothing = everything.copy()
        nothing[1:] = False
        full, least = self._sizes.counts(everything), self._sizes.counts(nothing)
        self._layers: list[tuple[_Timed, Layer]] = []
        self._bytes: dict[int, Layer] = {}
        for node, timed in found:
            kind = None if timed is None else signature(trace.graph, facts, node)
            if timed is None or kind is None:
                continue
            at = timed.widths(full)
            free = tuple(a != b for a, b in zip(at, timed.widths(least), strict=True))
            if any(size < 1 for size in at):
                continue
            try:
                self._layers.append((timed, table.layer(kind, at, (free[0], free[1], free[2]))))
                if node.inputs[1] in integers and in_integers(kind) != kind:
                    self._bytes[node.index] = table.layer(in_integers(kind), at, (free[0], free[1], free[2]))
            except ModelError:  # what the runtime does not do alone goes with the rest
                continue
        in_kernels = max(sum(profile.kernels.values()), 1e-12)
        besides = min(max(profile.whole - in_kernels, 0.0), CALL + profile.count * LAUNCH)
        scale = (profile.whole - besides) / in_kernels
        self._rest = [_Shared(scale * t, nodes, full) for t, nodes in self._others(profile.kernels, users, full)]
        alone = sum(self._alone(timed, layer, full) for timed, layer in self._layers)
        in_layers = sum(seconds for kind, seconds in profile.kernels.items() if kind in LAYERS)
        self._scale = scale * in_layers / alone if alone else 0.0
        self._overhead = profile.whole - self._scale * alone - sum(one.seconds for one in self._rest)

    def cost(self, keep: Bools) -> float:
        counts, gone = self._sizes.counts(keep), self._trace.vanishing(keep)
        layers = sum(self._alone(t, layer, counts) for t, layer in self._layers if t.node.index not in gone)
        rest = sum(one.time(counts, gone) for one in self._rest)
        return self._overhead + self._scale * layers + rest

    def _alone(self, timed: _Timed, layer: Layer, counts: Sequence[int]) -> float:
        """By the table, in the precision that is faster at these widths."""
        at = timed.widths(counts)
        other = self._bytes.get(timed.node.index)
        return layer.time(at) if other is None else min(layer.time(at), other.time(at))

    def _timed(self, node: Node, facts: Facts) -> _Timed | None:
        if node.scope or signature(self._trace.graph, facts, node) is None:
            return None
        given, weight, made = (
            self._sizes.value(node.inputs[0]),
            self._sizes.weight(node, 1),
            self._sizes.value(node.outputs[0]),
        )
        x, w, y = known(given), known(weight), known(made)
        if x is None or w is None or y is None:
            return None
        return _Timed(node, x, w, y, node.inputs[1] in self._trace.graph.constants)

    def _users(self) -> dict[str, _Users]:
        """By operator its nodes, with the values that they read and write."""
        nodes: dict[str, _Users] = {}
        for node in self._trace.graph.nodes:
            axes = [known(self._sizes.value(key)) for key in node.outputs if key]
            axes += [known(self._sizes.weight(node, slot)) for slot, key in enumerate(node.inputs) if key]
            nodes.setdefault(node.op_type, []).append((node.index, [tuple(a) for a in axes if a is not None]))
        return nodes

    def _others(
        self, kernels: Mapping[str, float], nodes: Mapping[str, _Users], full: Sequence[int]
    ) -> list[tuple[float, _Users]]:
        """Seconds of the other kernels, by operator, each with its nodes.

        What the graph does not have (the runtime made it: conversions, fused nodes) goes with the layers.
        """
        layers = [(t.node.index, [tuple(t.x), tuple(t.y)]) for t, _ in self._layers]
        others = [(kind.removeprefix(QLINEAR), seconds) for kind, seconds in kernels.items() if kind not in LAYERS]
        found = [(seconds, nodes.get(kind) or layers) for kind, seconds in others]
        return [(seconds, users) for seconds, users in found if _work(users, full, frozenset())]

"""What every node takes with floats and with integers here, from the runtime's own profile of the whole network."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from onnxprune.measure.latency.runtime import Kernels, kernel_times_in_turn
from onnxprune.model.graph import Graph
from onnxprune.model.infer import Facts
from onnxprune.model.load import Model
from onnxprune.quantizing.rewrite import NAME, numbered

Feed = Mapping[str, NDArray[Any]]
SECONDS = 1.0
LAUNCH, ROUND, TURN = 1e-6, 0.1e-9, 0.1e-9
"""Seconds: of a quantiser, of a number that it rounds or gives back, and of one whose place changes for kernels of
another layout (measured on one thread of an AVX-512 processor; what counts is their order of magnitude)."""
LAYERS, FUSED = ("Conv", "Gemm", "MatMul"), 3
_NUMBER = re.compile(re.escape(NAME) + r"(\d+)")
_LAYOUT = re.compile(r"_nchwc(_token_\d+|_\d+)?$")


@dataclass(frozen=True)
class Times:
    """By node, seconds with `floats` and with `integers`; by value, what changing between them takes (`change`)."""

    floats: Mapping[int, float]
    integers: Mapping[int, float]
    change: Mapping[str, float]


def measured_times(
    graph: Graph,
    facts: Facts,
    quantised: Model,
    chosen: Collection[int],
    feed: Feed,
    threads: int,
    seconds: float = SECONDS,
) -> Times:
    """`quantised`: of the nodes `chosen` of the graph, its nodes being `numbered`. Raises ModelError."""
    plain, integers = kernel_times_in_turn(
        [numbered(graph), quantised.complete_proto()], [feed, feed], threads, seconds=seconds
    )
    values = {key for index in chosen for key in (*graph.nodes[index].inputs, *graph.nodes[index].outputs) if key}
    change = {}
    for key in values - set(graph.constants):
        shape = facts.sized(key)
        size = math.prod(size or 1 for size in shape) if shape else 0
        change[key] = LAUNCH + size * (ROUND + (TURN if shape and len(shape) == 4 else 0.0))
    return Times(_by_node(graph, plain), _by_node(graph, integers), change)


def _by_node(graph: Graph, kernels: Kernels) -> dict[int, float]:
    found: dict[int, float] = {}
    for (name, operator, _), seconds in kernels.items():
        if operator not in ("QuantizeLinear", "DequantizeLinear"):
            index = _node(graph, name, operator)
            if index is not None:
                found[index] = found.get(index, 0.0) + seconds
    return found


def _node(graph: Graph, name: str, operator: str) -> int | None:
    """The node that a kernel computes: by its number, or by the value that a kernel of another layout gives. A kernel
    that computes an activation as well is called by it: it is the layer before that.
    """
    number = _NUMBER.search(name)
    index = graph.producer.get(_LAYOUT.sub("", name)) if number is None else int(number[1])
    layer = next((kind for kind in LAYERS if kind in operator), None)
    for _ in range(FUSED):
        if index is None or layer is None or graph.nodes[index].op_type in LAYERS:
            break
        index = graph.producer.get(graph.nodes[index].inputs[0])
    return index

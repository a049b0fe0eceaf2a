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
from onnxprune.quantizing.layers import RECTIFIERS
from onnxprune.quantizing.rewrite import NAME, numbered

Feed = Mapping[str, NDArray[Any]]
SECONDS = 1.0
LAUNCH, ROUND, TURN = 1e-6, 0.1e-9, 0.1e-9
"""Seconds: of a quantiser, of a number that it rounds or gives back, and of one whose place changes for kernels of
another layout (measured on one thread of an AVX-512 processor; what counts is their order of magnitude)."""
_NUMBER = re.compile(re.escape(NAME) + r"(\d+)")
_LAYOUT = re.compile(r"_nchwc(_token_\d+|_\d+)?$")


@dataclass(frozen=True)
class Times:
    """By node, seconds with `floats` and with `integers`; by value, what changing between them takes (`change`)."""

    floats: Mapping[int, float]
    integers: Mapping[int, float]
    change: Mapping[str, float]


def measured_times(
    graph: Graph, facts: Facts, quantised: Model, chosen: Collection[int], feed: Feed, threads: int
) -> Times:
    """`quantised`: of the nodes `chosen` of the graph, its nodes being `numbered`. Raises ModelError."""
    plain, integers = kernel_times_in_turn(
        [numbered(graph), quantised.complete_proto()], [feed, feed], threads, seconds=SECONDS
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
        if operator in ("QuantizeLinear", "DequantizeLinear"):
            continue
        index = _node(graph, name)
        if index is not None:
            found[index] = found.get(index, 0.0) + seconds
    return found


def _node(graph: Graph, name: str) -> int | None:
    """The node that a kernel computes: by its number, or by the value that a kernel of another layout gives."""
    number = _NUMBER.search(name)
    if number is not None:
        index = int(number[1])
    else:
        made = graph.producer.get(_LAYOUT.sub("", name))
        if made is None:
            return None
        index = made
    node = graph.nodes[index]
    before = graph.producer.get(node.inputs[0]) if node.inputs else None
    if node.op_type in RECTIFIERS and before is not None and number is None:
        return before  # computed by the kernel of the layer before it
    return index

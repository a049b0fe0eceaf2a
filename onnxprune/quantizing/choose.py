"""Which nodes compute with integers: the least time for the error that it costs, found exactly.

Every node i has a time with floats, t_i, and with integers, u_i, and with integers an error s_i; where a value goes
from one kind to the other, it is converted, c_v. What is least,

    sum over integer nodes (u_i + w s_i) + sum over float nodes t_i + sum over values that change c_v,

is a minimum cut of a graph (Picard and Ratliff, 1975), for every price w of an error. Higher prices leave more nodes
float: the choices for all prices are the frontier of time and error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from onnxprune.model.graph import Graph
from onnxprune.quantizing.layers import Candidate, settled
from onnxprune.quantizing.times import Times

PRICES = 40
RANGE = 1e6
"""From the least to the highest price."""
WHOLE = 2**30
"""Flows are whole numbers below it."""


@dataclass(frozen=True)
class Choice:
    """`nodes` compute with integers; predicted `seconds` of all nodes that may, and `error` of the outputs."""

    nodes: frozenset[int]
    seconds: float
    error: float


def frontier(
    graph: Graph, found: Mapping[int, Candidate], able: Collection[int], times: Times, errors: Mapping[int, float]
) -> list[Choice]:
    """Choices that no other one beats in both, the fastest first; the last one is all floats. `able`: nodes that can
    compute with integers; `errors`: of layers.
    """
    able = sorted(able)
    total = sum(errors.values())
    scale = sum(times.floats.get(index, 0.0) for index in able)
    if not able or not scale:
        return [Choice(frozenset(), 0.0, 0.0)]
    unit = scale / total if total > 0 else 0.0
    prices = [0.0, *(unit * np.geomspace(1 / RANGE, RANGE, PRICES)).tolist()]
    cuts = {cut(graph, able, times, errors, price) for price in prices}
    chosen = {frozenset(settled(graph, found, nodes)) for nodes in cuts} | {frozenset[int]()}
    choices = [judged(graph, able, times, errors, nodes) for nodes in chosen]
    best: list[Choice] = []
    for choice in sorted(choices, key=lambda one: (one.seconds, one.error)):
        if not best or choice.error < best[-1].error:
            best.append(choice)
    return best


def judged(
    graph: Graph, able: Sequence[int], times: Times, errors: Mapping[int, float], nodes: frozenset[int]
) -> Choice:
    """What a choice is predicted to take, and to cost."""
    seconds = sum(times.integers.get(i, 0.0) if i in nodes else times.floats.get(i, 0.0) for i in able)
    for maker, reader, value in _edges(graph, able):
        if (maker in nodes) != (reader in nodes):
            seconds += times.change.get(value, 0.0)
    return Choice(nodes, seconds, sum(errors.get(i, 0.0) for i in nodes))


def cut(graph: Graph, able: Sequence[int], times: Times, errors: Mapping[int, float], price: float) -> frozenset[int]:
    """The nodes on the side of integers."""
    place = {index: number + 2 for number, index in enumerate(able)}  # 0: floats, 1: integers
    rows: list[tuple[int, int, float]] = []
    for index in able:
        rows.append((0, place[index], times.integers.get(index, 0.0) + price * errors.get(index, 0.0)))
        rows.append((place[index], 1, times.floats.get(index, 0.0)))
    for maker, reader, value in _edges(graph, able):
        a, b = place.get(maker, 0), place.get(reader, 0)
        rows += [(a, b, times.change.get(value, 0.0)), (b, a, times.change.get(value, 0.0))]
    size = len(able) + 2
    capacity = csr_matrix(([r[2] for r in rows], ([r[0] for r in rows], [r[1] for r in rows])), shape=(size, size))
    most = max(float(capacity.data.max(initial=0.0)), 1e-30)
    bounded = min(most, 4 * sum(times.floats.get(i, 0.0) for i in able))  # prices above that decide as that does
    capacity.data = np.minimum(np.rint(capacity.data / bounded * (WHOLE / 8)), WHOLE / 8).astype(np.int32)
    capacity = capacity.astype(np.int32)
    flow = maximum_flow(capacity, 0, 1).flow
    residual = capacity - flow
    residual.data = np.maximum(residual.data, 0)
    residual.eliminate_zeros()
    reached = set(breadth_first_order(residual, 0, directed=True, return_predecessors=False).tolist())
    return frozenset(index for index in able if place[index] not in reached)


def _edges(graph: Graph, able: Collection[int]) -> list[tuple[int, int, str]]:
    """(maker, reader, value), -1 for what is none of the nodes: it is float."""
    known, found = set(able), []
    for index in able:
        node = graph.nodes[index]
        for key in dict.fromkeys(node.inputs):
            if key and key not in graph.constants:
                maker = graph.producer.get(key, -1)
                found.append((maker if maker in known else -1, index, key))
        for key in node.outputs:
            others = {reader for reader, _ in graph.consumers.get(key, ())} - known
            if key and (others or key in graph.fixed):
                found.append((index, -1, key))
    return found

"""What files have of any cut of a network, where layers compute with integers: needed to time cuts as they will be.

Narrow layers may gain nothing from integers, so which ones have them is chosen for every cut anew, by times measured on
it. Grids are those of the original's values: times do not depend on them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from onnxprune.measure.latency.form import Form
from onnxprune.model.graph import build
from onnxprune.model.infer import infer_like
from onnxprune.model.load import Model
from onnxprune.quantizing.choose import Choice, frontier
from onnxprune.quantizing.dynamic import dynamic
from onnxprune.quantizing.layers import between, candidates
from onnxprune.quantizing.plans import Network
from onnxprune.quantizing.prepare import prepared
from onnxprune.quantizing.rewrite import with_quantisers
from onnxprune.quantizing.sensitivity import Grids
from onnxprune.quantizing.stage import SLACK
from onnxprune.quantizing.static import Types, fitting_biases, weight_grids
from onnxprune.quantizing.times import measured_times
from onnxprune.trace import trace_again
from onnxprune.trace.groups import Trace

Feed = Mapping[str, NDArray[Any]]
SECONDS = 0.4
"""How long a cut is run to see what each node takes."""


@dataclass(frozen=True)
class Timing:
    """What is run to see where integers gain time; `errors` of the layers of the network break ties."""

    errors: Mapping[int, float]
    feed: Feed
    threads: int


def static_form(net: Network, grids: Grids, types: Types, timing: Timing | None) -> Form:
    """Integers between quantisers, where they gain time; without `timing` wherever they can be."""
    able = {net.graph.nodes[index].label for index in net.layers}
    errors = {} if timing is None else timing.errors
    costs = {net.graph.nodes[index].label: error for index, error in errors.items()}
    weights = frozenset(net.graph.nodes[index].inputs[1] for index in net.layers)

    def written(model: Model) -> Model:
        graph = build(prepared(model))
        facts = infer_like(graph, net.trace.facts)
        found = candidates(graph, facts)
        layers = [index for index, one in found.items() if one.reason is None and graph.nodes[index].label in able]
        whole = between(graph, found, layers) if layers else set()
        if not whole:
            return model
        held = fitting_biases(graph, whole, grids.values, weight_grids(graph, whole, types))
        nodes: Collection[int] = whole
        if timing is not None:
            numbered = with_quantisers(graph, facts, whole, grids.values, held, numbers=True)
            times = measured_times(graph, facts, numbered, whole, timing.feed, timing.threads, SECONDS)
            lost = {index: costs.get(graph.nodes[index].label, 0.0) for index in layers}
            nodes = fastest(frontier(graph, found, whole, times, lost)).nodes
        return with_quantisers(graph, facts, nodes, grids.values, held) if nodes else model

    return Form(written, weights)


def dynamic_form(trace: Trace, weights: frozenset[str], bits: int, threads: int) -> Form:
    """Products on the ranges of every run."""

    def written(model: Model) -> Model:
        return dynamic(trace_again(model, trace), None, bits=bits, threads=threads).model

    return Form(written, weights)


def fastest(found: list[Choice]) -> Choice:
    """Of the least predicted error among those that take hardly longer than the fastest."""
    near = [one for one in found if one.seconds <= (1 + SLACK) * found[0].seconds]
    return min(near, key=lambda one: one.error)

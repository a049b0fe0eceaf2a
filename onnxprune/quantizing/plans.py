"""A network as it can be quantised: its layers, the grids of all values, and what each choice of layers would give."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.capture.batches import first_samples
from onnxprune.capture.samples import Samples
from onnxprune.capture.sensitivity import judged
from onnxprune.capture.training import observer
from onnxprune.choose.ranking import matching
from onnxprune.model.cost import macs_of
from onnxprune.model.graph import Graph, build
from onnxprune.model.infer import Facts, infer_like
from onnxprune.model.load import Model
from onnxprune.quantizing.choose import Choice, frontier
from onnxprune.quantizing.crosslayer import evened as between_layers
from onnxprune.quantizing.layers import Candidate, between, candidates, moved, values_of
from onnxprune.quantizing.prepare import prepared
from onnxprune.quantizing.ranges import histograms
from onnxprune.quantizing.request import QuantizeRequest
from onnxprune.quantizing.rewrite import with_quantisers
from onnxprune.quantizing.sensitivity import Grids, output_error, sensitivities
from onnxprune.quantizing.static import activation_grids, fitting_biases, weight_grids
from onnxprune.quantizing.times import measured_times
from onnxprune.results.clock import Clock
from onnxprune.results.providers import Threads, count
from onnxprune.trace.groups import Trace

RANGED, ROWS = 1000, 4
"""Samples besides those in memory that ranges are taken from, and how many of them are run at once."""
FEW = 4
"""Samples on which the error of every layer is measured."""
EVENED = 16
"""Samples that say how large the channels of values are."""
WORTH = 0.9
"""Of the error, what equalised channels have to leave at most: less is noise of the samples."""


@dataclass(frozen=True)
class Network:
    """The prepared original, also with channels equalised. `found`: its candidates, `layers` those that can be in
    integers, `whole` with everything between them."""

    trace: Trace
    graph: Graph
    facts: Facts
    found: Mapping[int, Candidate]
    layers: tuple[int, ...]
    whole: frozenset[int]
    divided: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """values whose channels are smaller than the original's, and by what"""

    @cached_property
    def judged(self) -> list[str]:
        """The float values by which a choice is judged."""
        found = [key for key in judged(self.trace) if key in self.graph.producer]
        outputs = [value.name for value in self.graph.model.proto.graph.output]
        return found or [key for key in outputs if self.facts.dtypes.get(key) == TensorProto.FLOAT]

    def share_of_products(self, kinds: Collection[str] = ("MatMul", "Gemm", "LSTM")) -> float:
        """The share of the multiply-accumulates that is in products of matrices with constant weights."""
        each = {node.index: macs_of(node, self.facts) or 0 for node in self.graph.nodes}
        products = [
            macs
            for index, macs in each.items()
            if self.graph.nodes[index].op_type in kinds and self.graph.nodes[index].inputs[1] in self.graph.constants
        ]
        return sum(products) / max(sum(each.values()), 1)


def network(trace: Trace, request: QuantizeRequest) -> Network:
    """Raises UsageError for patterns of names that match nothing, ModelError for what cannot be prepared."""
    graph = build(prepared(trace.graph.model))
    facts = infer_like(graph, trace.facts)
    found = _asked(trace.graph, graph, candidates(graph, facts), request)
    layers = tuple(index for index, one in found.items() if one.kind == "layer" and one.reason is None)
    return Network(
        trace, graph, facts, found, layers, frozenset(between(graph, found, layers)) if layers else frozenset()
    )


def evened(net: Network, request: QuantizeRequest, samples: Samples, threads: Threads) -> Network:
    """With channels of values between layers equalised, if that makes a network all in integers more exact: measured,
    on ranges of few samples.
    """
    fitted = samples.batches[: len(samples.batches) - samples.held_out] or samples.batches
    feed = first_samples(net.graph.model, fitted, EVENED)[0] if samples.independent else fitted[0]
    weights = {net.graph.nodes[index].inputs[1] for index in net.layers}
    model, divided = between_layers(net.graph.model, net.facts.dtypes, feed, weights, fixed=net.judged, threads=threads)
    if not divided or not net.judged:
        return net
    other = replace(net, graph=build(model), divided=divided)
    few = [samples.few(net.trace.graph.model, FEW)]
    wanted = [observer(net.graph.model, net.judged).run(None, dict(one)) for one in few]
    plain, even = (
        output_error(written(one, grids_on(one, request, [feed], threads), one.whole), net.judged, few, wanted)
        for one in (net, other)
    )
    return other if even < WORTH * plain else net


def all_grids(net: Network, request: QuantizeRequest, samples: Samples, threads: Threads) -> Grids:
    """Of all values on which nodes work that could be in integers."""
    fitted = samples.batches[: len(samples.batches) - samples.held_out] or samples.batches
    others = () if samples.more is None else samples.more.fit.take(RANGED).batches(ROWS)
    return grids_on(net, request, itertools.chain(fitted, others), threads)


def grids_on(net: Network, request: QuantizeRequest, feeds: Iterable[dict[str, Any]], threads: Threads) -> Grids:
    """The same from these inputs."""
    seen = histograms(net.graph.model, values_of(net.graph, net.whole), feeds, threads)
    values = activation_grids(seen, request.ranges, request.types.activations)
    values |= {key: values[source] for key, source in moved(net.graph, net.found, net.whole).items()}
    weights = weight_grids(net.graph, net.whole, request.types)
    return Grids(values, fitting_biases(net.graph, net.whole, values, weights))


def written(net: Network, grids: Grids, nodes: Collection[int]) -> Model:
    """The network with these nodes in integers."""
    return with_quantisers(net.graph, net.facts, nodes, grids.values, grids.weights)


def choices(
    net: Network, grids: Grids, samples: Samples, clock: Clock, threads: Threads
) -> tuple[list[Choice], dict[int, float]]:
    """Choices of nodes between time and error, the fastest first, and the errors of layers alone."""
    clock.start("profile")
    few = samples.few(net.trace.graph.model, FEW)
    feed: Mapping[str, NDArray[Any]] = samples.few(net.trace.graph.model, 1)
    model = with_quantisers(net.graph, net.facts, net.whole, grids.values, grids.weights, numbers=True)
    times = measured_times(net.graph, net.facts, model, net.whole, feed, count(threads))
    clock.start("sensitivity")
    errors = sensitivities(net.graph, net.facts, net.found, net.layers, grids, net.judged, [few], clock.steps())
    return frontier(net.graph, net.found, net.whole, times, errors), errors


def _asked(
    original: Graph, graph: Graph, found: Mapping[int, Candidate], request: QuantizeRequest
) -> dict[int, Candidate]:
    """With the reasons why nodes were left out."""
    result = dict(found)
    for names, option, reason in (
        (request.include, "--include", "not included"),
        (request.exclude, "--exclude", "excluded"),
    ):
        if names:
            labels = {original.nodes[index].label for index in matching(original, names, option)}
            for index, one in found.items():
                out = (graph.nodes[index].label in labels) == (option == "--exclude")
                whole = one.kind == "layer" or option == "--exclude"
                if out and whole and result[index].reason is None:
                    result[index] = replace(one, reason=reason)
    return result

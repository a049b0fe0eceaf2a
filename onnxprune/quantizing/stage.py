"""From a network to one whose layers compute with integers, or whose weights are stored in fewer bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxprune.capture.samples import Samples
from onnxprune.choose.ranking import matching
from onnxprune.errors import ModelError
from onnxprune.model.graph import Graph, build
from onnxprune.model.grids import Grid
from onnxprune.model.infer import infer_like
from onnxprune.model.load import Model
from onnxprune.model.plain import hoisted, lowered
from onnxprune.proof.grids.stored import TYPES, digest, stored
from onnxprune.quantizing.dynamic import dynamic
from onnxprune.quantizing.layers import Candidate, between, candidates, moved, named, values_of
from onnxprune.quantizing.prepare import prepared
from onnxprune.quantizing.ranges import histograms
from onnxprune.quantizing.request import DYNAMIC, RECONSTRUCT, STATIC, QuantizeRequest
from onnxprune.quantizing.rewrite import with_quantisers
from onnxprune.quantizing.static import activation_grids, weight_grids
from onnxprune.quantizing.weights import WeightLayer, weights_only
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.results import ReconstructionSummary
from onnxprune.results.clock import Clock
from onnxprune.results.plan import QuantizationPlan, ValueGrid, WeightGrid
from onnxprune.results.quantization import FLOAT, QuantizationSummary, QuantizedLayer
from onnxprune.trace.groups import Trace


@dataclass(frozen=True)
class Quantized:
    """`model` as the file has it; `prepared`: the original in the form whose layers are quantised, and its graph.
    `plan` is None if nothing was quantised. `layers`: nodes of that graph that are in integers.
    """

    model: Model
    graph: Graph
    plan: QuantizationPlan | None
    summary: QuantizationSummary
    layers: tuple[int, ...] = ()
    twin: Model | None = None
    """of weights alone: the float model that they stand for"""


def quantized(
    trace: Trace, request: QuantizeRequest, samples: Samples | None, clock: Clock, *, threads: int = 0
) -> Quantized:
    """The network of `trace`, quantised. Raises UsageError for patterns of names that match nothing, ModelError for
    what cannot be prepared, NotFinite where it overflows on the samples.
    """
    if request.scheme != STATIC:
        return _weights(trace, request, samples, clock, threads)
    assert samples is not None
    return _static(trace, request, samples, clock, threads)


# ---- static ----------------------------------------------------------------------------------------------------
def _static(trace: Trace, request: QuantizeRequest, samples: Samples, clock: Clock, threads: int) -> Quantized:
    clock.start("prepare")
    graph = build(prepared(trace.graph.model))
    facts = infer_like(graph, trace.facts)
    found = _asked(trace.graph, graph, candidates(graph, facts), request)
    layers = [index for index, one in found.items() if one.kind == "layer" and one.reason is None]
    chosen = between(graph, found, layers) if layers else set()
    if not chosen:
        return Quantized(trace.graph.model, graph, None, _summary(graph, request, found, chosen, None))
    clock.start("ranges")
    fitted = samples.batches[: len(samples.batches) - samples.held_out] or samples.batches
    seen = histograms(graph.model, values_of(graph, chosen), fitted, threads)
    values = activation_grids(seen, request.ranges, request.types.activations)
    values |= {key: values[source] for key, source in moved(graph, found, chosen).items()}
    clock.start("rewrite")
    weights = weight_grids(graph, chosen, request.types)
    model = with_quantisers(graph, facts, chosen, values, weights)
    rebuilt = None
    if request.repair == RECONSTRUCT:
        clock.start("rebuild")
        model, rebuilt = _rebuilt(trace, model, samples, request, clock, threads)
    plan = _plan(graph, layers, chosen, model, values, weights)
    summary = _summary(graph, request, found, chosen, rebuilt)
    return Quantized(model, graph, plan, summary, tuple(i for i in layers if i in chosen))


def _asked(
    original: Graph, graph: Graph, found: Mapping[int, Candidate], request: QuantizeRequest
) -> dict[int, Candidate]:
    """With the reasons why layers were left out."""
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


def _rebuilt(
    trace: Trace, model: Model, samples: Samples, request: QuantizeRequest, clock: Clock, threads: int
) -> tuple[Model, ReconstructionSummary]:
    """All weights adjusted together, on their grids."""
    working = hoisted(model)
    grids = stored_grids(model, working)
    done = reconstruct(
        trace,
        np.ones(trace.unit_count, bool),
        working,
        samples.batches,
        samples.held_out,
        grids=grids,
        independent=samples.independent,
        seed=request.seed,
        threads=threads,
        progress=clock.steps(),
    )
    before, after = math.sqrt(done.before), math.sqrt(done.after)
    told = ReconstructionSummary(done.steps, before, after, len(done.frozen), done.reason)
    return (lowered(model, done.model) if done.steps else model), told


def stored_grids(model: Model, working: Model) -> dict[str, Grid]:
    """By initializer of the working form, the grid on which the file stores it."""
    return {key: grid for key, grid in stored(build(model)).weights.items() if key in working.tensors}


def _plan(
    graph: Graph,
    layers: Sequence[int],
    chosen: set[int],
    model: Model,
    values: Mapping[str, Grid],
    weights: Mapping[str, Grid],
) -> QuantizationPlan:
    """What was asked of the values that the file rounds: a rectifier's input is none of them."""
    there = stored(build(model)).values
    if any(key not in values for key in there):
        raise ModelError(f"value {next(k for k in there if k not in values)!r} was rounded, and nobody asked for it")
    on = [(key, values[key]) for key in there]
    return QuantizationPlan(
        "static",
        tuple(named(graph, [index for index in layers if index in chosen])),
        tuple(ValueGrid(key, TYPES[one.dtype], float(one.scale), int(one.zero_point)) for key, one in on),
        tuple(WeightGrid(key, TYPES[one.dtype], one.axis, one.block, digest(one)) for key, one in weights.items()),
    )


def _summary(
    graph: Graph,
    request: QuantizeRequest,
    found: Mapping[int, Candidate],
    chosen: set[int],
    rebuilt: ReconstructionSummary | None,
) -> QuantizationSummary:
    layers = tuple(_layer(graph, one, index in chosen) for index, one in found.items())
    return QuantizationSummary("static", "qdq", request.weights, request.ranges, layers, rebuilt)


def _layer(graph: Graph, one: Candidate, chosen: bool) -> QuantizedLayer:
    node = graph.nodes[one.node]
    weight = node.inputs[1] if len(node.inputs) > 1 and node.inputs[1] in graph.model.tensors else None
    outside = "it does not lie between layers that compute with integers"
    reason = None if chosen else one.reason or outside
    precision = "int8" if chosen else FLOAT
    return QuantizedLayer(
        node.label, node.op_type, one.kind, precision, weight if one.kind == "layer" else None, reason=reason
    )


# ---- weights alone ---------------------------------------------------------------------------------------------
def _weights(trace: Trace, request: QuantizeRequest, samples: Samples | None, clock: Clock, threads: int) -> Quantized:
    clock.start("rewrite")
    graph = trace.graph
    kept: dict[str, str] = {}
    if request.include:
        there = matching(graph, request.include, "--include")
        kept |= {node.label: "not included" for node in graph.nodes if node.index not in there}
    if request.exclude:
        kept |= {graph.nodes[index].label: "excluded" for index in matching(graph, request.exclude, "--exclude")}
    if request.scheme == DYNAMIC:
        bits = 7 if request.types.reduced else 8
        done = dynamic(trace, samples, kept=kept, bits=bits, threads=threads, progress=clock.steps())
    else:
        done = weights_only(trace, samples, request.weights_only(kept), threads=threads, progress=clock.steps())
    layers = tuple(_weight_layer(one) for one in done.layers)
    summary = QuantizationSummary(request.scheme, None, request.weights, None, layers)
    small = [one for one in done.layers if one.kind is not None]
    if not small:
        return Quantized(trace.graph.model, graph, None, summary)
    plan = QuantizationPlan(request.scheme, tuple(one.node for one in small))
    return Quantized(done.model, graph, plan, summary, twin=done.twin)


def _weight_layer(one: WeightLayer) -> QuantizedLayer:
    precision = FLOAT if one.kind is None else one.kind.split()[0].replace(DYNAMIC, "int8")
    return QuantizedLayer(one.node, one.operator, "layer", precision, one.weight, one.error, one.reason)

"""From a network to one whose layers compute with integers, or whose weights are stored in fewer bits."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.kept import key_of
from onnxprune.capture.samples import Samples
from onnxprune.capture.training import observer
from onnxprune.choose.ranking import matching
from onnxprune.errors import ModelError, UsageError
from onnxprune.measure.fidelity import fidelity
from onnxprune.measure.files import as_file
from onnxprune.measure.gate import Gate
from onnxprune.model.graph import Graph, build
from onnxprune.model.grids import Grid
from onnxprune.model.load import Model
from onnxprune.model.plain import hoisted, lowered, stored_grids
from onnxprune.proof.grids.stored import TYPES, digest, stored
from onnxprune.quantizing.choose import Choice
from onnxprune.quantizing.dynamic import dynamic
from onnxprune.quantizing.layers import Candidate, named
from onnxprune.quantizing.limits import first_within
from onnxprune.quantizing.plans import FEW, Network, all_grids, choices, evened, network, written
from onnxprune.quantizing.qoperator.forward import Spelled, with_operators
from onnxprune.quantizing.race import seconds_of
from onnxprune.quantizing.request import AUTO, DYNAMIC, QOPERATOR, RECONSTRUCT, STATIC, WEIGHTS, QuantizeRequest
from onnxprune.quantizing.sensitivity import Grids, output_error
from onnxprune.quantizing.weights import WeightLayer, weights_only
from onnxprune.quantizing.zeros import masks_of
from onnxprune.repair.lessons import Effort
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.results import ReconstructionSummary
from onnxprune.results.clock import Clock
from onnxprune.results.plan import QuantizationPlan, ValueGrid, WeightGrid
from onnxprune.results.providers import Threads, count, counted
from onnxprune.results.quantization import FLOAT, QuantizationSummary, QuantizedLayer
from onnxprune.trace.groups import Trace

Whole = tuple[Trace, NDArray[np.bool_]]
RECURRENT = ("LSTM",)
PRODUCTS, HARMLESS = 0.5, 0.001
"""Share of the work from which dynamic quantisation is looked at, and squared error of fixed ranges up to which it need
not be."""
SLACK = 0.03
"""Of the least time: what may be given for a smaller error where no error is named."""
WORTH = 0.9
"""A repair that leaves more of the error than this is noise of the samples: weights then stay the nearest. Of a network
that lost something any gain counts: its errors are far above that noise.
"""
OUTSIDE = "it does not lie between layers that compute with integers"
SLOWER = "with floats it is faster here, or as fast and more exact"


@dataclass(frozen=True)
class Quantized:
    """`model` as the file has it; `graph`: of the original in the form whose layers are quantised. `plan` is None if
    nothing was quantised. `layers`: nodes of that graph that are in integers. `twin`: with other schemes than static
    the float model that the file stands for.
    """

    model: Model
    graph: Graph
    plan: QuantizationPlan | None
    summary: QuantizationSummary
    layers: tuple[int, ...] = ()
    twin: Model | None = None
    divided: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """values of `graph` whose channels are smaller than the original's, and by what"""


@dataclass(frozen=True)
class _Fixing:
    """How weights are adjusted: on so many cores, with `effort` times the usual steps."""

    workers: Threads
    effort: Effort | None


def quantized(
    trace: Trace,
    request: QuantizeRequest,
    samples: Samples | None,
    clock: Clock,
    gate: Gate | None = None,
    *,
    whole: Whole | None = None,
    share: float | None = None,
    threads: Threads = 0,
    workers: int | None = None,
    effort: Effort | None = None,
) -> Quantized:
    """The network of `trace`, quantised. Raises UsageError for patterns of names that match nothing, ModelError for
    what cannot be prepared, NotFinite where it overflows on the samples, GateError where no choice keeps the bounds.

    `whole`: the trace of the original and what is kept of it, if `trace` is that of a network cut from it; repair aims
    at the original, and bounds are on the way to it. `share`: of the time of `trace`'s network that the result may
    take; it is then as exact as that allows. `workers`: threads of the repair, if others than of what is measured;
    `effort`: of the repair, if not as requested.
    """
    if request.scheme in (DYNAMIC, WEIGHTS):
        return _weights(trace, request, samples, clock, threads)
    assert samples is not None
    aim = whole or (trace, np.ones(trace.unit_count, bool))
    fixing = _Fixing(threads if workers is None else counted(threads, workers), effort)
    return _static(trace, aim, request, samples, clock, gate, share, threads, fixing)


# ---- static ----------------------------------------------------------------------------------------------------
def _static(
    trace: Trace,
    whole: Whole,
    request: QuantizeRequest,
    samples: Samples,
    clock: Clock,
    gate: Gate | None,
    share: float | None,
    threads: Threads,
    fixing: _Fixing,
) -> Quantized:
    clock.start("prepare")
    net = network(trace, request)
    if not net.whole and request.scheme == AUTO and net.share_of_products() >= PRODUCTS:  # of recurrent layers
        return _weights(trace, replace(request, scheme=DYNAMIC), samples, clock, threads)
    if not net.whole:
        return Quantized(trace.graph.model, net.graph, None, _summary(net, request, frozenset(), {}, None))
    clock.start("ranges")
    net = evened(net, request, samples, threads)
    asked = [request.scheme, request.ranges, request.device, request.include, request.exclude]
    key = key_of(clock.memory, net.graph.model, asked)
    grids = clock.memory.call("ranges", key, lambda: all_grids(net, request, samples, threads), (Grids, Grid))
    nodes, errors = net.whole, dict[int, float]()
    if request.scheme == AUTO:
        if request.limits.given:
            found, errors = choices(net, grids, samples, clock, threads)
            clock.start("limits")
            nodes = bounded(whole[0].graph.model, net, grids, found, request, samples, gate, threads)
        else:  # by times, which another run would not measure again
            taken, errors = clock.memory.call(
                "integers", [key, share], lambda: _taken(net, grids, samples, clock, threads, share)
            )
            nodes = frozenset(taken)
        if not request.limits.given and dynamic_is_better(net, grids, nodes, samples, threads):
            if request.form == QOPERATOR:
                raise UsageError(
                    "--form qoperator has fixed ranges, and here --scheme auto found those of every run to be better.",
                    hint="Take --scheme static, or leave out --form.",
                )
            return _weights(trace, replace(request, scheme=DYNAMIC), samples, clock, threads)
    clock.start("rewrite")
    model = written(net, grids, nodes)
    layers = tuple(index for index in net.layers if index in nodes)
    plan = _plan(net.graph, layers, model, grids)
    made = Quantized(model, net.graph, plan, _summary(net, request, nodes, errors, None), layers, divided=net.divided)
    if request.repair == RECONSTRUCT:
        made = adjusted(made, whole, request, samples, clock, workers=fixing.workers, effort=fixing.effort)
    spelled = with_operators(made.model) if request.form == QOPERATOR else Spelled(made.model)
    return replace(made, model=spelled.model, summary=replace(made.summary, notes=spelled.notes))


def _taken(
    net: Network, grids: Grids, samples: Samples, clock: Clock, threads: Threads, share: float | None
) -> tuple[list[int], dict[int, float]]:
    """The nodes that are in integers where no bound is asked for, and the errors of layers alone."""
    found, errors = choices(net, grids, samples, clock, threads)
    return sorted(picked(net, grids, found, errors, samples, threads, share=share)), errors


def adjusted(
    made: Quantized,
    whole: Whole,
    request: QuantizeRequest,
    samples: Samples,
    clock: Clock,
    *,
    workers: Threads = 0,
    effort: Effort | None = None,
) -> Quantized:
    """What was quantised with quantisers, all its weights adjusted together on their grids, towards `whole`. Networks
    of other schemes stay what they are. `workers`, `effort`: see `quantized`.
    """
    if made.summary.scheme != STATIC or made.plan is None or request.repair != RECONSTRUCT:
        return made
    clock.start("rebuild")
    model, rebuilt = _rebuilt(whole, made, samples, request, clock, _Fixing(workers, effort))
    return replace(made, model=model, summary=replace(made.summary, reconstruction=rebuilt))


def picked(
    net: Network,
    grids: Grids,
    found: Sequence[Choice],
    errors: Mapping[int, float],
    samples: Samples,
    threads: Threads,
    *,
    share: float | None = None,
) -> frozenset[int]:
    """Of a few choices the one of the least error for a time that, measured, is hardly longer than the least; or not
    longer than `share` of the time that floats take, if one of them is not.
    """
    some = [one for one in found if one.nodes & set(net.layers)]
    near = [one for one in some if one.seconds <= (1 + SLACK) * found[0].seconds]
    more = [] if share is None else some[:: max(len(some) // FEW, 1)]
    everything = Choice(net.whole, 0.0, sum(errors.values()))
    tried = list({one.nodes: one for one in (everything, *near[:1], *near[-1:], *more)}.values())
    models = [written(net, grids, one.nodes) for one in tried]
    original, asked = net.trace.graph.model, [] if share is None else [share]
    times = seconds_of([*models, *([original] if asked else [])], samples.few(original, 1), count(threads))
    allowed = max((1 + SLACK) * min(times), *(one * times[-1] for one in asked), 0.0)
    best = min((k for k in range(len(tried)) if times[k] <= allowed), key=lambda k: tried[k].error)
    return tried[best].nodes


def bounded(
    original: Model,
    net: Network,
    grids: Grids,
    found: Sequence[Choice],
    request: QuantizeRequest,
    samples: Samples,
    gate: Gate | None,
    threads: Threads,
) -> frozenset[int]:
    """The fastest choice that is so near to the original, before any repair. Raises GateError."""
    limits = request.limits
    held_out = samples.batches[-samples.held_out :]

    def broken(choice: Choice) -> str | None:
        with as_file(written(net, grids, choice.nodes)) as path:
            reason = limits.broken(fidelity(original, path, held_out, threads=count(threads)))
            if reason is None and gate is not None and limits.max_drop is not None:
                drop = gate.drop(path)
                if not drop <= limits.max_drop:
                    reason = f"{gate.metric.label} falls by {drop:.4g}, --max-drop allows {limits.max_drop:.4g}"
        return reason

    some = [one for one in found if one.nodes & set(net.layers)] or [Choice(net.whole, 0.0, 0.0)]
    return first_within(some, broken).nodes


def dynamic_is_better(net: Network, grids: Grids, nodes: frozenset[int], samples: Samples, threads: Threads) -> bool:
    """Whether ranges of every run suit the network better: of products alone, and where fixed ones do harm."""
    if net.share_of_products() < PRODUCTS:
        return False
    if net.share_of_products(RECURRENT) >= PRODUCTS:  # which know no other integers
        return True
    few = samples.few(net.trace.graph.model, FEW)
    wanted = [observer(net.graph.model, net.judged).run(None, dict(few))]
    fixed = output_error(written(net, grids, nodes), net.judged, [few], wanted)
    if fixed <= HARMLESS:
        return False
    free = dynamic(net.trace, None, threads=threads).model
    return output_error(free, net.judged, [few], wanted) < fixed


def _rebuilt(
    whole: Whole, made: Quantized, samples: Samples, request: QuantizeRequest, clock: Clock, fixing: _Fixing
) -> tuple[Model, ReconstructionSummary]:
    """All weights adjusted together, on their grids."""
    model, working = made.model, hoisted(made.model)
    with clock.ending.offered():
        done = reconstruct(
            *whole,
            working,
            samples.batches,
            samples.held_out,
            masks=masks_of(working, stored_grids(model)) or None,
            grids=stored_grids(model),
            divided=made.divided,
            independent=samples.independent,
            more=samples.more,
            seed=request.seed,
            effort=fixing.effort or Effort(request.effort),
            threads=fixing.workers,
            progress=clock.steps(),
        )
    before, after = math.sqrt(done.before), math.sqrt(done.after)
    if done.steps and after > (WORTH if whole[1].all() else 1.0) * before:
        little = f"it would take no more than {1 - after / before:.0%} of the error: noise of the samples"
        return model, ReconstructionSummary(0, before, before, len(done.frozen), little)
    told = ReconstructionSummary(done.steps, before, after, len(done.frozen), done.reason)
    return (lowered(model, done.model) if done.steps else model), told


def _plan(graph: Graph, layers: Collection[int], model: Model, grids: Grids) -> QuantizationPlan:
    """What was asked of the values that the file rounds: a rectifier's input is none of them."""
    there = stored(build(model)).values
    strange = next((key for key in there if key not in grids.values), None)
    if strange is not None:
        raise ModelError(f"value {strange!r} was rounded, and nobody asked for it")
    on = [(key, grids.values[key]) for key in there]
    read = {key for index in layers for key in graph.nodes[index].inputs}
    held = [(key, grid) for key, grid in grids.weights.items() if key in read]
    return QuantizationPlan(
        STATIC,
        tuple(named(graph, layers)),
        tuple(ValueGrid(key, TYPES[one.dtype], float(one.scale), int(one.zero_point)) for key, one in on),
        tuple(WeightGrid(key, TYPES[one.dtype], one.axis, one.block, digest(one)) for key, one in held),
    )


def _summary(
    net: Network,
    request: QuantizeRequest,
    nodes: frozenset[int],
    errors: Mapping[int, float],
    rebuilt: ReconstructionSummary | None,
) -> QuantizationSummary:
    layers = tuple(_layer(net, one, nodes, errors.get(index)) for index, one in net.found.items())
    return QuantizationSummary(STATIC, request.form, request.weights, request.ranges, layers, rebuilt)


def _layer(net: Network, one: Candidate, nodes: frozenset[int], error: float | None) -> QuantizedLayer:
    node = net.graph.nodes[one.node]
    held = one.kind == "layer" and len(node.inputs) > 1 and node.inputs[1] in net.graph.model.tensors
    weight = node.inputs[1] if held else None
    if one.node in nodes:
        return QuantizedLayer(node.label, node.op_type, one.kind, "int8", weight, error)
    reason = one.reason or (SLOWER if one.node in net.whole else OUTSIDE)
    return QuantizedLayer(node.label, node.op_type, one.kind, FLOAT, weight, error, reason)


# ---- weights alone ---------------------------------------------------------------------------------------------
def _weights(
    trace: Trace, request: QuantizeRequest, samples: Samples | None, clock: Clock, threads: Threads
) -> Quantized:
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
    plan = QuantizationPlan(request.scheme, tuple(one.node for one in small), weights=done.grids)
    return Quantized(done.model, graph, plan, summary, twin=done.twin)


def _weight_layer(one: WeightLayer) -> QuantizedLayer:
    precision = FLOAT if one.kind is None else one.kind.split()[0].replace(DYNAMIC, "int8")
    return QuantizedLayer(one.node, one.operator, "layer", precision, one.weight, one.error, one.reason)

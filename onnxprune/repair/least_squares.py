"""Least squares of every layer that lost inputs: sequential and asymmetric.

Layers are visited in order. X are the inputs of the layer in the network that is cut and refitted so far, T what the
original gives there, so errors do not pile up (He et al., Channel Pruning, ICCV 2017; ThiNet). Where the output meets
another value in an Add (a residual block), T is the original sum minus that other value as it is now: the layer also
makes up for the error that the shortcut carries. With G = X'X, R = X'T:

    (G + lambda m D) W = R + lambda m D W0,   m = mean diagonal of G, D = 1 but 0 for the bias

lambda is chosen on held-out samples, which are never fitted, so that what is said of them later holds. A layer whose
held-out error does not fall keeps its weights. The groups of a convolution are problems of their own, solved as one
stack; a depthwise one loses no inputs, but those it keeps have changed, and its few taps follow them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.capture.features import Linear, linear_layer, residual_partner
from onnxprune.capture.layers import matched, with_bias, write
from onnxprune.capture.moments import Split
from onnxprune.capture.rows import Unmatched
from onnxprune.capture.solve import solve
from onnxprune.capture.walker import Array, Walker
from onnxprune.model.dynamic_products import ends
from onnxprune.model.folding import folded
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.names import fresh, taken
from onnxprune.model.plain import copyable, hoisted, lowered, outputs_of
from onnxprune.model.tensors import LazyTensor
from onnxprune.repair.rectified import Clipping, clipping_behind, error_behind, rectified
from onnxprune.results.progress import watched
from onnxprune.results.providers import Threads
from onnxprune.results.units import format_percent
from onnxprune.trace.groups import Trace

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
BIASED = frozenset({"Conv", "ConvTranspose", "Gemm"})
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class LayerFit:
    """Held-out error of a layer relative to its target's power (`capture.moments.meaningful`): bare cut, and after the
    fit (`ridge` 0: kept).
    """

    node: str
    before: float
    after: float
    ridge: float


@dataclass(frozen=True)
class Refit:
    """`unmatched`: of the layers that were skipped, those that have no rows to be fitted to, and why."""

    model: Model
    layers: tuple[LayerFit, ...]
    skipped: tuple[str, ...]
    unmatched: Mapping[str, str] = field(default_factory=dict)


def with_biases(model: Model, names: set[str]) -> Model:
    """Give layers among `names` (by first output) of a `hoisted` model a bias of their own, to be fitted: zeros where
    they have none, and a copy where they share one.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    tensors = dict(model.tensors)
    used = taken(proto, tensors)
    graph = build(model)
    for node in proto.graph.node:
        if not node.output or node.output[0] not in names or node.op_type not in BIASED:
            continue
        old = node.input[2] if len(node.input) > 2 else ""
        weight = tensors.get(node.input[1])
        if weight is None or (old and not copyable(graph, old)):
            continue
        name = fresh(f"{node.output[0]}.bias.fitted", used)
        bias = folded(graph, old) if old else np.zeros(outputs_of(node, weight.shape), np.float32)
        tensors[name] = LazyTensor.from_array(name, bias, weight.dtype)
        del node.input[2:]
        node.input.append(name)
    return model.replace(proto, tensors)


def least_squares(
    trace: Trace,
    keep: Bools,
    cut: Model,
    batches: list[dict[str, Array]],
    held_out: int,
    *,
    threads: Threads = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Refit:
    """Refit the layers of `cut` that lost inputs, on batches of samples of which the last `held_out` are held out."""
    losers = _losers(trace, keep)
    bare, cut = cut, _prepared(trace, losers, cut)
    original = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    current = Walker(cut, batches, trace.facts.dtypes, threads, as_it_is=True)
    by_output = _by_output(current.graph)
    fits: list[LayerFit] = []
    skipped: list[str] = []
    unmatched: dict[str, str] = {}
    for number, index in enumerate(losers):
        node = trace.graph.nodes[index]
        layer = fittable(current.graph, by_output.get(_first_output(node)), implied=True)
        if layer is None:
            skipped.append(node.label)
            continue
        partner = residual_partner(trace.graph, layer.y)
        phi = None if layer.implied else clipping_behind(current.graph, partner[0] if partner else layer.y)
        kept = _kept(trace, node, layer, keep)
        try:
            split = matched(trace.graph, layer, original, current, held_out, index, kept, keep_rows=phi is not None)
            fits.append(fit_layer(node.label, layer, split, current, phi))
            watched(progress).say(f"{node.label}, held-out error {_fell(fits[-1])}")
        except Unmatched as problem:
            skipped.append(node.label)
            unmatched[node.label] = problem.reason
        if progress is not None:
            progress(number + 1, len(losers))
    tensors = {name: current.tensors[name] for name in cut.tensors}
    model = lowered(bare, cut.replace(cut.proto, tensors))
    return Refit(model, tuple(fits), tuple(skipped), unmatched)


def _fell(fit: LayerFit) -> str:
    """Of the norm, as the errors of outputs are said."""
    before, after = (format_percent(error**0.5) for error in (fit.before, fit.after))
    return f"{before} -> {after}" if fit.ridge else f"{before}: no fit is better, and it keeps its weights"


def _prepared(trace: Trace, losers: list[int], cut: Model) -> Model:
    nodes = (trace.graph.nodes[index] for index in losers)  # what integers give has a sum behind it instead
    return with_biases(hoisted(cut), {node.proto.output[0] for node in nodes if node.op_type in BIASED})


def unfittable(trace: Trace, keep: Bools, cut: Model) -> tuple[str, ...]:
    """The layers that `least_squares` will skip, by name."""
    losers = _losers(trace, keep)
    graph = build(_prepared(trace, losers, cut))
    by_output = _by_output(graph)
    nodes = [trace.graph.nodes[index] for index in losers]
    found = [fittable(graph, by_output.get(_first_output(node)), implied=True) for node in nodes]
    return tuple(node.label for node, layer in zip(nodes, found, strict=True) if layer is None)


def _by_output(graph: Graph) -> dict[str, Node]:
    """The nodes at the top level by their first output that has a name."""
    return {_first_output(n): n for n in graph.nodes if n.scope == 0 and _first_output(n)}


def _first_output(node: Node) -> str:
    return next((name for name in node.proto.output if name), "")


def _kept(trace: Trace, node: Node, layer: Linear, keep: Bools) -> Callable[[str, Array], Array]:
    """What the cut network has of a value of the original; of a product that is implied, by the rows of its weight."""
    if not layer.implied:
        return lambda key, value: trace.kept_part(key, keep, value)
    axes = trace.state.uses.get((node.index, 1)) or trace.axes(
        node.inputs[1]
    )  # of a constant, or of what is made of one
    rows = axes[1] if len(axes) > 1 else None
    if rows is None:
        return lambda key, value: value
    mask = keep[trace.table[rows]]
    return lambda key, value: value[..., np.tile(mask, value.shape[-1] // mask.size)]


def _losers(trace: Trace, keep: Bools) -> list[int]:
    """Top-level layers whose summed indices lost some, and grouped convolutions whose outputs did, in order."""
    given = ends(trace.graph)
    found = {
        given.get(closing.node, closing.node)
        for closing in trace.closings
        if closing.kind in ("sum", "integers") and closing.slot == 0 and not keep[closing.labels].all()
    }
    for node in trace.graph.nodes:
        grouped = node.op_type in ("Conv", "ConvTranspose") and not node.domain and node.attribute("group", 1) > 1
        outputs = trace.axes(node.outputs[0])[1:2] if grouped else []  # none either if it was never traced
        if any(labels is not None and not keep[labels].all() for labels in outputs):
            found.add(node.index)
    return [n.index for n in trace.graph.nodes if n.index in found and n.scope == 0]


def fittable(graph: Graph, node: Node | None, *, implied: bool = False) -> Linear | None:
    """The linear view, if the weight (and bias) belong to this layer alone and live in an initializer."""
    layer = None if node is None else linear_layer(graph, node, implied=implied)
    if layer is None:
        return None
    for key in (layer.weight, layer.bias):
        if key is not None and (key not in graph.model.tensors or len(graph.consumers.get(key, ())) != 1):
            return None
    return layer


def fit_layer(name: str, layer: Linear, split: Split, current: Walker, phi: Clipping | None) -> LayerFit:
    """Refit one layer where held-out samples say that it helps, and write it; `phi`: the activation behind it."""
    start = with_bias(layer, current.tensors)
    fits_bias = layer.bias is not None
    for part in (split.fit, split.held_out):
        part.require_finite(name)
    power = split.scale(start)
    before = split.held_out.error(start)
    best, ridge, plain = before, 0.0, start
    for candidate in RIDGES:
        solution = solve(split.fit, start, candidate, fits_bias)
        error = np.inf if solution is None else split.held_out.error(solution)
        if solution is not None and error < best:
            best, ridge, plain = error, candidate, solution
    if not ridge:
        return LayerFit(name, max(before, 0.0) / power, max(before, 0.0) / power, 0.0)  # below 0 is rounding
    worse = split.held_out.errors(plain) >= split.held_out.errors(start)  # of single groups
    plain = np.where(worse[..., None, None], start, plain)
    best = split.held_out.error(plain)
    solution, fit, judge = plain, split.fit_rows, split.held_out_rows
    if phi is not None and fit is not None and judge is not None:
        bent = rectified(split.fit, fit, plain, phi, start, ridge, fits_bias)
        if error_behind(judge, bent, phi) < error_behind(judge, plain, phi):
            solution = bent
    write(layer, solution, current, bias=fits_bias)
    return LayerFit(name, max(before, 0.0) / power, max(best, 0.0) / power, ridge)

"""From a network to one with sparse weights: which layers, in which blocks; masked, refitted, and as a file has it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxprune import native
from onnxprune.capture.samples import Samples
from onnxprune.choose.ranking import matching
from onnxprune.cut.plan import SparsePlan, SparseWeight
from onnxprune.errors import UsageError, VerificationError
from onnxprune.model.load import Model
from onnxprune.model.plain import hoisted
from onnxprune.results.clock import Clock
from onnxprune.results.providers import Threads, count
from onnxprune.results.sparse import SparseLayer, SparsitySummary
from onnxprune.results.units import format_percent
from onnxprune.sparse.masks import Mask, dense_zeros, sparse_initializers
from onnxprune.sparse.patterns import UNSTRUCTURED, Pattern
from onnxprune.sparse.rewrite import Rewritten, rewrite
from onnxprune.sparsifying.layers import IntegerLayer, Layer, check_finite, integer_masks, layers_of, unseen
from onnxprune.sparsifying.masks import NEED_DATA, Masked, MaskedLayer, MaskRequest, masked
from onnxprune.sparsifying.masks.errors import output_errors
from onnxprune.sparsifying.masks.walk import Teacher
from onnxprune.sparsifying.request import CANDIDATES, OPERATORS, SPARSE_INITIALIZERS, SparseRequest
from onnxprune.sparsifying.zeros import blocks_kept
from onnxprune.trace import trace_model
from onnxprune.trace.groups import Trace

if TYPE_CHECKING:
    from onnxprune.sparsifying import tuning

Bools = NDArray[np.bool_]
NOTHING = "it keeps all of its weights"


@dataclass(frozen=True)
class Sparsified:
    """`model` as the file has it, and `twin`, the dense model with the same zeros. `plan` is None if no layer became
    sparse; then both are the network that was given.
    """

    model: Model
    twin: Model
    plan: SparsePlan | None
    summary: SparsitySummary

    @property
    def weights(self) -> tuple[str, ...]:
        """Initializers of the twin that have zeros."""
        return () if self.plan is None else tuple(one.weight for one in self.plan.weights)


@dataclass(frozen=True)
class _Layers:
    """What is decided before anything is masked."""

    patterns: Mapping[str, Pattern]
    dense: Mapping[str, str]
    depthwise: tuple[str, ...] | None = None
    """as measured; None: those beside sparse layers"""

    def asked(
        self, request: SparseRequest, integers: Sequence[IntegerLayer], trained: Sequence[IntegerLayer]
    ) -> MaskRequest:
        """What masking is to do: float layers, and those of integers that are `trained`, in blocks that these have."""
        names = {layer.weight for layer in integers}
        patterns = {name: found for name, found in self.patterns.items() if name not in names}
        patterns |= {one.key: self.pattern(request, one) for one in trained}
        dense = {name: reason for name, reason in self.dense.items() if name not in names}
        return request.masks(patterns, dense, {one.key: one.weight for one in trained})

    def pattern(self, request: SparseRequest, layer: IntegerLayer) -> Pattern:
        return self.patterns.get(layer.weight, (request.pattern or UNSTRUCTURED).for_integers)

    def trained(
        self, request: SparseRequest, integers: Sequence[IntegerLayer], model: Model, samples: Samples | None
    ) -> list[IntegerLayer]:
        """Layers of integers that samples say something of: those whose weights DequantizeLinear makes numbers."""
        if samples is None or (request.method not in NEED_DATA and request.repair == "none"):
            return []
        working = hoisted(model).tensors
        free = [one for one in integers if one.reason is None and one.weight not in self.dense]
        return [one for one in free if one.key in working]


def sparsified(
    trace: Trace,
    request: SparseRequest,
    samples: Samples | None,
    clock: Clock,
    *,
    whole: tuple[Trace, Bools] | None = None,
    threads: Threads = 0,
) -> Sparsified:
    """The network of `trace` with sparse weights. `whole`: the trace of the original and what is kept of it, if
    `trace` is that of a network cut from it; repair aims at the original.

    Raises UsageError for patterns of names that match nothing, ModelError for an opset that operators do not have.
    """
    given = trace.graph.model
    if request.emit == OPERATORS:
        rewrite(given, {})  # which may not be possible at all: known before the long part
    found = layers_of(given)
    layers = _chosen(trace, tuple(found.values()), request, clock, threads)
    integers = [one for one in found.values() if isinstance(one, IntegerLayer)]
    later = ("rebuild",) if request.repair == "reconstruct" else ()
    while True:
        clock.start("mask")
        trained = layers.trained(request, integers, given, samples)
        asked = layers.asked(request, integers, trained)
        with clock.ending.offered() if later else nullcontext():
            done = masked(trace, asked, samples, whole=whole, threads=threads, progress=clock.steps(*later))
        rest = [one for one in integers if one.key not in asked.integers]
        done = _with_integers(done, rest, request, layers)
        if samples is not None:
            teacher = Teacher(*(whole or (trace, np.ones(trace.unit_count, bool))))
            done = _with_errors(done, rest, teacher, trace, samples, threads)
        bad = _too_far(done, request)
        if not bad:
            break
        layers = replace(layers, dense={**layers.dense, **bad})
    clock.start("rewrite")
    masks = {name: mask for name, mask in done.masks.items() if not mask.keep.all()}
    _check_zeros(done, masks)
    emitted = _emitted(done.model, masks, request, layers, trace) if masks else Rewritten(given)
    plan = _plan(done, masks, request, found, emitted) if masks else None
    original = given if whole is None else whole[0].graph.model
    summary = _summary(request, original, done, emitted, masks, sum(one.weight in masks for one in rest))
    return Sparsified(emitted.model, done.model if masks else given, plan, summary)


def _with_integers(done: Masked, found: Sequence[IntegerLayer], request: SparseRequest, layers: _Layers) -> Masked:
    """Masks of integer layers as well, by magnitude."""
    if not found:
        return done
    patterns = {one.weight: layers.pattern(request, one) for one in found if one.weight not in layers.dense}
    masks = integer_masks(done.model, found, patterns, request.sparsity, lock=request.lock)
    more = tuple(
        MaskedLayer(
            one.node,
            one.weight,
            layers.pattern(request, one),
            math.prod(one.shape),
            int(np.count_nonzero(masks[one.weight].keep)) if one.weight in masks else math.prod(one.shape),
            reason=one.reason or layers.dense.get(one.weight),
        )
        for one in found
    )
    both = {**done.masks, **masks}
    return replace(done, model=dense_zeros(done.model, masks), masks=both, layers=(*done.layers, *more))


def _with_errors(
    done: Masked, found: Sequence[IntegerLayer], teacher: Teacher, trace: Trace, samples: Samples, threads: Threads
) -> Masked:
    """The errors of integer layers that have masks, which `masked` does not know."""
    keys = {one.weight: one.output for one in found if one.weight in done.masks}
    if not keys:
        return done
    judged = samples.batches[-samples.held_out :]
    errors = output_errors(teacher, done.model, trace.facts.dtypes, keys, judged, threads)
    layers = tuple(replace(one, error=errors.get(one.weight, one.error)) for one in done.layers)
    return replace(done, layers=layers)


def _left_out(trace: Trace, found: Sequence[Layer], request: SparseRequest) -> dict[str, str]:
    """By weight, why `--include` and `--exclude` leave a layer dense. Raises UsageError."""
    dense: dict[str, str] = {}
    for names, option, reason in (
        (request.include, "--include", "not included"),
        (request.exclude, "--exclude", "excluded"),
    ):
        labels = {trace.graph.nodes[index].label for index in matching(trace.graph, names, option)}
        wanted = option == "--include"
        if names:
            dense.update({layer.weight: reason for layer in found if (layer.node in labels) != wanted})
    return dense


def _chosen(trace: Trace, found: Sequence[Layer], request: SparseRequest, clock: Clock, threads: Threads) -> _Layers:
    """Layers that were excluded, and with `--pattern auto` what the measurement says."""
    dense = _left_out(trace, found, request)
    check_finite(trace.graph.model, [one for one in found if one.reason is None and one.weight not in dense])
    if request.pattern is not None:
        return _Layers({}, dense)
    weights = [layer.weight for layer in found if layer.reason is None and layer.weight not in dense]
    choice = _measured(trace, request, weights, clock, threads).choice
    rest = dict.fromkeys((w for w in weights if w not in choice.patterns), "it was not measured")
    return _Layers(choice.patterns, {**rest, **choice.dense, **dense}, choice.depthwise)


def fastest(trace: Trace, request: SparseRequest, clock: Clock, threads: Threads) -> tuning.Selection:
    """Which layers have zeros, and in which blocks, so that the network is fastest here: measured, or known from
    before. Raises UsageError if there are no operators, or patterns of names match nothing.
    """
    found = layers_of(trace.graph.model)
    dense = _left_out(trace, tuple(found.values()), request)
    weights = [name for name, layer in found.items() if layer.reason is None and name not in dense]
    return _measured(trace, request, weights, clock, threads)


def _measured(
    trace: Trace, request: SparseRequest, weights: Sequence[str], clock: Clock, threads: Threads
) -> tuning.Selection:
    from onnxprune.sparsifying.tuning import select
    from onnxprune.sparsifying.tuning.cache import cache_folder

    problem = native.problem()
    if problem is not None:
        raise UsageError(
            f"--pattern auto times the sparse operators, and they are missing here: {problem}",
            hint="Or name the blocks: --pattern 4x1.",
        )
    if request.emit != OPERATORS:
        raise UsageError(f"--pattern auto chooses operators; it has no effect with --emit {request.emit}.")
    clock.start("choose")
    model = hoisted(trace.graph.model, integers=False)
    traced = trace if model is trace.graph.model else trace_model(model)
    return select(
        traced,
        request.sparsity,
        CANDIDATES,
        threads=count(threads),
        cache=cache_folder(),
        progress=clock.steps(),
        weights=weights,
    )


def _too_far(done: Masked, request: SparseRequest) -> dict[str, str]:
    """Layers whose error stays above what is allowed, with the reason."""
    if request.max_error is None:
        return {}
    return {
        layer.weight: f"its error would be more than --max-error allows: {format_percent(layer.error)}"
        for layer in done.layers
        if layer.reason is None and layer.error is not None and not layer.error <= request.max_error
    }


def _check_zeros(done: Masked, masks: Mapping[str, Mask]) -> None:
    """What a mask removes is zero, whatever repair did."""
    for name, mask in masks.items():
        if np.any(done.model.tensors[name].array()[~mask.keep]):
            raise VerificationError(f"weight {name!r} is not zero where its mask removes it")


def _emitted(
    model: Model, masks: Mapping[str, Mask], request: SparseRequest, layers: _Layers, trace: Trace
) -> Rewritten:
    if request.emit == SPARSE_INITIALIZERS:
        return Rewritten(sparse_initializers(model, list(masks)))
    if request.emit != OPERATORS:
        return Rewritten(model)
    depthwise = layers.depthwise
    if depthwise is None:
        from onnxprune.sparsifying.tuning import depthwise_beside

        known = set(model.tensors)
        depthwise = tuple(name for name in depthwise_beside(trace, list(masks)) if name in known)
    return rewrite(model, masks, depthwise=depthwise)


def _plan(
    done: Masked, masks: Mapping[str, Mask], request: SparseRequest, found: Mapping[str, Layer], emitted: Rewritten
) -> SparsePlan:
    weights = []
    for layer in done.layers:
        mask = masks.get(layer.weight)
        if mask is not None:
            blocks = blocks_kept(found[layer.weight], mask.pattern, mask.keep)
            kept = int(np.count_nonzero(mask.keep))
            weights.append(SparseWeight(layer.weight, str(mask.pattern), mask.keep.size, kept, blocks))
    return SparsePlan(request.emit, tuple(weights), tuple(sorted(emitted.depthwise)))


def _summary(
    request: SparseRequest,
    original: Model,
    done: Masked,
    emitted: Rewritten,
    masks: Mapping[str, Mask],
    integers: int,
) -> SparsitySummary:
    layers = tuple(_layer(layer, emitted, masks) for layer in done.layers)
    sparse = [layer for layer in layers if layer.sparse]
    size = sum(layer.size for layer in sparse)
    before = hoisted(original, integers=False)
    return SparsitySummary(
        request.sparsity,
        1.0 - sum(layer.kept for layer in sparse) / size if size else 0.0,
        request.pattern_text,
        request.method,
        request.scope,
        request.emit,
        request.repair,
        sum(layer.size for layer in layers),
        sum(_nonzero(done.model, layer) for layer in layers),
        sum(_nonzero(before, layer) for layer in layers_of(before).values()),
        layers,
        done.reconstruction,
        library=native.problem() if emitted.operators else None,
        integers=integers,
        notes=unseen(original),
    )


def _layer(layer: MaskedLayer, emitted: Rewritten, masks: Mapping[str, Mask]) -> SparseLayer:
    reason = layer.reason
    if reason is None and layer.weight not in masks:
        reason = NOTHING
    return SparseLayer(
        layer.node,
        layer.weight,
        str(layer.pattern),
        layer.size,
        layer.kept,
        layer.error_masked,
        layer.error,
        emitted.operators.get(layer.node),
        reason or emitted.declined.get(layer.node),
    )


def _nonzero(model: Model, layer: SparseLayer | Layer) -> int:
    tensor = model.tensors.get(layer.weight)
    return 0 if tensor is None else int(np.count_nonzero(tensor.array()))

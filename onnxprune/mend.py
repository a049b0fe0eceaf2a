"""Repair of a cut model by the method that was asked for, with what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.capture.batches import affordable
from onnxprune.capture.features import linear_layer
from onnxprune.model.cost import total
from onnxprune.model.load import Model
from onnxprune.model.plain import declared, hoisted, lowered, settable
from onnxprune.repair import correct_biases
from onnxprune.repair.least_squares import least_squares
from onnxprune.repair.merge import merge
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.repair.scale_shift import scale_shift
from onnxprune.results import LayerRepair, ReconstructionSummary, RepairSummary, SkippedLayer
from onnxprune.samples import Samples
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
UNKNOWN_MEANS = "its channel means are unknown"


@dataclass(frozen=True)
class Stage:
    """The last step of a removal in steps: `smaller` keeps `keep` (units,) of a network that was repaired before."""

    traced: Trace
    keep: Bools
    smaller: Model

    def named_as(self, model: Model) -> Model:
        """`smaller`, with the metadata of `model`."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.smaller.proto)
        del proto.metadata_props[:]
        proto.metadata_props.extend(model.proto.metadata_props)
        return self.smaller.replace(proto, self.smaller.tensors)


def mend(
    trace: Trace,
    keep: Bools,
    cut: Model,
    method: str,
    samples: Samples | None,
    *,
    whole: tuple[Trace, Bools] | None = None,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Model, RepairSummary | None]:
    """The repaired model (`cut` itself if nothing changed). `method` is none, bias, merge, or, with samples,
    scale-shift, least-squares or reconstruct (which comes after least squares).

    Layers that cannot be refitted have their biases corrected instead. `whole`: the trace of the original, and what is
    kept of it, if `trace` is that of a network cut from it; reconstruction aims at the original.
    """
    if method == "none":
        return cut, None
    bare, cut = cut, hoisted(cut)
    if method in ("merge", "bias") or samples is None:
        return _from_weights(trace, keep, bare, cut, method)
    layerwise = scale_shift if method == "scale-shift" else least_squares
    batches = samples.batches
    if method == "reconstruct":  # which sees them all
        batches = affordable(cut, total(trace.graph, trace.facts)[0], batches, samples.held_out)
    refit = layerwise(trace, keep, cut, batches, samples.held_out, threads=threads, progress=progress)
    model, corrected = refit.model, 0
    if refit.skipped:
        corrections = correct_biases(trace, keep, model, only=frozenset(refit.skipped))
        model, corrected = corrections.model, corrections.corrected
    adjusted = None
    if method == "reconstruct":
        rebuilt = reconstruct(
            *(whole or (trace, keep)),
            model,
            samples.batches,
            samples.held_out,
            seed=seed,
            threads=threads,
            progress=progress,
        )
        model = rebuilt.model
        before, after = math.sqrt(rebuilt.before), math.sqrt(rebuilt.after)  # a ratio of norms, as fidelity says it
        adjusted = ReconstructionSummary(rebuilt.steps, before, after, len(rebuilt.frozen), rebuilt.reason)
    layers = tuple(LayerRepair(fit.node, fit.before, fit.after, fit.ridge) for fit in refit.layers)
    skipped = tuple(SkippedLayer(name, _why(trace, name)) for name in refit.skipped)
    refitted = sum(1 for layer in layers if not layer.kept)
    name = "scale and shift" if method == "scale-shift" else "least squares"
    name += "" if adjusted is None else " and reconstruction"
    if adjusted is not None and trace.removed_sums(keep):
        name = "reconstruction"  # no layer lost inputs
    return declared(lowered(bare, model)), RepairSummary(name, refitted, skipped, layers, corrected, adjusted)


def _from_weights(trace: Trace, keep: Bools, bare: Model, cut: Model, method: str) -> tuple[Model, RepairSummary]:
    """Bias correction, after merging if asked for."""
    found = merge(trace, keep, cut) if method == "merge" else correct_biases(trace, keep, cut)
    unknown = tuple(SkippedLayer(name, UNKNOWN_MEANS) for name in found.unknown)
    name = "merging and bias correction" if method == "merge" else "bias correction"
    model = declared(lowered(bare, found.model)) if found.corrected else bare
    return model, RepairSummary(name, found.corrected, unknown)


def mended(
    trace: Trace,
    keep: Bools,
    cut: Model,
    method: str,
    samples: Samples | None,
    stage: Stage | None,
    *,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Model, RepairSummary | None]:
    """`mend` of `cut`, or of the `stage` that ends where it does."""
    if stage is None or method == "none":
        return mend(trace, keep, cut, method, samples, seed=seed, threads=threads, progress=progress)
    return mend(
        stage.traced,
        stage.keep,
        stage.named_as(cut),
        method,
        samples,
        whole=(trace, keep),
        seed=seed,
        threads=threads,
        progress=progress,
    )


def _why(trace: Trace, name: str) -> str:
    """Why a layer has no least-squares problem that is its own."""
    node = next(n for n in trace.graph.nodes if n.label == name)
    if len(node.inputs) < 2 or not settable(trace.graph, node.inputs[1]):
        return "its weight is not a constant that only this layer reads"
    if linear_layer(trace.graph, node) is None:
        return f"this form of {node.op_type} is not seen as a matrix product"
    return "it shares its weight or bias with another layer"

"""Repair of a cut model by the method that was asked for, with what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.capture.batches import affordable
from onnxprune.capture.features import linear_layer
from onnxprune.capture.kept import key_of, repeated
from onnxprune.capture.samples import Samples
from onnxprune.measure.fidelity import fidelity
from onnxprune.model.cost import total
from onnxprune.model.grids import Grid
from onnxprune.model.load import Model
from onnxprune.model.loosened import loosened, tightened
from onnxprune.model.plain import declared, hoisted, lowered, settable, stored_grids
from onnxprune.model.recorded import tidied
from onnxprune.repair import correct_biases
from onnxprune.repair.bias import Corrections, losers
from onnxprune.repair.least_squares import least_squares, unfittable
from onnxprune.repair.lessons import USUAL, Effort
from onnxprune.repair.merge import Merged, merge
from onnxprune.repair.moments import Moments, measured, moments
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.repair.scale_shift import scale_shift
from onnxprune.results import LayerRepair, ReconstructionSummary, RepairSummary, SkippedLayer
from onnxprune.results.progress import watched
from onnxprune.results.providers import Threads, count
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
UNKNOWN_MEANS, WORSE = "its channel means are unknown", "with all of them held-out samples became worse"
RECONSTRUCT = "reconstruct"
FROM_MEANS: Mapping[str, tuple[Callable[..., Corrections | Merged], str]] = {
    "bias": (correct_biases, "bias correction"),
    "merge": (merge, "merging and bias correction"),
}
"""Repairs that need no samples, but means of channels: by name, what does it, and what it is called in reports."""
FROM_SAMPLES = {
    "scale-shift": (scale_shift, "scale and shift"),
    "least-squares": (least_squares, "least squares"),
    RECONSTRUCT: (least_squares, "least squares"),
}
"""Repairs layer by layer, on samples."""


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
    effort: Effort = USUAL,
    threads: Threads = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Model, RepairSummary | None]:
    """The repaired model (`cut` itself if nothing changed). `method`: none, one of FROM_MEANS, or, with samples, one
    of FROM_SAMPLES; after the last of these comes reconstruction.

    Layers that cannot be refitted have their biases corrected instead. `whole`: the trace of the original, and what is
    kept of it, if `trace` is that of a network cut from it; reconstruction aims at the original, in `effort` times the
    usual steps.
    """
    if method == "none":
        return cut, None
    packed, bare = cut, loosened(cut)
    cut = hoisted(bare)
    if method in FROM_MEANS:
        model, summary = _from_means(trace, keep, cut, method, samples, threads)
        return (packed if model is cut else _finished(lowered(bare, model), bare, packed)), summary
    if samples is None:
        raise ValueError(f"repair {method!r} takes samples")
    memory = watched(progress).memory
    model, summary = repeated(
        memory.slot("layer by layer", key_of(memory, cut, keep, method, trace.units_mode)),
        cut,
        lambda: _layer_by_layer(trace, keep, cut, method, samples, threads, progress),
        (RepairSummary, LayerRepair, SkippedLayer),
    )
    stored = bare
    if method == RECONSTRUCT:
        if stored_grids(bare):  # their scales are chosen, what rounds to them is trained
            stored = lowered(bare, model)
        model, adjusted = _together(
            whole or (trace, keep), model, stored_grids(stored), samples, seed, effort, threads, progress
        )
        # where whole blocks left, no layer lost inputs
        name = "reconstruction" if trace.removed_sums(keep) else f"{summary.method} and reconstruction"
        summary = replace(summary, method=name, reconstruction=adjusted)
    return _finished(lowered(stored, model), bare, packed), summary


def _finished(model: Model, bare: Model, packed: Model) -> Model:
    """`model`, made of `bare`, which is `packed` with its packed weights loosened, as the file has it."""
    return tightened(tidied(declared(model), bare), packed)


def _from_means(
    trace: Trace, keep: Bools, cut: Model, method: str, samples: Samples | None, threads: Threads
) -> tuple[Model, RepairSummary]:
    """With samples the held-out ones judge: `cut` itself if they got worse, or if no layer could be corrected."""
    repair, name = FROM_MEANS[method]
    found = repair(trace, keep, cut, known=_means(trace, keep, samples, threads))
    skipped = [SkippedLayer(layer, UNKNOWN_MEANS) for layer in found.unknown]
    if found.layers and samples is not None and _worse(trace.graph.model, cut, found.model, samples, threads):
        skipped += [SkippedLayer(layer, WORSE) for layer in found.layers]
        return cut, RepairSummary(name, 0, tuple(skipped))
    return found.model if found.layers else cut, RepairSummary(name, found.corrected, tuple(skipped))


def _worse(original: Model, before: Model, after: Model, samples: Samples, threads: Threads) -> bool:
    """Whether the outputs are further off on held-out samples, each relative to itself."""
    batches = samples.batches[-samples.held_out :]
    errors = [
        sum(one.relative_error or 0.0 for one in fidelity(original, model, batches, threads=count(threads)).outputs)
        for model in (before, after)
    ]
    return errors[1] > errors[0]


def _means(
    trace: Trace, keep: Bools, samples: Samples | None, threads: Threads, only: Collection[str] | None = None
) -> dict[str, Moments]:
    """What channels are on average: from the weights, and measured where layers (`only` these) lose channels."""
    known = moments(trace)
    if samples is not None:
        keys = {node.inputs[0] for node, _ in losers(trace, keep) if only is None or node.label in only}
        fitted = samples.batches[: len(samples.batches) - samples.held_out] or samples.batches
        known |= measured(trace, keys, fitted, threads)
    return known


def _layer_by_layer(
    trace: Trace,
    keep: Bools,
    cut: Model,
    method: str,
    samples: Samples,
    threads: Threads,
    progress: Callable[[int, int], None] | None,
) -> tuple[Model, RepairSummary]:
    """The layers that read what left are refitted, one after the other. Those that cannot be have their biases
    corrected: before, so that layers behind them are fitted to that, if it is known which they are.
    """
    repair, name = FROM_SAMPLES[method]
    batches = samples.batches
    if method == RECONSTRUCT:  # which sees them all
        batches = affordable(cut, total(trace.graph, trace.facts)[0], batches, samples.held_out)

    def corrected(model: Model, layers: Collection[str]) -> Corrections:
        known = _means(trace, keep, samples, threads, layers)
        return correct_biases(trace, keep, model, only=layers, known=known)

    early = unfittable(trace, keep, cut) if repair is least_squares else ()
    first = corrected(cut, early) if early else Corrections(cut, (), ())
    refit = repair(trace, keep, first.model, batches, samples.held_out, threads=threads, progress=progress)
    late = frozenset(refit.skipped) - set(early)
    last = corrected(refit.model, late) if late else Corrections(refit.model, (), ())
    layers = tuple(LayerRepair(fit.node, fit.before, fit.after, fit.ridge) for fit in refit.layers)
    why = {name: refit.unmatched.get(name) or _why(trace, name) for name in refit.skipped}
    skipped = tuple(SkippedLayer(name, reason) for name, reason in why.items())
    refitted = sum(1 for layer in layers if not layer.kept)
    return last.model, RepairSummary(name, refitted, skipped, layers, first.corrected + last.corrected)


def _together(
    whole: tuple[Trace, Bools],
    cut: Model,
    grids: Mapping[str, Grid],
    samples: Samples,
    seed: int,
    effort: Effort,
    threads: Threads,
    progress: Callable[[int, int], None] | None,
) -> tuple[Model, ReconstructionSummary]:
    """Reconstruction of all weights, those on `grids` as they are stored."""
    found = reconstruct(
        *whole,
        cut,
        samples.batches,
        samples.held_out,
        grids=grids,
        independent=samples.independent,
        more=samples.more,
        effort=effort,
        seed=seed,
        threads=threads,
        progress=progress,
    )
    before, after = math.sqrt(found.before), math.sqrt(found.after)  # a ratio of norms, as fidelity says it
    return found.model, ReconstructionSummary(found.steps, before, after, len(found.frozen), found.reason)


def mended(
    trace: Trace,
    keep: Bools,
    cut: Model,
    method: str,
    samples: Samples | None,
    stage: Stage | None,
    *,
    seed: int = 0,
    effort: Effort = USUAL,
    threads: Threads = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Model, RepairSummary | None]:
    """`mend` of `cut`, or of the `stage` that ends where it does."""
    if stage is None or method == "none":
        return mend(trace, keep, cut, method, samples, seed=seed, effort=effort, threads=threads, progress=progress)
    return mend(
        stage.traced,
        stage.keep,
        stage.named_as(cut),
        method,
        samples,
        whole=(trace, keep),
        seed=seed,
        effort=effort,
        threads=threads,
        progress=progress,
    )


def _why(trace: Trace, name: str) -> str:
    """Why a layer has no least-squares problem that is its own."""
    node = next(n for n in trace.graph.nodes if n.label == name)
    if len(node.inputs) < 2 or not settable(trace.graph, node.inputs[1]):
        return "its weight is not a constant that only this layer reads"
    if linear_layer(trace.graph, node, shared_bias=True, implied=True) is None:
        return f"this form of {node.op_type} is not seen as a matrix product"
    return "it shares its weight or bias with another layer"

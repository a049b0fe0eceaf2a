"""The function of the API that repeats a proof: `verify`. Nothing here prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxprune.api.public import public
from onnxprune.capture.operators import Operators, operators_of
from onnxprune.capture.samples import few_samples, traced_for
from onnxprune.choose.request import check_data_options
from onnxprune.cut import CutError, cut
from onnxprune.cut.plan import Plan, SparsePlan, check_source, keep_of
from onnxprune.cut.provenance import plan_of, record
from onnxprune.errors import VerificationError
from onnxprune.measure.files import as_file
from onnxprune.measure.summaries import all_executed, proof_summary, summary, summary_of
from onnxprune.model.infer import Facts
from onnxprune.model.load import Model
from onnxprune.model.sources import opened
from onnxprune.options.others import VerifyOptions
from onnxprune.proof.compare_files import compare_with_expected
from onnxprune.proof.grids.biases import with_biases_of
from onnxprune.proof.grids.weights import prove_weights
from onnxprune.proof.masked import Feed
from onnxprune.proof.sparse import prove_sparse
from onnxprune.quantizing.prepare import prepared
from onnxprune.quantizing.publish import NEAREST, grid_summary
from onnxprune.quantizing.qoperator.prove import prove_form
from onnxprune.quantizing.request import QDQ, STATIC, TYPES
from onnxprune.quantizing.weights.rebuild import rebuilt
from onnxprune.results import ModelSummary, ProofSummary, SmallWeights, VerifyResult
from onnxprune.results.clock import Clock
from onnxprune.results.sparse import SparseWeights
from onnxprune.shrinking.publish import prove_in_memory
from onnxprune.sparsifying.compare import Compared, compare_sparse
from onnxprune.trace import trace_again
from onnxprune.trace.groups import Trace


@public(VerifyOptions)
def verify(options: VerifyOptions, original: str | Path | Model, pruned: str | Path | Model) -> VerifyResult:
    """Repeat the proof for a file that `compress`, `shrink`, `sparsify` or `quantize` wrote, from the plan in it: on
    random inputs, and on the first samples of `data`.

    Args:
        original: The model before: a path, or a model in memory.
        pruned: The file that was written.

    Returns:
        What was shown. Where nothing contradicts the result, but nothing would contradict a wrong one either,
        `failure()` is the error that says so.

    Raises:
        VerificationError: The file is not the original minus what its plan removes.
        PlanError: The file has no plan, or that of another model.
        UsageError: There is no such file.
        ModelError: One of them is no valid model.
        DataError: `data` does not fit the model.
    """
    check_data_options(options)
    seed, threads = options.seed, options.threads
    clock = Clock(options.told)
    a, b = opened(original), opened(pruned).inlined()
    planned = plan_of(b)
    clock.start("trace")
    traced, given_samples = traced_for(a, options.data, options.preprocess, None, seed, units=planned.units)
    check_source(planned, traced)
    samples = None if given_samples is None else few_samples(given_samples, traced, seed)
    keep = keep_of(planned, traced)
    if planned.quantization is not None:
        return _quantised(traced, a, b, planned, samples, options, clock)
    clock.start("cut")
    expected = _expected(traced, keep, a, planned)
    compared = None
    if planned.sparsity is None:
        refitted = compare_with_expected(expected, b)
    else:
        compared = compare_sparse(expected, b, planned.sparsity)
        refitted = compared.refitted
    clock.start("verify")
    proof = None
    if compared is None or planned.removed_count:
        proof = proof_summary(prove_in_memory(traced, keep, expected, samples=samples, seed=seed, threads=threads))
    weights = None
    if compared is not None and planned.sparsity is not None:
        weights = _sparse(traced, compared, planned.sparsity, b, samples, seed, threads)
    clock.finish()
    return VerifyResult(
        summary(a, traced.graph, traced.facts),
        _pruned(b, expected, traced.facts),
        planned.digest,
        proof,
        refitted,
        planned.units,
        weights,
    )


def _quantised(
    traced: Trace, a: Model, b: Model, plan: Plan, samples: Feed | None, options: VerifyOptions, clock: Clock
) -> VerifyResult:
    """What a file that `quantize` wrote shows."""
    grids = plan.quantization
    assert grids is not None
    clock.start("verify")
    before, after = summary(a, traced.graph, traced.facts), summary_of(b, None, traced.facts)
    proof, base = _cut(traced, a, plan, samples, options)
    if grids.scheme != STATIC:
        small, refitted = _small(base, b, plan, samples, options)
        clock.finish()
        return VerifyResult(before, after, plan.digest, proof, refitted, plan.units, small=small)
    expected = prepared(base.graph.model)
    if plan.removed_count:
        expected = with_biases_of(expected, b)
    with as_file(b) as path:
        form, seed = str(plan.options.get("form", QDQ)), options.seed
        shown = prove_form(base, expected, path, grids, form, samples=samples, seed=seed, threads=options.threads)
    clock.finish()
    moved = tuple(name for name, steps in shown.moved.items() if steps > NEAREST)
    return VerifyResult(before, after, plan.digest, proof, moved, plan.units, grids=grid_summary(shown))


def _cut(
    traced: Trace, a: Model, plan: Plan, samples: Feed | None, options: VerifyOptions
) -> tuple[ProofSummary | None, Trace]:
    """What was quantised: the original, or what is left of it, which is proven to be the same network."""
    if not plan.removed_count:
        return None, traced
    keep = keep_of(plan, traced)
    bare = _expected(traced, keep, a, plan)
    proof = prove_in_memory(traced, keep, bare, samples=samples, seed=options.seed, threads=options.threads)
    return proof_summary(proof), trace_again(bare, traced)


def _expected(traced: Trace, keep: NDArray[np.bool_], a: Model, plan: Plan) -> Model:
    """What the plan leaves. Raises VerificationError."""
    try:
        return record(cut(traced, keep), a, plan)
    except CutError as refusal:
        raise VerificationError(f"the plan cannot be applied: {refusal}") from refusal


def _small(
    traced: Trace, found: Model, plan: Plan, samples: Feed | None, options: VerifyOptions
) -> tuple[SmallWeights, tuple[str, ...]]:
    """What a file with weights in fewer bits shows, and what was refitted."""
    assert plan.quantization is not None
    said = plan.options
    device = TYPES.get(str(said.get("device")))
    bits = 7 if device is not None and device.reduced else 8
    again = rebuilt(traced, found, plan.quantization, with_samples=said.get("samples") is not None, bits=bits)
    with as_file(found) as path:
        shown = prove_weights(
            traced, again.twin, tuple(again.moved), path, samples=samples, seed=options.seed, threads=options.threads
        )
    farthest = max(again.moved, key=lambda name: again.moved[name])
    moved, count = again.moved[farthest], len(again.moved)
    proof = proof_summary(shown)
    return SmallWeights(plan.quantization.scheme, count, again.size, moved, farthest, proof), again.refitted


def _pruned(found: Model, dense: Model, facts: Facts) -> ModelSummary:
    """Of the file; without their library its sparse operators multiply zeros, too."""
    after = summary_of(found, None, facts)
    if operators_of(found.proto) is not Operators.FALLBACK:
        return after
    return all_executed(after, summary_of(dense, None, facts))


def _sparse(
    traced: Trace, compared: Compared, plan: SparsePlan, found: Model, samples: Feed | None, seed: int, threads: int
) -> SparseWeights:
    """What the file has, and the proof that it computes what a dense model with the same zeros does."""
    named = [one.weight for one in plan.weights]
    with as_file(found) as path:
        shown = prove_sparse(
            traced, named, compared.twin, compared.weights, path, samples=samples, seed=seed, threads=threads
        )
    size = sum(one.size for one in plan.weights)
    proof = proof_summary(shown.proof)
    return SparseWeights(plan.emit, len(plan.weights), size, compared.nonzero, shown.runs, proof)

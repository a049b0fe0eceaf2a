"""Results about sparse weights as JSON; docs/json-schema.md is their schema."""

from __future__ import annotations

from onnxprune.report.closing import interrupted_document, summary_document, timing_document
from onnxprune.report.document_parts import (
    Document,
    calibration_document,
    fidelity_document,
    proof_document,
    reconstruction_document,
)
from onnxprune.results import SparsifyResult
from onnxprune.results.sparse import SparseLayer, SparsitySummary
from onnxprune.results.summary_document import model_document


def sparsify(result: SparsifyResult) -> Document:
    """See `SparsifyResult`."""
    return {
        "schema": "onnxprune.sparsify/1",
        "before": model_document(result.before),
        "after": None if result.after is None else model_document(result.after),
        "plan": {"digest": result.plan.digest},
        "sparsity": sparsity_document(result.sparsity),
        "calibration": None if result.calibration is None else calibration_document(result.calibration),
        "fidelity": None if result.fidelity is None else fidelity_document(result.fidelity),
        "planned": None if result.planned is None else model_document(result.planned),
        "timing": None if result.timing is None else timing_document(result.timing),
        "summary": summary_document(result),
        "written": [str(path) for path in result.written],
        "interrupted": interrupted_document(result),
        "stages": [{"name": name, "duration_s": seconds} for name, seconds in result.seconds.items()],
        "notes": list(result.notes),
    }


def sparsity_document(found: SparsitySummary) -> Document:
    """See `SparsitySummary`."""
    return {
        "asked_ratio": found.asked,
        "reached_ratio": found.reached,
        "pattern": found.pattern,
        "method": found.method,
        "scope": found.scope,
        "emit": found.emit,
        "repair": found.repair,
        "weights_count": found.weights,
        "nonzero_before_count": found.nonzero_before,
        "nonzero_count": found.nonzero,
        "integer_layers_count": found.integers,
        "layers": [_layer(layer) for layer in found.layers],
        "reconstruction": None if found.reconstruction is None else reconstruction_document(found.reconstruction),
        "proof": None if found.proof is None else proof_document(found.proof),
        "runs": list(found.runs),
        "library_missing_because": found.library,
        "notes": list(found.notes),
    }


def _layer(layer: SparseLayer) -> Document:
    return {
        "name": layer.node,
        "weight": layer.weight,
        "pattern": layer.pattern,
        "weights_count": layer.size,
        "kept_count": layer.kept,
        "error_masked_relative": layer.error_masked,
        "error_relative": layer.error,
        "operator": layer.operator,
        "reason": layer.reason,
    }

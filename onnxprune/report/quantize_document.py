"""Results about quantised layers as JSON; docs/json-schema.md is their schema."""

from __future__ import annotations

from onnxprune.report.closing import interrupted_document, summary_document, timing_document
from onnxprune.report.document_parts import (
    Document,
    calibration_document,
    fidelity_document,
    metric_document,
    proof_document,
    reconstruction_document,
)
from onnxprune.results import QuantizeResult
from onnxprune.results.quantization import (
    Executed,
    GridSummary,
    OutputSummary,
    QuantizationSummary,
    QuantizedLayer,
    Sensitivities,
    SmallWeights,
)
from onnxprune.results.summary_document import model_document


def quantize(result: QuantizeResult) -> Document:
    """See `QuantizeResult`."""
    return {
        "schema": "onnxprune.quantize/1",
        "before": model_document(result.before),
        "after": None if result.after is None else model_document(result.after),
        "plan": {"digest": result.plan.digest},
        "quantization": quantization_document(result.quantization),
        "calibration": None if result.calibration is None else calibration_document(result.calibration),
        "metric": None if result.metric is None else metric_document(result.metric),
        "fidelity": None if result.fidelity is None else fidelity_document(result.fidelity),
        "planned": None if result.planned is None else model_document(result.planned),
        "timing": None if result.timing is None else timing_document(result.timing),
        "summary": summary_document(result),
        "written": [str(path) for path in result.written],
        "interrupted": interrupted_document(result),
        "stages": [{"name": name, "duration_s": seconds} for name, seconds in result.seconds.items()],
        "notes": list(result.notes),
    }


def quantization_document(found: QuantizationSummary) -> Document:
    """See `QuantizationSummary`."""
    return {
        "scheme": found.scheme,
        "form": found.form,
        "weights": found.weights,
        "ranges": found.ranges,
        "layers": [_layer(layer) for layer in found.layers],
        "reconstruction": None if found.reconstruction is None else reconstruction_document(found.reconstruction),
        "proof": None if found.proof is None else grids_document(found.proof),
        "equality": None if found.equality is None else proof_document(found.equality),
        "executed": None if found.executed is None else _executed(found.executed),
        "notes": list(found.notes),
    }


def sensitivities_document(found: Sensitivities) -> Document:
    """See `Sensitivities`."""
    return {
        "samples_count": found.samples,
        "together_relative": found.together,
        "layers": [_layer(layer) for layer in found.layers],
    }


def _layer(layer: QuantizedLayer) -> Document:
    return {
        "name": layer.node,
        "operator": layer.operator,
        "kind": layer.kind,
        "precision": layer.precision,
        "weight": layer.weight,
        "error_relative": layer.error,
        "reason": layer.reason,
    }


def grids_document(found: GridSummary) -> Document:
    """See `GridSummary`."""
    return {
        "values_count": found.values,
        "integers_count": found.integers,
        "differing_count": found.differing,
        "most_steps_count": found.most_steps,
        "weights_moved_steps": found.moved_steps,
        "cases": list(found.cases),
        "untold": list(found.untold),
        "refused": list(found.refused),
        "outputs": None if found.outputs is None else _outputs(found.outputs),
    }


def _outputs(found: OutputSummary) -> Document:
    counts = {"numbers_count": found.numbers, "differing_count": found.differing}
    return {**counts, "farthest_relative": found.farthest}


def small_document(found: SmallWeights) -> Document:
    """See `SmallWeights`."""
    return {
        "scheme": found.scheme,
        "weights_count": found.weights,
        "numbers_count": found.size,
        "moved_relative": found.moved,
        "farthest": found.farthest,
        "proof": proof_document(found.proof),
    }


def _executed(found: Executed) -> Document:
    kernels = [{"operator": name, "nodes_count": count} for name, count in found.kernels.items()]
    return {"kernels": kernels, "integer_layers_count": found.integers, "float_layers": list(found.floats)}

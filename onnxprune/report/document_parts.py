"""Parts that several JSON documents have."""

from __future__ import annotations

from typing import Any

from onnxprune.results import (
    CalibrationSummary,
    Fidelity,
    MetricSummary,
    OutputFidelity,
    ProofSummary,
    ReconstructionSummary,
)

Document = dict[str, Any]


def calibration_document(found: CalibrationSummary) -> Document:
    return {
        "source": found.source,
        "samples_count": found.samples,
        "held_out_count": found.held_out,
        "estimated_bytes": found.estimated_bytes,
        "peak_bytes": found.peak_bytes,
    }


def reconstruction_document(found: ReconstructionSummary) -> Document:
    done = found.steps > 0
    return {
        "steps_count": found.steps,
        "error_before_relative": found.error_before if done else None,
        "error_after_relative": found.error_after if done else None,
        "frozen_weights_count": found.frozen_weights,
        "not_done_because": found.reason,
    }


def proof_document(proof: ProofSummary) -> Document:
    return {
        "cases": list(proof.cases),
        "skipped_cases": list(proof.skipped_cases),
        "compared_elements_count": proof.compared_elements,
        "worst_difference_relative": proof.worst_relative,
        "worst_difference_absolute": proof.worst_absolute,
        "tolerance_relative": proof.tolerance_relative,
        "tolerance_policy": proof.tolerance_policy,
        "status": proof.status,
        "sensitive": proof.sensitive,
        "not_told_apart": list(proof.untold),
        "notes": list(proof.notes),
    }


def fidelity_document(found: Fidelity) -> Document:
    return {
        "samples_count": found.samples,
        "agreement_ratio": found.agreement,
        "worst_error_relative": found.worst_error,
        "outputs": [_output(output) for output in found.outputs],
    }


def metric_document(found: MetricSummary) -> Document:
    return {
        "name": found.name,
        "before_absolute": found.before,
        "after_absolute": found.after,
        "max_drop_absolute": found.max_drop,
    }


def _output(found: OutputFidelity) -> Document:
    agreement = found.agreement
    return {
        "name": found.name,
        "agreement": None
        if agreement is None
        else {
            "share_ratio": agreement.share,
            "low_ratio": agreement.low,
            "high_ratio": agreement.high,
            "samples_count": agreement.samples,
        },
        "no_agreement_because": found.reason,
        "error_relative": found.relative_error,
        "error_absolute": found.max_absolute,
        "mean_cosine": found.cosine,
        "elements_count": found.elements,
        "not_finite_count": found.not_finite,
        "clashes_count": found.clashes,
    }

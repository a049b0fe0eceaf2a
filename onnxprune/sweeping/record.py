"""Outcomes as JSON and back. Every number carries its unit in its key; what is not finite is null."""

from __future__ import annotations

import math
from typing import Any

from onnxprune.results import Agreement, Fidelity
from onnxprune.results.summary_document import model_document, model_of
from onnxprune.sweeping.results import Failure, Outcome, Point

Document = dict[str, Any]


def point_document(point: Point) -> Document:
    return {
        "name": point.name,
        "asked_ratio": point.ratio,
        "target": point.target,
        "criterion": point.criterion,
        **({} if point.quantized is None else {"quantized": point.quantized}),
    }


def outcome_document(found: Outcome) -> Document:
    """See `Outcome`. An infinite error is null with `error_finite` false."""
    return {
        "status": found.status,
        "model": None if found.model is None else model_document(found.model),
        "plan": found.plan,
        "removed_count": found.removed,
        "reached_ratio": found.reached_ratio,
        "held_out_count": found.held_out,
        "agreement": None if found.agreement is None else _agreement_document(found.agreement),
        "no_agreement_because": found.no_agreement,
        "error_relative": found.error if found.error is None or math.isfinite(found.error) else None,
        "error_finite": None if found.error is None else math.isfinite(found.error),
        "notes": list(found.notes),
        "failure": None if found.failure is None else failure_document(found.failure),
        "duration_s": found.seconds,
    }


def outcome_of(document: Document) -> Outcome:
    """The outcome that `outcome_document` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    agreement, model, failure = document["agreement"], document["model"], document["failure"]
    return Outcome(
        str(document["status"]),
        float(document["duration_s"]),
        None if model is None else model_of(model),
        document["plan"],
        int(document["removed_count"]),
        float(document["reached_ratio"]),
        None if agreement is None else _agreement_of(agreement),
        document["no_agreement_because"],
        math.inf if document["error_finite"] is False else document["error_relative"],
        int(document["held_out_count"]),
        tuple(document["notes"]),
        None
        if failure is None
        else Failure(**{k: failure[k] for k in ("message", "hint", "exit_code")}, kind=failure["type"]),
    )


def measured(fidelity: Fidelity | None) -> dict[str, Any]:
    """What an outcome says of the outputs."""
    if fidelity is None:
        return {}
    reason = next((one.reason for one in fidelity.outputs if one.reason), None)
    worst = fidelity.worst_agreement
    return {
        "agreement": worst,
        "no_agreement": reason if worst is None else None,
        "error": fidelity.worst_error,
        "held_out": fidelity.samples,
    }


def failure_document(found: Failure) -> Document:
    return {"type": found.kind, "message": found.message, "hint": found.hint, "exit_code": found.exit_code}


def _agreement_document(found: Agreement) -> Document:
    return {
        "share_ratio": found.share,
        "low_ratio": found.low,
        "high_ratio": found.high,
        "samples_count": found.samples,
    }


def _agreement_of(document: Document) -> Agreement:
    return Agreement(document["share_ratio"], document["low_ratio"], document["high_ratio"], document["samples_count"])

"""The JSON document of `check`; docs/json-schema.md is its schema."""

from __future__ import annotations

from onnxprune.checking.results import CheckedModel, CheckResult
from onnxprune.checking.verdicts import Check
from onnxprune.checking.words import sentence
from onnxprune.report.documents import Document
from onnxprune.results.summary_document import model_document

_UNITS = {
    "size": "bytes",
    "params": "count",
    "macs": "count",
    "int8": "ratio",
    "latency": "ratio",
    "agreement": "ratio",
    "error": "relative",
    "metric": "absolute",
    "drop": "absolute",
}
_WHOLE = frozenset({"bytes", "count"})


def check(result: CheckResult) -> Document:
    """See `CheckResult`."""
    return {
        "schema": "onnxprune.check/1",
        "passed": result.passed,
        "strict": result.strict,
        "models": [_model(result, model) for model in result.models],
        "duration_s": result.seconds,
    }


def _model(result: CheckResult, found: CheckedModel) -> Document:
    error = found.error
    return {
        "name": found.name,
        "verdict": result.verdict(found),
        "baseline": found.baseline,
        "model": None if found.summary is None else model_document(found.summary),
        "checks": [_check(one) for one in found.checks],
        "error": None
        if error is None
        else {
            "type": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
        },
    }


def _check(found: Check) -> Document:
    """`allowed` and `measured` with the unit of the kind in their keys."""
    unit = _UNITS[found.kind]

    def number(value: float) -> float:
        return int(value) if unit in _WHOLE else value

    return {
        "kind": found.kind,
        "verdict": found.verdict,
        f"allowed_{unit}": number(found.allowed),
        f"measured_{unit}": number(found.measured),
        "interval_ratio": None if found.low is None else [found.low, found.high],
        "baseline_share_ratio": found.share,
        "message": sentence(found),
        "reason": found.reason,
    }

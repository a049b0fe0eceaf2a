"""Results of `compress` as JSON; docs/json-schema.md is their schema."""

from __future__ import annotations

from onnxprune.report.document_parts import Document
from onnxprune.report.documents import shrink
from onnxprune.report.quantize_document import quantization_document
from onnxprune.results import CompressResult
from onnxprune.results.compressing import CompressPoint

NOT_ASKED = frozenset({"asked_ratio", "reached_ratio", "bounds"})
"""What only a document of `shrink` has."""


def compress(result: CompressResult) -> Document:
    """See `CompressResult`."""
    base = {key: value for key, value in shrink(result).items() if key not in NOT_ASKED}
    return {
        **base,
        "schema": "onnxprune.compress/1",
        "quantization": None if result.quantization is None else quantization_document(result.quantization),
        "points": [_point(point) for point in result.points],
        "without": [{"lever": lever, "reason": why} for lever, why in result.without],
    }


def _point(point: CompressPoint) -> Document:
    return {
        "levers": list(point.levers),
        "cost_ratio": point.cost,
        "output_error_relative": point.error,
        "agreement_ratio": point.agreement,
        "repaired": point.repaired,
        "taken": point.taken,
    }

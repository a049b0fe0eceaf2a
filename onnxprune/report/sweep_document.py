"""The JSON document of `sweep`; docs/json-schema.md is its schema."""

from __future__ import annotations

from onnxprune.benching.results import Estimate
from onnxprune.report.documents import Document
from onnxprune.results.summary_document import model_document
from onnxprune.sweeping.record import outcome_document, point_document
from onnxprune.sweeping.results import Latency, SweepResult, SweptPoint, Timing


def sweep(result: SweepResult) -> Document:
    """See `SweepResult`."""
    return {
        "schema": "onnxprune.sweep/1",
        "original": {
            "model": model_document(result.original),
            "metric_absolute": result.metric_before,
            "latency": None if result.timing is None else _seconds(result.timing.median),
        },
        "quality": result.quality,
        "metric": result.metric_name,
        "data": result.source,
        "points": [_point(point) for point in result.points],
        "timing": None if result.timing is None else _timing(result.timing),
        "folder": str(result.folder),
        "computed_by": result.where,
        "notes": list(result.notes),
        "duration_s": result.seconds,
    }


def _point(found: SweptPoint) -> Document:
    return {
        **point_document(found.point),
        **outcome_document(found.outcome),
        "written": None if found.path is None else str(found.path),
        "reused": found.reused,
        "metric_absolute": found.metric,
        "latency": None if found.latency is None else _latency(found.latency),
        "frontier": list(found.frontier),
        "dominated_by": [{"cost": cost, "point": name} for cost, name in found.dominated.items()],
    }


def _latency(found: Latency) -> Document:
    ratio = found.against.ratio
    return {
        **_seconds(found.median),
        "time": {"median_ratio": ratio.value, "interval_ratio": [ratio.low, ratio.high]},
        "verdict": found.against.verdict,
        "pairs_count": found.against.pairs,
    }


def _timing(found: Timing) -> Document:
    return {
        "machine": {"cpu": found.cpu, "runtime": found.runtime},
        "threads_count": found.threads,
        "samples_count": found.samples,
        "rounds_count": found.rounds,
        "values": found.source,
        "notes": list(found.notes),
    }


def _seconds(found: Estimate) -> Document:
    return {"median_s": found.value, "interval_s": [found.low, found.high]}

"""The JSON document of `bench`; docs/json-schema.md is its schema."""

from __future__ import annotations

from onnxprune.benching.baseline import SCHEMA
from onnxprune.benching.results import (
    BenchResult,
    Comparison,
    Estimate,
    Gate,
    LayerChange,
    LayerTime,
    Measurement,
    Profile,
    SettingResult,
    Spread,
)
from onnxprune.report.closing import cause_document
from onnxprune.report.documents import Document


def bench(result: BenchResult) -> Document:
    """See `BenchResult`."""
    return {
        "schema": SCHEMA,
        "machine": {"cpu": result.cpu, "cores_count": result.cores, "runtime": result.runtime},
        "models": [{"name": model.name, "size_bytes": model.size_bytes} for model in result.models],
        "reference": result.reference,
        "inputs": [
            {"name": used.name, "type": used.dtype, "used_shape": list(used.shape), "chosen": list(used.chosen)}
            for used in result.inputs
        ],
        "values": result.source,
        "seed": str(result.seed),
        "margin_ratio": result.margin,
        "settings": [_setting(found) for found in result.settings],
        "profiles": [_profile(found) for found in result.profiles],
        "layers": [
            {
                "model": found.model,
                "reference": found.reference,
                "changes": [_change(change) for change in found.changes],
                "causes": [cause_document(cause) for cause in found.causes],
            }
            for found in result.profile_comparisons
        ],
        "gate": None if result.gate is None else _gate(result.gate),
        "rejected": [{"model": one.model, "reason": one.reason} for one in result.rejected],
        "notes": list(result.notes),
        "duration_s": result.seconds,
    }


def _setting(found: SettingResult) -> Document:
    return {
        "threads_count": found.setting.threads,
        "batch_count": found.setting.batch,
        "provider": found.setting.provider,
        "rounds_count": found.rounds,
        "blocks_count": found.blocks,
        "sessions_count": found.sessions,
        "measurements": [_measurement(one) for one in found.measurements],
        "comparisons": [_comparison(one) for one in found.comparisons],
    }


def _measurement(found: Measurement) -> Document:
    rate = found.throughput
    return {
        "model": found.model,
        "samples_count": found.samples,
        "latency": _seconds(found.latency),
        "p95": None if found.tail is None else _seconds(found.tail),
        "throughput": {"median_samples_per_s": rate.value, "interval_samples_per_s": [rate.low, rate.high]},
        "load": _spread(found.load, "s"),
        "first_run": _spread(found.first_run, "s"),
        "peak_memory": None if found.peak_memory is None else _spread(found.peak_memory, "bytes"),
        "runtime_memory": None if found.runtime_memory is None else _spread(found.runtime_memory, "bytes"),
        "times_count": found.timed,
        "outliers": {
            "mild_count": found.outliers.mild,
            "severe_count": found.outliers.severe,
            "slowest_s": found.outliers.slowest_s,
            "slowest_round_count": found.outliers.slowest_round,
        },
        "inferences_per_time_count": found.inferences,
        "warmup_inferences_count": found.warmup,
        "warmed_up": found.stable,
    }


def _comparison(found: Comparison) -> Document:
    return {
        "model": found.model,
        "reference": found.reference,
        "verdict": found.verdict,
        "time": _ratio(found.ratio),
        "paired": found.paired,
        "pairs_count": found.pairs,
        "resolution_ratio": found.resolution,
        "remark": found.reason,
    }


def _gate(found: Gate) -> Document:
    return {
        "limit_ratio": found.limit,
        "passed": not found.failed and not found.undecided,
        "failed": [one.model for one in found.failed],
        "undecided": [one.model for one in found.undecided],
    }


def _profile(found: Profile) -> Document:
    return {
        "model": found.model,
        "runs_count": found.runs,
        "kernels": _seconds(found.total),
        "operators": [
            {
                "operator": one.operator,
                "kernels_count": one.kernels,
                "time": _seconds(one.time),
                "share": _ratio(one.share),
            }
            for one in found.operators
        ],
        "layers": [_layer(one) for one in found.layers],
        "layout_conversions": {"kernels_count": found.layout_count, "time": _seconds(found.layout)},
    }


def _layer(found: LayerTime) -> Document:
    return {"name": found.layer, "kernel": found.kernel, "time": _seconds(found.time), "shapes": found.shape}


def _change(found: LayerChange) -> Document:
    return {
        "name": found.layer,
        "before": None if found.before is None else _layer(found.before),
        "after": None if found.after is None else _layer(found.after),
        "time": None if found.ratio is None else _ratio(found.ratio),
        "verdict": found.verdict,
        "reason": found.reason,
    }


def _seconds(found: Estimate) -> Document:
    return {"median_s": found.value, "interval_s": [found.low, found.high]}


def _ratio(found: Estimate) -> Document:
    return {"median_ratio": found.value, "interval_ratio": [found.low, found.high]}


def _spread(found: Spread, unit: str) -> Document:
    return {
        f"median_{unit}": found.value,
        f"range_{unit}": [found.low, found.high],
        "processes_count": found.count,
    }

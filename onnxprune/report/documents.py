"""Results as JSON documents; docs/json-schema.md is their schema. Every number carries its unit in its key."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from onnxprune.results import (
    BlockSummary,
    CalibrationSummary,
    Difference,
    Fidelity,
    GroupSummary,
    Inspection,
    LayerCost,
    MetricSummary,
    ModelSummary,
    OutputFidelity,
    ProofSummary,
    ReconstructionSummary,
    RepairSummary,
    ShrinkResult,
    TargetSummary,
    VerifyResult,
)
from onnxprune.system import Environment

Document = dict[str, Any]


def dumps(document: Document) -> str:
    """One document, ASCII only, with a line end. Numbers that JSON does not know (NaN, infinity) become null."""
    return json.dumps(_clean(document), indent=2, allow_nan=False) + "\n"


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):  # undecodable bytes of a path are lone surrogates, which JSON readers refuse
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value


def shrink(result: ShrinkResult) -> Document:
    """See `ShrinkResult`."""
    removed = {group.name: list(group.removed) for group in result.plan.groups}
    return {
        "schema": "onnxprune.shrink/1",
        "before": model_document(result.before),
        "after": None if result.after is None else model_document(result.after),
        "asked_ratio": result.asked_ratio,
        "reached_ratio": result.reached_ratio,
        "plan": {"digest": result.plan.digest, "units": result.plan.units, "removed_count": result.plan.removed_count},
        "groups": [
            {
                "name": group.name,
                "channels_count": group.size,
                "removed_count": group.removed,
                "removed_indices": removed.get(group.name, []),
                "layers": list(group.layers),
                "reason": group.reason,
            }
            for group in result.groups
        ],
        "blocks": [
            {**_block(change.block), "removed": change.removed, "reason": change.reason} for change in result.blocks
        ],
        "target": None if result.target is None else _target(result.target),
        "calibration": None if result.calibration is None else _calibration(result.calibration),
        "repair": None if result.repair is None else _repair(result.repair),
        "proof": None if result.proof is None else _proof(result.proof),
        "fidelity": None if result.fidelity is None else _fidelity(result.fidelity),
        "metric": None if result.metric is None else _metric(result.metric),
        "written": [_path(path) for path in result.written],
        "stages": [{"name": name, "duration_s": seconds} for name, seconds in result.seconds.items()],
        "notes": list(result.notes),
    }


def inspect(result: Inspection, *, groups: bool = True, layers: bool = True) -> Document:
    """See `Inspection`; `groups` and `layers` say which of the two lists are there."""
    document: Document = {
        "schema": "onnxprune.inspect/1",
        "model": model_document(result.model),
        "removable_count": result.removable,
        "operators_without_rule": [
            {"operator": name, "nodes_count": count} for name, count in result.operators_without_rule.items()
        ],
        "notes": list(result.notes),
    }
    if groups:
        document["groups"] = [_group(group) for group in result.groups]
        document["blocks"] = [_block(block) for block in result.blocks]
    if layers:
        document["layers"] = [_layer(layer) for layer in result.layers]
    return document


def why(node: str, groups: tuple[GroupSummary, ...], sentences: tuple[str, ...]) -> Document:
    """The groups at one node; `sentences` say the same to people, one per group."""
    return {
        "schema": "onnxprune.why/1",
        "node": node,
        "groups": [
            {**_group(group), "explanation": sentence} for group, sentence in zip(groups, sentences, strict=True)
        ],
    }


def verify(result: VerifyResult) -> Document:
    """See `VerifyResult`."""
    return {
        "schema": "onnxprune.verify/1",
        "original": model_document(result.original),
        "pruned": model_document(result.pruned),
        "plan": {"digest": result.plan_digest},
        "proof": _proof(result.proof),
        "refitted": list(result.refitted),
    }


def diff(result: Difference) -> Document:
    """See `Difference`."""
    return {
        "schema": "onnxprune.diff/1",
        "same": result.same,
        "a": model_document(result.a),
        "b": model_document(result.b),
        "signature": list(result.signature),
        "metadata": list(result.metadata),
        "nodes": [{"name": n.name, "operator": n.op_type, "difference": n.what} for n in result.nodes],
        "tensors": [
            {
                "name": tensor.name,
                "a_shape": None if tensor.shape_a is None else list(tensor.shape_a),
                "b_shape": None if tensor.shape_b is None else list(tensor.shape_b),
                "max_difference_absolute": tensor.max_difference,
            }
            for tensor in result.tensors
        ],
    }


def env(result: Environment) -> Document:
    """See `Environment`."""
    return {
        "schema": "onnxprune.env/1",
        "onnxprune": result.onnxprune,
        "python": result.python,
        "platform": result.platform,
        "cpu": result.cpu,
        "cores_count": result.cores,
        "memory_bytes": result.memory_bytes,
        "packages": dict(result.packages),
        "providers": list(result.providers),
        "sparse_operators": {
            "instruction_set": result.sparse_operators,
            "problem": result.sparse_problem,
            "library": str(result.sparse_library) if result.sparse_library else None,
            "build_log": str(result.sparse_log) if result.sparse_log else None,
        },
    }


def error(kind: str, message: str, hint: str | None, exit_code: int) -> Document:
    """What went wrong; printed instead of the command's document."""
    return {
        "schema": "onnxprune.error/1",
        "error": {"type": kind, "message": message, "hint": hint, "exit_code": exit_code},
    }


def model_document(model: ModelSummary) -> Document:
    return {
        "name": model.name,
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
        "parameters_count": model.parameters,
        "macs_count": model.macs,
        "uncounted_nodes_count": model.uncounted,
        "nodes_count": model.nodes,
        "opset_version": model.opset,
        "ir_version": model.ir_version,
        "symbols": [{"name": name, "assumed_size_count": size} for name, size in model.symbols.items()],
    }


def _group(group: GroupSummary) -> Document:
    return {
        "name": group.name,
        "channels_count": group.size,
        "blocks_count": group.blocks,
        "layers": list(group.layers),
        "pinned": group.pinned,
        "pinned_by": group.pinned_by,
    }


def _block(block: BlockSummary) -> Document:
    return {
        "name": block.name,
        "nodes": list(block.nodes),
        "macs_count": block.macs,
        "parameters_count": block.parameters,
        "pinned": block.pinned,
        "pinned_by": block.pinned_by,
    }


def _layer(layer: LayerCost) -> Document:
    return {
        "name": layer.node,
        "operator": layer.op_type,
        "output_shape": None if layer.output_shape is None else list(layer.output_shape),
        "parameters_count": layer.parameters,
        "macs_count": layer.macs,
        "group": layer.group,
        "pinned": layer.pinned,
    }


def _target(target: TargetSummary) -> Document:
    unit = {"size": "bytes", "latency": "s"}.get(target.kind, "count")
    values = {"before": target.before, "planned": target.planned, "measured": target.measured}
    whole = {key: value if value is None or unit == "s" else round(value) for key, value in values.items()}
    if unit == "count":
        del whole["measured"]
    document: Document = {"asked": target.asked, "kind": target.kind, f"limit_{unit}": target.limit}
    return {**document, **{f"{key}_{unit}": value for key, value in whole.items()}}


def _calibration(found: CalibrationSummary) -> Document:
    return {
        "source": found.source,
        "samples_count": found.samples,
        "held_out_count": found.held_out,
        "estimated_bytes": found.estimated_bytes,
        "peak_bytes": found.peak_bytes,
    }


def _repair(repair: RepairSummary) -> Document:
    return {
        "method": repair.method,
        "corrected_layers_count": repair.corrected_layers,
        "bias_corrected_layers_count": repair.bias_corrected,
        "worst_layer": None if repair.worst is None else repair.worst.name,
        "layers": [
            {
                "name": layer.name,
                "error_before_relative": layer.error_before,
                "error_after_relative": layer.error_after,
                "ridge_relative": layer.ridge,
                "kept": layer.kept,
            }
            for layer in repair.layers
        ],
        "skipped_layers": list(repair.skipped_layers),
        "skipped": [{"name": layer.name, "reason": layer.reason} for layer in repair.skipped],
        "reconstruction": None if repair.reconstruction is None else _reconstruction(repair.reconstruction),
    }


def _reconstruction(found: ReconstructionSummary) -> Document:
    done = found.steps > 0
    return {
        "steps_count": found.steps,
        "error_before_relative": found.error_before if done else None,
        "error_after_relative": found.error_after if done else None,
        "frozen_weights_count": found.frozen_weights,
        "not_done_because": found.reason,
    }


def _proof(proof: ProofSummary) -> Document:
    return {
        "cases": list(proof.cases),
        "skipped_cases": list(proof.skipped_cases),
        "compared_elements_count": proof.compared_elements,
        "worst_difference_relative": proof.worst_relative,
        "worst_difference_absolute": proof.worst_absolute,
        "tolerance_relative": proof.tolerance_relative,
        "tolerance_policy": proof.tolerance_policy,
        "sensitive": proof.sensitive,
        "notes": list(proof.notes),
    }


def _fidelity(found: Fidelity) -> Document:
    return {
        "samples_count": found.samples,
        "agreement_ratio": found.agreement,
        "worst_error_relative": found.worst_error,
        "outputs": [_output(output) for output in found.outputs],
    }


def _metric(found: MetricSummary) -> Document:
    return {
        "name": found.name,
        "before_absolute": found.before,
        "after_absolute": found.after,
        "max_drop_absolute": found.max_drop,
        "trials": [
            {"asked_ratio": trial.ratio, "removed_count": trial.removed, "value_absolute": trial.value}
            for trial in found.trials
        ],
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


def _path(path: Path) -> str:
    return str(path)

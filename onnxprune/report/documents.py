"""Results as JSON documents; docs/json-schema.md is their schema. Every number carries its unit in its key."""

from __future__ import annotations

from pathlib import Path

from onnxprune.report.closing import interrupted_document, summary_document, timing_document
from onnxprune.report.document_parts import Document as Document
from onnxprune.report.document_parts import (
    calibration_document,
    fidelity_document,
    metric_document,
    proof_document,
    reconstruction_document,
)
from onnxprune.report.json_text import dumps as dumps
from onnxprune.report.json_text import error as error
from onnxprune.report.quantize_document import grids_document, sensitivities_document, small_document
from onnxprune.report.sparse_document import sparsity_document
from onnxprune.results import (
    BlockSummary,
    BoundsSummary,
    Difference,
    GroupSummary,
    Inspection,
    LayerCost,
    MetricSummary,
    RepairSummary,
    ShrinkResult,
    TargetSummary,
    VerifyResult,
)
from onnxprune.results.sparse import SparseWeights
from onnxprune.results.summary_document import model_document
from onnxprune.results.system import Environment


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
        "sparsity": None if result.sparsity is None else sparsity_document(result.sparsity),
        "calibration": None if result.calibration is None else calibration_document(result.calibration),
        "repair": None if result.repair is None else _repair(result.repair),
        "proof": None if result.proof is None else proof_document(result.proof),
        "fidelity": None if result.fidelity is None else fidelity_document(result.fidelity),
        "metric": None if result.metric is None else _metric(result.metric),
        "bounds": None if result.bounds is None else _bounds(result.bounds),
        "planned": None if result.planned is None else model_document(result.planned),
        "timing": None if result.timing is None else timing_document(result.timing),
        "summary": summary_document(result),
        "written": [_path(path) for path in result.written],
        "interrupted": interrupted_document(result),
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
    if result.quantization is not None:
        document["quantization"] = sensitivities_document(result.quantization)
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
        "proof": None if result.proof is None else proof_document(result.proof),
        "refitted": list(result.refitted),
        "sparse": None if result.sparse is None else _sparse(result.sparse),
        "grids": None if result.grids is None else grids_document(result.grids),
        "small": None if result.small is None else small_document(result.small),
        "sparse_proof": None if result.sparse_proof is None else proof_document(result.sparse_proof),
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


def _sparse(found: SparseWeights) -> Document:
    return {
        "emit": found.emit,
        "layers_count": found.layers,
        "weights_count": found.size,
        "nonzero_count": found.nonzero,
        "runs": list(found.runs),
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
        "reconstruction": None if repair.reconstruction is None else reconstruction_document(repair.reconstruction),
    }


def _metric(found: MetricSummary) -> Document:
    return {
        **metric_document(found),
        "trials": [
            {
                "asked": trial.asked,
                "asked_ratio": trial.ratio,
                "removed_count": trial.removed,
                "value_absolute": trial.value,
            }
            for trial in found.trials
        ],
    }


def _bounds(found: BoundsSummary) -> Document:
    return {
        "min_agreement_ratio": found.min_agreement,
        "max_error_relative": found.max_error,
        "trials": [
            {
                "asked": trial.asked,
                "asked_ratio": trial.ratio,
                "removed_count": trial.removed,
                "agreement_ratio": trial.agreement,
                "error_relative": trial.error,
                "broken": trial.reason,
            }
            for trial in found.trials
        ],
    }


def _path(path: Path) -> str:
    return str(path)

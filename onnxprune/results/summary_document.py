"""A `ModelSummary` as JSON and back: what reports print, and what a sweep keeps of its points."""

from __future__ import annotations

from typing import Any

from onnxprune.results.model import ModelSummary


def model_document(model: ModelSummary) -> dict[str, Any]:
    """Every number carries its unit in its key."""
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


def model_of(document: dict[str, Any]) -> ModelSummary:
    """The summary that `model_document` wrote. Raises KeyError or TypeError for anything else."""
    return ModelSummary(
        document["name"],
        document["sha256"],
        document["size_bytes"],
        document["parameters_count"],
        document["macs_count"],
        document["uncounted_nodes_count"],
        document["nodes_count"],
        document["opset_version"],
        document["ir_version"],
        {one["name"]: one["assumed_size_count"] for one in document["symbols"]},
    )

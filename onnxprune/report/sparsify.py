"""The report of `sparsify`."""

from __future__ import annotations

from onnxprune.report.blocks import Block, Heading, Line, Report, Table
from onnxprune.report.closing import closing_lines
from onnxprune.report.fidelity import quality_lines
from onnxprune.report.made import changes, made_notes, written_line
from onnxprune.report.shared import (
    STAGES,
    captured,
    measured_rows,
    model_line,
    stage_time,
)
from onnxprune.report.sparsity import dense_text, layers_table, sparse_rows
from onnxprune.results import SparsifyResult
from onnxprune.results.sparse import SparsitySummary
from onnxprune.results.units import plural


def report(result: SparsifyResult, *, dry_run: bool = False, layers: bool = False) -> Report:
    """What was done, stage by stage, and what came of it. `layers` lists them."""
    found = result.sparsity
    blocks: list[Block] = [Heading(model_line(result.before)), stages_table(result)]
    if layers or dry_run:
        blocks.append(layers_table(found))
    return (*blocks, *changes(result), *made_notes(result, found.proof), *outcome(result, dry_run=dry_run))


def outcome(result: SparsifyResult, *, dry_run: bool = False) -> Report:
    """The last lines alone."""
    if not result.sparsity.sparse_layers:
        why = dense_text(result.sparsity) or "the model has no Conv, Gemm or MatMul with a constant weight"
        return (Line(f"no weights became zero, and no file was written: {why}"),)
    return (written_line(result, dry_run), *closing_lines(result))


def stages_table(result: SparsifyResult) -> Table:
    """What was done, stage by stage."""
    seconds, found = result.seconds, result.sparsity
    rows = [("traced", plural(len(found.layers), "layer"), stage_time(seconds, "load", "trace"))]
    if result.calibration is not None:
        rows.append(("captured", captured(result.calibration), stage_time(seconds, "capture")))
    if found.pattern == "auto":
        rows.append(("timed", _chosen(found), stage_time(seconds, "choose")))
    rows.extend(sparse_rows(found, seconds))
    rows += measured_rows(quality_lines(None, result.fidelity), seconds)
    return Table(STAGES, tuple(rows), bare=True)


def _chosen(found: SparsitySummary) -> str:
    counts: dict[str, int] = {}
    for layer in found.sparse_layers:
        counts[layer.pattern] = counts.get(layer.pattern, 0) + 1
    return ", ".join(f"{count} x {pattern}" for pattern, count in counts.items()) or "no layer is faster sparse"

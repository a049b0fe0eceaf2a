"""The sections of the page of `sparsify`, and what the page of `shrink` says of sparse weights."""

from __future__ import annotations

from onnxprune.benching.results import BenchResult
from onnxprune.report.fidelity import fidelity_lines
from onnxprune.report.html import bench as timing
from onnxprune.report.html import charts
from onnxprune.report.html.page import Section, figures, folded, listed, paragraph, table
from onnxprune.report.html.parts import before_after, fidelity_remarks, run, sizes_of
from onnxprune.report.shared import tolerance_text
from onnxprune.report.sparsify import stages_table
from onnxprune.report.sparsity import dense_text, layers_table, proof_of_zeros, remarks
from onnxprune.results import SparsifyResult
from onnxprune.results.sparse import SparsitySummary
from onnxprune.results.units import format_count, format_ratio, plural

EXACT = (
    "Weights, bytes and MACs are counted, so exact. MACs: those that are executed; what sparse operators skip is not "
    "counted."
)


def sections(result: SparsifyResult, bench: BenchResult | None) -> list[Section | None]:
    """All but the last. `bench`: the original against the result, if that was measured."""
    sizes = sizes_of(result.before)
    return [
        before_after(result, f"{EXACT} With {sizes}." if sizes else EXACT),
        _accuracy(result),
        layers_section(result.sparsity),
        *([] if bench is None else timing.sections(bench)),
        run(stages_table(result), result.notes),
    ]


def layers_section(found: SparsitySummary, *, asked: bool = True) -> Section:
    """What every layer kept, and how far its output is from the original's."""
    text = (
        f"{plural(len(found.sparse_layers), 'layer')} of {len(found.layers)} became sparse: "
        f"{format_count(found.nonzero)} of {format_count(found.weights)} weights are not zero "
        f"(sparsity {format_ratio(found.asked)} asked of these layers, {format_ratio(found.reached)} reached; "
        f"{found.pattern}, {found.method}, {found.scope})."
    )
    body = paragraph(text)
    dense = dense_text(found)
    body += listed([*([] if dense is None else [dense]), *remarks(found, asked=asked)])
    measured = [layer for layer in found.sparse_layers if layer.error is not None]
    if measured:
        names = [layer.node for layer in measured]
        before = [layer.error_masked or layer.error or 0.0 for layer in measured]
        body += figures(charts.repairs(names, before, [layer.error or 0.0 for layer in measured], first="as masked"))
    body += folded(f"{plural(len(found.layers), 'layer')} in numbers", table(layers_table(found)))
    if found.proof is not None:
        body += paragraph(f"Proof: {proof_of_zeros(found.proof, found.runs)}.")
        body += paragraph(tolerance_text(found.proof), "note")
    return Section("sparsity", "Sparse layers", body)


def _accuracy(result: SparsifyResult) -> Section | None:
    if result.fidelity is None:
        return None
    body = listed(fidelity_lines(result.fidelity)) + fidelity_remarks(result.fidelity)
    return Section("accuracy", "Accuracy", body)

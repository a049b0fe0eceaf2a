"""The page of `sparsify`, and what the page of `shrink` says of sparse weights."""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.benching.results import BenchResult
from onnxprune.report.blocks import Line, Report
from onnxprune.report.closing import closing
from onnxprune.report.fidelity import advice, fidelity_lines
from onnxprune.report.html import bench as timing
from onnxprune.report.html import charts
from onnxprune.report.html.page import Section, blocks, figures, folded, listed, page, paragraph, table
from onnxprune.report.html.reproduce import reproduce
from onnxprune.report.shared import model_line, tolerance_text
from onnxprune.report.sparsify import outcome, stages_table
from onnxprune.report.sparsity import changes_table, dense_text, layers_table, proof_of_zeros, remarks
from onnxprune.results import Fidelity, ShrinkResult, SparsifyResult
from onnxprune.results.sparse import SparsitySummary
from onnxprune.results.system import Environment
from onnxprune.results.units import format_count, format_ratio, plural

EXACT = (
    "Weights, bytes and MACs are counted, so exact. MACs: those that are executed; what sparse operators skip is not "
    "counted."
)


def sparsify_page(
    result: SparsifyResult,
    machine: Environment,
    commands: Sequence[str],
    *,
    dry_run: bool = False,
    bench: BenchResult | None = None,
) -> str:
    """The whole document. `bench`: the original against the result, if that was measured."""
    lead = head(result, outcome(result, dry_run=dry_run))
    sections = [
        _before_after(result),
        _accuracy(result),
        layers_section(result.sparsity),
        *([] if bench is None else timing.sections(bench)),
        _run(result),
        reproduce(commands, machine, result.before),
    ]
    return page(f"onnxprune sparsify: {result.before.name}", lead, sections)


def head(result: ShrinkResult | SparsifyResult, otherwise: Report) -> str:
    """The model, and what was written: by its name, where it lies is nobody's business; or `otherwise`."""
    lead = paragraph(model_line(result.before))
    if not result.written:
        return lead + blocks(otherwise)
    names = ", ".join(path.name for path in result.written)
    said = closing(result)
    return lead + paragraph(f"wrote {names}     plan {result.plan.digest}") + ("" if said is None else paragraph(said))


def fidelity_remarks(found: Fidelity) -> str:
    """What to know of the fidelity, and how it was measured."""
    text = f"Errors are of one measurement on {plural(found.samples, 'held-out sample')}"
    note = paragraph(f"{text}, without an interval; the interval of the agreement is Wilson's.", "note")
    return listed(advice(found)) + note


def layers_section(found: SparsitySummary) -> Section:
    """What every layer kept, and how far its output is from the original's."""
    text = (
        f"{plural(len(found.sparse_layers), 'layer')} of {len(found.layers)} became sparse: "
        f"{format_count(found.nonzero)} of {format_count(found.weights)} weights are not zero "
        f"(sparsity {format_ratio(found.asked)} asked of these layers, {format_ratio(found.reached)} reached; "
        f"{found.pattern}, {found.method}, {found.scope})."
    )
    body = paragraph(text)
    dense = dense_text(found)
    body += listed([*([] if dense is None else [dense]), *remarks(found)])
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


def _before_after(result: SparsifyResult) -> Section | None:
    if result.after is None:
        return None
    sizes = ", ".join(f"{name} = {size}" for name, size in result.before.symbols.items())
    changed = table(changes_table(result.before, result.after, result.sparsity))
    body = figures(charts.change(result.before, result.after), changed)
    body += paragraph(f"{EXACT} With {sizes}." if sizes else EXACT, "note")
    return Section("before-after", "Before and after", body)


def _accuracy(result: SparsifyResult) -> Section | None:
    if result.fidelity is None:
        return None
    body = listed(fidelity_lines(result.fidelity)) + fidelity_remarks(result.fidelity)
    return Section("accuracy", "Accuracy", body)


def _run(result: SparsifyResult) -> Section:
    body = blocks((stages_table(result),))
    body += paragraph("Times are of this run alone: one observation, without an interval.", "note")
    body += blocks(tuple(Line(f"note: {text}") for text in result.notes))
    return Section("run", "What was done", body)

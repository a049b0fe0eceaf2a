"""What reports of results have in common: what changed, what to know, and where it is."""

from __future__ import annotations

from onnxprune.report.answers import Result, sparsity_of
from onnxprune.report.blocks import Line, Table
from onnxprune.report.fidelity import advice
from onnxprune.report.shared import counted_for, notes, shown_path
from onnxprune.report.sparsity import changes_table, remarks
from onnxprune.results import CompressResult, ProofSummary


def changes(result: Result) -> tuple[Table, ...]:
    """Size and cost before and after, or as they would be; nothing where nothing changes."""
    if result.after is not None:
        return (changes_table(result.before, result.after, sparsity_of(result)),)
    if result.planned is not None:
        return (changes_table(result.before, result.planned, sparsity_of(result), ("before", "would be")),)
    return ()


def made_notes(result: Result, proof: ProofSummary | None) -> tuple[Line, ...]:
    """What a reader should know, also of the `proof`, of sparse weights and of outputs that are no numbers."""
    sparsity = sparsity_of(result)
    return notes(
        *counted_for(result.before, result.calibration),
        *result.notes,
        *(() if proof is None else proof.notes),
        *(() if sparsity is None else remarks(sparsity, asked=not isinstance(result, CompressResult))),
        *(() if result.fidelity is None else advice(result.fidelity)),
    )


def written_line(result: Result, dry_run: bool) -> Line:
    """What was written, or that nothing was."""
    digest = f"plan {result.plan.digest}"
    if dry_run or not result.written:
        return Line(f"dry run: no model was written     {digest}")
    return Line(f"wrote {', '.join(map(shown_path, result.written))}     {digest}")

"""The heads of pages: what the model is, and what came of it. Notebooks show them, too."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.benching.results import BenchResult
from onnxprune.report import compress, quantize, shrink, sparsify
from onnxprune.report.answers import Result
from onnxprune.report.closing import closing, interrupted
from onnxprune.report.html.page import blocks, paragraph
from onnxprune.report.inspect import summary_lines
from onnxprune.report.shared import model_line
from onnxprune.report.sweep import summary
from onnxprune.results import CompressResult, Inspection, QuantizeResult, ShrinkResult
from onnxprune.results.units import plural
from onnxprune.sweeping.results import SweepResult


@dataclass(frozen=True)
class Head:
    """The title as text, the lead as HTML."""

    title: str
    lead: str


def made_head(result: Result, *, dry_run: bool) -> Head:
    """The model, and what was written: by its name, where it lies is nobody's business; or why nothing was."""
    if isinstance(result, CompressResult):
        name, otherwise = "compress", compress.outcome(result, dry_run=dry_run)
    elif isinstance(result, ShrinkResult):
        name, otherwise = "shrink", shrink.outcome(result, dry_run=dry_run)
    elif isinstance(result, QuantizeResult):
        name, otherwise = "quantize", quantize.outcome(result, dry_run=dry_run)
    else:
        name, otherwise = "sparsify", sparsify.outcome(result, dry_run=dry_run)
    title, lead = f"onnxprune {name}: {result.before.name}", paragraph(model_line(result.before))
    if not result.written:
        return Head(title, lead + blocks(otherwise))
    names = ", ".join(path.name for path in result.written)
    said = closing(result)
    lead += paragraph(f"wrote {names}     plan {result.plan.digest}") + ("" if said is None else paragraph(said))
    lead += "" if result.interrupted is None else paragraph(interrupted(result.interrupted))
    return Head(title, lead)


def inspect_head(result: Inspection) -> Head:
    """The model, and how much of it can leave."""
    lead = paragraph(model_line(result.model)) + blocks(summary_lines(result)[:1])
    return Head(f"onnxprune inspect: {result.model.name}", lead)


def bench_head(result: BenchResult) -> Head:
    """Which models, where."""
    lead = paragraph(f"{plural(len(result.models), 'model')}, {result.runtime}, {result.cpu}")
    return Head(f"onnxprune bench: {', '.join(model.name for model in result.models)}", lead)


def sweep_head(result: SweepResult) -> Head:
    """The model, how many points have one, and where: the folder by its name, where it lies is nobody's business."""
    where = f"{plural(len(result.finished), 'model')} in {result.folder.name}"
    lead = paragraph(model_line(result.original)) + paragraph(summary(result)) + paragraph(where)
    return Head(f"onnxprune sweep: {result.original.name}", lead)

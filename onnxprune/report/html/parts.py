"""Parts that several pages have."""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.report.answers import Result, sparsity_of
from onnxprune.report.blocks import Line, Table
from onnxprune.report.fidelity import advice
from onnxprune.report.html import charts
from onnxprune.report.html.page import Section, blocks, figures, listed, paragraph, table
from onnxprune.report.sparsity import changes_table
from onnxprune.results import Fidelity, ModelSummary
from onnxprune.results.units import plural


def sizes_of(model: ModelSummary) -> str:
    """The sizes that MACs are for: "batch = 1"; nothing where all are known."""
    return ", ".join(f"{name} = {size}" for name, size in model.symbols.items())


def before_after(result: Result, note: str) -> Section | None:
    """Size and cost as bars and as figures; `note` says what they are."""
    if result.after is None:
        return None
    changed = table(changes_table(result.before, result.after, sparsity_of(result)))
    body = figures(charts.change(result.before, result.after), changed)
    return Section("before-after", "Before and after", body + paragraph(note, "note"))


def fidelity_remarks(found: Fidelity) -> str:
    """What to know of the fidelity, and how it was measured."""
    text = f"Errors are of one measurement on {plural(found.samples, 'held-out sample')}"
    note = paragraph(f"{text}, without an interval; the interval of the agreement is Wilson's.", "note")
    return listed(advice(found)) + note


def together(count: int, title: str) -> str:
    """How many groups (or blocks) follow, and what they are."""
    text = f"{plural(count, title.lower()[:-1])}: what is tied together leaves together. Counted, so exact."
    return paragraph(text, "note")


def run(stages: Table, notes: Sequence[str], proof: str = "") -> Section:
    """What was done stage by stage, how it was proven (as HTML), and remarks."""
    body = blocks((stages,))
    body += paragraph("Times are of this run alone: one observation, without an interval.", "note") + proof
    body += blocks(tuple(Line(f"note: {text}") for text in notes))
    return Section("run", "What was done", body)

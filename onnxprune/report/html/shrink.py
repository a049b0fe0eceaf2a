"""The sections of the page of `shrink`: what went, what it cost, and how it was proven."""

from __future__ import annotations

from onnxprune.benching.results import BenchResult
from onnxprune.report.blocks import Column, Table
from onnxprune.report.fidelity import quality_lines
from onnxprune.report.html import bench as timing
from onnxprune.report.html import charts, groups
from onnxprune.report.html.page import Section, figures, folded, listed, paragraph, table
from onnxprune.report.html.parts import before_after, fidelity_remarks, run, sizes_of, together
from onnxprune.report.html.sparsify import layers_section
from onnxprune.report.shared import proof_text, tolerance_text
from onnxprune.report.shrink import repaired_table, stages_table
from onnxprune.results import BoundsSummary, CompressResult, RepairSummary, ShrinkResult
from onnxprune.results.units import format_percent, plural

EXACT = "Parameters, bytes, MACs and channels are counted, so exact."
_REPAIRED = (
    Column("layer", code=True),
    Column("error as cut (% of its target)", right=True),
    Column("error after repair (% of its target)", right=True),
)
_CURVES = (
    Column("group", code=True),
    Column("channels", right=True),
    Column("error at 25 %", right=True),
    Column("at 50 %", right=True),
    Column("at 75 %", right=True),
)


def sections(result: ShrinkResult, bench: BenchResult | None) -> list[Section | None]:
    """All but the last. `bench`: the original against the result, if that was measured."""
    sizes = sizes_of(result.before)
    return [
        before_after(
            result, f"{EXACT} MACs: multiply-accumulates of one inference{f', with {sizes}' if sizes else ''}."
        ),
        _accuracy(result),
        _groups(result),
        _sensitivity(result),
        _repair(result),
        None
        if result.sparsity is None
        else layers_section(result.sparsity, asked=not isinstance(result, CompressResult)),
        *([] if bench is None else timing.sections(bench)),
        run(stages_table(result), result.notes, _proof(result)),
    ]


def _accuracy(result: ShrinkResult) -> Section | None:
    lines = quality_lines(result.metric, result.fidelity, result.bounds)
    if not lines:
        return None
    body = listed(lines)
    if result.fidelity is not None:
        body += fidelity_remarks(result.fidelity)
    if result.metric is not None:
        body += figures(charts.metric_by_macs(result.metric, result.before, result.after))
        rows = tuple(
            (t.asked, str(t.removed), str(t.macs), f"{t.value:.6g}")
            for t in sorted(result.metric.trials, key=lambda trial: trial.ratio)
        )
        unit = f"{result.metric.name} (its own unit)"
        titles = ("asked (channels that leave, or MACs that stay)", "removed (channels)", "MACs left", unit)
        if rows:
            trials = table(Table(tuple(Column(title, right=True) for title in titles), rows))
            body += folded(f"{plural(len(rows), 'trial')}, one evaluation each", trials)
    if result.bounds is not None and result.bounds.trials:
        body += _bound_trials(result.bounds)
    return Section("accuracy", "Accuracy", body)


def _bound_trials(bounds: BoundsSummary) -> str:
    """What a search tried, and what it found on held-out samples."""
    shares = [[None if x is None else format_percent(x) for x in (t.agreement, t.error)] for t in bounds.trials]
    rows = tuple(
        (t.asked, str(t.removed), str(t.macs), agreement or "", error or "", t.reason or "")
        for t, (agreement, error) in zip(bounds.trials, shares, strict=True)
    )
    titles = ("asked", "removed", "MACs left", "agreement", "output error", "bound that was broken")
    columns = tuple(Column(title, right=k < len(titles) - 1) for k, title in enumerate(titles))
    return folded(f"{plural(len(rows), 'trial')} on held-out samples", table(Table(columns, rows)))


def _groups(result: ShrinkResult) -> Section | None:
    if result.blocks:
        found, title = [groups.of_block_change(change) for change in result.blocks], "Blocks"
    else:
        found, title = [groups.of_change(change) for change in result.groups], "Groups"
    if not found:
        return None
    return Section("groups", title, together(len(found), title) + groups.bars(found, planned=True))


def _sensitivity(result: ShrinkResult) -> Section | None:
    curves = [curve for curve in result.curves if curve.size]
    if not curves:
        return None
    rows = []
    for curve in curves:
        errors = [charts.at(curve, share * curve.size) for share in (0.25, 0.5, 0.75)]
        rows.append((curve.group, str(curve.size), *map(format_percent, errors)))
    body = figures(charts.error_curves(curves, result.groups))
    body += folded(f"All {plural(len(rows), 'group')} in numbers", table(Table(_CURVES, tuple(rows))))
    return Section("sensitivity", "Sensitivity", body)


def _repair(result: ShrinkResult) -> Section | None:
    repair = result.repair
    if repair is None:
        return None
    body = paragraph(f"{repair.method}: {plural(repair.corrected_layers, 'layer')} corrected.")
    if repair.layers:
        names, before, after = zip(*((r.name, r.error_before, r.error_after) for r in repair.layers), strict=True)
        body += figures(charts.repairs(names, before, after))
        body += folded(f"{plural(len(names), 'layer')} in numbers", table(repaired_table(repair, _REPAIRED)))
    return Section("repair", "Repair", body + _rest_of(repair))


def _rest_of(repair: RepairSummary) -> str:
    lines = [f"{one.name} was not repaired: {one.reason}" for one in repair.skipped]
    body = folded(f"{plural(len(lines), 'layer')} not repaired", listed(lines)) if lines else ""
    built = repair.reconstruction
    if built is None:
        return body
    if not built.steps:
        return paragraph(f"All weights together: not adjusted: {built.reason}") + body
    text = (
        f"All weights together, {plural(built.steps, 'step')}: held-out loss, the error of the outputs "
        f"{format_percent(built.error_before)} -> {format_percent(built.error_after)} of their standard deviation "
        "(one measurement, without an interval)"
    )
    return paragraph(text) + body


def _proof(result: ShrinkResult) -> str:
    found = result.proof
    if found is None:
        return ""
    cases = listed([*(f"compared on: {case}" for case in found.cases), *found.notes])
    body = paragraph(f"Proof: {proof_text(found)}.") + paragraph(tolerance_text(found), "note")
    return body + folded("Inputs of the proof", cases)

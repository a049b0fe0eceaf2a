"""The report of `compress`."""

from __future__ import annotations

from collections.abc import Iterable

from onnxprune.report.blocks import Block, Column, Heading, Line, Report, Table
from onnxprune.report.closing import closing_lines
from onnxprune.report.fidelity import quality_lines
from onnxprune.report.made import changes, made_notes, written_line
from onnxprune.report.quantization import layers_table, quantized_rows, remarks
from onnxprune.report.shared import (
    STAGES,
    captured,
    measured_rows,
    model_line,
    notes,
    proof_text,
    stage_time,
    tolerance_text,
)
from onnxprune.report.shrink import group_table, repaired_rows, target_text
from onnxprune.report.sparsity import layers_table as layers_table_of_zeros
from onnxprune.report.sparsity import sparse_rows
from onnxprune.results import CompressResult
from onnxprune.results.compressing import CompressPoint
from onnxprune.results.units import format_percent, format_seconds, plural

NOTHING = format_seconds(0.0)
MISSED = 1.011
"""Above that a measured time is not what was asked: it is uncertain by a hundredth."""
_POINTS = (
    Column("levers"),
    Column("left", right=True),
    Column("output error", right=True),
    Column("agreement", right=True),
    Column("repaired"),
    Column(""),
)


def report(result: CompressResult, *, dry_run: bool = False, layers: bool = False) -> Report:
    """What was done, stage by stage, what each lever would have given, and what came of it. `layers` lists them."""
    blocks: list[Block] = [Heading(model_line(result.before)), stages_table(result), points_table(result)]
    found = result.quantization
    if layers and found is not None:
        blocks.append(layers_table(found))
    if layers and result.plan.removed_count and result.plan.units == "channels":
        blocks.append(group_table(result.groups))
    if layers and result.sparsity is not None:
        blocks.append(layers_table_of_zeros(result.sparsity))
    said = () if found is None else remarks(found)
    blocks += [*changes(result), *made_notes(result, result.proof), *notes(*said, *levers_text(result))]
    return (*blocks, *outcome(result, dry_run=dry_run))


def outcome(result: CompressResult, *, dry_run: bool = False) -> Report:
    """The last lines alone."""
    if result.taken is None:
        return (Line(f"nothing was changed, and no file was written: {_nothing(result)}"),)
    return (written_line(result, dry_run), *closing_lines(result))


def _nothing(result: CompressResult) -> str:
    reasons = "; ".join(f"{lever}: {why}" for lever, why in result.without)
    return reasons or "the original is within the target already"


def stages_table(result: CompressResult) -> Table:
    """What was done, stage by stage."""
    seconds, found = result.seconds, result.quantization
    rows = [
        ("traced", plural(len(result.groups), "group") if result.groups else "", stage_time(seconds, "load", "trace"))
    ]
    if result.calibration is not None:
        rows.append(("captured", captured(result.calibration), stage_time(seconds, "capture")))
    rows.append(("planned", _planned(result), stage_time(seconds, "plan", "cut", "measure", "profile", "sensitivity")))
    if result.repair is not None:
        rows += repaired_rows(result.repair, seconds)
    if result.proof is not None:
        whole = stage_time(seconds, "verify") if result.sparsity is not None else ""
        rows.append(("verified", proof_text(result.proof), whole))
        rows.append(("", tolerance_text(result.proof), ""))
    if result.sparsity is not None:
        told = {"verify": result.proof, "rebuild": result.repair}
        own = {**seconds, **{stage: 0.0 for stage, above in told.items() if above is not None}}
        rows += _told_above(sparse_rows(result.sparsity, own))
    if found is not None:
        own = {stage: seconds.get(stage, 0.0) for stage in ("rewrite", "verify")}
        rows.extend(_told_above(quantized_rows(found, own)))
    rows += _told_above(measured_rows(quality_lines(result.metric, result.fidelity), {}))
    return Table(STAGES, tuple(rows), bare=True)


def _told_above(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Without times of nothing: of stages that come again the first row has all of it."""
    return [(stage, text, "" if time == NOTHING else time) for stage, text, time in rows]


def _planned(result: CompressResult) -> str:
    taken = result.taken
    levers = "nothing" if taken is None else taken.name
    if result.target is None:
        return f"as far as the bounds allow: {levers}"
    return f"{target_text(result.target)}: {levers}"


def points_table(result: CompressResult) -> Table:
    """What was built and measured, the dearest first."""
    return Table(_POINTS, tuple(_row(point) for point in result.points))


def _row(point: CompressPoint) -> tuple[str, ...]:
    agreement = "" if point.agreement is None else format_percent(point.agreement)
    error = format_percent(point.error)
    repaired = "" if not point.levers else "" if point.repaired == "not" else point.repaired
    return point.name, format_percent(point.cost), error, agreement, repaired, "<- taken" if point.taken else ""


def levers_text(result: CompressResult) -> tuple[str, ...]:
    """What each lever gave, and why others gave nothing."""
    taken = result.taken
    texts = [f"{lever} gave nothing: {why}" for lever, why in result.without]
    target = result.target
    if target is not None and target.measured is not None and target.measured > target.limit * MISSED:
        left = format_percent(target.measured / target.before)
        texts.insert(0, f"the target was missed: {left} is the nearest that was measured")
    alone = next((point for point in result.points if point.levers == ("int8",)), None)
    if taken is None or alone is None:
        return tuple(texts)
    if taken.levers == ("int8",):
        return ("integers alone are all that is needed", *texts)
    rest = " and ".join(one for one in taken.levers if one != "int8")
    gained = f"integers leave {format_percent(alone.cost)}, {rest} {format_percent(taken.cost / alone.cost)} of that"
    return (gained, *texts) if "int8" in taken.levers else tuple(texts)
